//! `report`: campaigns in numbers, of the state that every event of the log folds to. Nothing of it is kept beside the log, so
//! whoever has the log comes to the same numbers as `asterism campaign show`.

use asterism_domain::report::numbers::{CampaignNumbers, numbers};

use crate::Error;
use crate::fold::{Pass, state_at};

/// Every campaign of a log in numbers, or the one that is named.
///
/// # Errors
/// What [`crate::verify`] would stop at, the log's integrity aside: it is checked frame by frame.
pub fn report(pass: &mut Pass<'_>, campaign: Option<&str>) -> Result<Vec<CampaignNumbers>, Error> {
    let state = state_at(pass, None)?;
    let meant = state.campaigns.keys().filter(|id| campaign.is_none_or(|named| named == *id));
    Ok(meant.filter_map(|id| numbers(&state, id)).collect())
}
