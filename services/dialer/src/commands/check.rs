//! Asked before anything is changed: what is wrong with a campaign, and whom of a list it would ring.

use std::collections::BTreeSet;

use asterism_domain::Rejection;
use asterism_domain::campaign::command::ImportRow;
use asterism_domain::campaign::decide::{self, Stage};
use asterism_domain::campaign::forecast::{self, Asked, Forecast};
use asterism_domain::contact::E164;
use asterism_domain::rules::CampaignRules;
use asterism_domain::trunk::{Trunk, TrunkSettings};
use asterism_runtime::leader::now_ms;
use asterism_runtime::role::Deps;
use asterism_runtime::seal;
use serde::{Deserialize, Serialize};

use super::{CreateCampaign, Refused, is_yes, new_campaign, zone_names};

/// Most rows of one question.
pub const FORECAST_MAX_ROWS: usize = 1_000;

/// Something that is wrong, with its stable code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The code.
    pub code: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// The answer to `campaign.check`, whose question is that of `campaign.create`; an empty flow or manifest is one that is
/// still to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// `campaign.forecast`: whom of these rows a campaign could dial, and when. Nothing of it is kept.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskForecast {
    /// The campaign, if it exists: then its own rules and limits count, not those below.
    pub campaign: String,
    /// The trunk.
    pub trunk: String,
    /// Further trunks.
    pub trunks: Vec<String>,
    /// Dials every number on a trunk that leads outside this machine.
    pub live: bool,
    /// Numbers allowed on such a trunk before go-live.
    pub allowed: Vec<String>,
    /// Whom it may ring and when.
    pub rules: CampaignRules,
    /// Campaigns whose numbers are left out, or `all`.
    pub skip_known: Vec<String>,
    /// The rows, at most [`FORECAST_MAX_ROWS`].
    pub rows: Vec<ForecastRow>,
}

/// What of a row the rules look at.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecastRow {
    /// Canonical number.
    pub number: String,
    /// Its column of time zones, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Its column of consent, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
}

/// Everything that is wrong with a campaign that is to be created.
fn problems(deps: &Deps, numbers: &[u8; 32], asked: &CreateCampaign, stage: Stage) -> (u64, Vec<Rejection>) {
    let new = new_campaign(asked.clone(), numbers);
    deps.log.read(|state| (state.size, decide::problems(state, &new, stage, state.at.max(now_ms()))))
}

/// Why a campaign is not created.
pub(super) fn refused(deps: &Deps, numbers: &[u8; 32], asked: &CreateCampaign) -> Option<Refused> {
    let (_, found) = problems(deps, numbers, asked, Stage::Final);
    Rejection::of_all(&found).map(|all| (all.code, all.reason.into_owned()))
}

pub(super) fn check(deps: &Deps, numbers: &[u8; 32], asked: &CreateCampaign) -> (u64, Checked) {
    let (position, found) = problems(deps, numbers, asked, Stage::Draft);
    let problem = |one: Rejection| Problem { code: one.code.to_owned(), what: one.reason.into_owned() };
    (position, Checked { problems: found.into_iter().map(problem).collect() })
}

pub(super) fn forecast(
    deps: &Deps,
    numbers: &[u8; 32],
    asked: &AskForecast,
) -> Result<(u64, Forecast), Refused> {
    if asked.rows.len() > FORECAST_MAX_ROWS {
        return Err(("AST-D047", format!("at most {FORECAST_MAX_ROWS} rows in one question")));
    }
    let rows: Vec<(ImportRow, String)> =
        asked.rows.iter().map(|row| read(row, numbers)).collect::<Result<_, _>>()?;
    let rows: Vec<forecast::Row<'_>> = rows.iter().map(|(row, digits)| (row, digits.as_str())).collect();
    let hash = |number: &String| seal::number_hash(numbers, number).to_vec();
    let named: BTreeSet<Vec<u8>> = asked.allowed.iter().map(hash).collect();
    deps.log.read(|state| {
        let known = match asked.campaign.as_str() {
            "" => None,
            id => Some(state.campaigns.get(id).ok_or(("AST-D046", super::NO_CAMPAIGN.to_owned()))?),
        };
        let (trunks, live, only) = match known {
            Some(campaign) => (campaign.trunks.clone(), campaign.live, &campaign.allowed),
            None => {
                (std::iter::once(&asked.trunk).chain(&asked.trunks).cloned().collect(), asked.live, &named)
            }
        };
        let outside = trunks.iter().any(|trunk| {
            state.trunks.get(trunk).and_then(Trunk::usable).is_some_and(TrunkSettings::is_outside)
        });
        let ask = Asked {
            rules: known.map_or(&asked.rules, |campaign| &campaign.rules),
            campaign: known.map(|_| asked.campaign.as_str()),
            skip_known: &asked.skip_known,
            only: (outside && !live).then_some(only),
        };
        Ok((state.size, forecast::forecast(state, &ask, &rows, state.at.max(now_ms()))))
    })
}

fn read(row: &ForecastRow, numbers: &[u8; 32]) -> Result<(ImportRow, String), Refused> {
    let number = E164::parse(&row.number).map_err(|problem| (problem.code(), problem.to_string()))?;
    let zone = zone_names(row.timezone.as_deref(), number).map_err(|why| ("AST-D041", why.to_string()))?;
    let known = ImportRow {
        number_hash: seal::number_hash(numbers, &row.number),
        zone,
        consent: row.consent.as_deref().is_some_and(is_yes),
        ..ImportRow::default()
    };
    Ok((known, number.digits().to_string()))
}
