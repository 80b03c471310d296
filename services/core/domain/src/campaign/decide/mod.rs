//! The dialer's decisions: about campaigns here, about people in `contacts`, whom to dial now in `dial`,
//! whom once more though they may have been rung in `reopen`.

mod call;
mod contacts;
mod create;
mod dial;
mod reopen;

use super::command::CampaignCommand;
use super::state::{Campaign, CampaignStatus};
use crate::Rejection;
use crate::emergency;
use crate::event::Event;
use crate::ids::{CampaignId, Timestamp};
use crate::state::State;
use crate::{paces, trunk, webhook};

pub use create::{Stage, problems};
pub use reopen::reopened;

pub use dial::{LOOKAHEAD_MS, ORDER_WINDOW_MAX_MS};

/// Contacts in one `ContactsImported`: with 96 sealed bytes each it stays under 6 KiB.
pub const CONTACTS_PER_EVENT: usize = 24;
/// Bytes of one sealed contact at most.
pub const SEALED_MAX_BYTES: usize = 220;
/// Most rows of one import command.
pub const IMPORT_MAX_ROWS: usize = 200;
/// Most contacts named in one erasure.
pub const ERASE_MAX_CONTACTS: usize = 256;
/// Longest reason of an erasure.
pub const ERASE_REASON_MAX_BYTES: usize = 512;
/// Why nothing is imported under an erased import's id.
pub const ERASED: Rejection =
    Rejection::new("AST-D015", "this import was erased and takes no contacts any more; import another list");
/// Decides a command on the dialer's state.
pub fn decide(state: &State, command: &CampaignCommand, at: Timestamp) -> Result<Vec<Event>, Rejection> {
    match command {
        CampaignCommand::Create(new) => create::create(state, new, at),
        CampaignCommand::Call(call) => call::call(state, call, at),
        CampaignCommand::Change { campaign, limits, trunks, manifest, reason } => {
            create::change(state, campaign, (limits, trunks, manifest), reason, at)
        }
        CampaignCommand::Import { campaign, import, rows, last, skip_known } => {
            if state.erasures.get(import).is_some_and(|erasure| erasure.whole) {
                return Err(ERASED);
            }
            contacts::import(state, campaign, import, (rows, *last), skip_known)
        }
        CampaignCommand::Erase { import, contacts, reason } => {
            contacts::erase(state, import, contacts, reason)
        }
        CampaignCommand::Exclude { campaign, contacts, rule, detail } => {
            contacts::exclude(find(state, campaign)?, campaign, contacts, *rule, detail)
        }
        CampaignCommand::Reopen(asked) => reopen::reopen(state, asked, at),
        CampaignCommand::DoNotCall(change) => contacts::do_not_call(state, change),
        CampaignCommand::Start { campaign } => start(state, campaign),
        CampaignCommand::Pause { campaign, reason } => {
            expect(state, campaign, &[CampaignStatus::Running])?;
            Ok(vec![Event::CampaignPaused { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::Resume { campaign } => {
            expect(state, campaign, &[CampaignStatus::Paused])?;
            Ok(vec![Event::CampaignResumed { campaign: campaign.clone() }])
        }
        CampaignCommand::Stop { campaign, reason } => {
            use CampaignStatus::{Created, Paused, Running};
            expect(state, campaign, &[Created, Running, Paused])?;
            Ok(vec![Event::CampaignStopped { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::GoLive { campaign, reason } => {
            find(state, campaign)?;
            Ok(vec![Event::CampaignLive { campaign: campaign.clone(), reason: reason.clone() }])
        }
        CampaignCommand::EmergencyStop { reason, cancel_ringing, cut_calls } => {
            emergency::stop(state, reason, *cancel_ringing, *cut_calls)
        }
        CampaignCommand::EmergencyResume { reason } => emergency::resume(state, reason),
        CampaignCommand::Trunk(command) => trunk::decide::decide(state, command),
        CampaignCommand::Paces(caps) => Ok(paces::decide(state, *caps)),
        CampaignCommand::Webhook(command) => webhook::decide::decide(state, command),
        CampaignCommand::Tick(tick) => Ok(dial::dial(state, tick, at)),
    }
}

fn start(state: &State, campaign: &CampaignId) -> Result<Vec<Event>, Rejection> {
    expect(state, campaign, &[CampaignStatus::Created])?;
    if find(state, campaign)?.contacts.is_empty() {
        return Err(Rejection::new("AST-D014", "the campaign has no contacts"));
    }
    Ok(vec![Event::CampaignStarted { campaign: campaign.clone() }])
}

fn find<'a>(state: &'a State, campaign: &str) -> Result<&'a Campaign, Rejection> {
    state.campaigns.get(campaign).ok_or(Rejection::new("AST-D020", "there is no campaign of this id"))
}

fn expect(state: &State, campaign: &str, statuses: &[CampaignStatus]) -> Result<(), Rejection> {
    if statuses.contains(&find(state, campaign)?.status) {
        Ok(())
    } else {
        Err(Rejection::new("AST-D021", "the campaign is not in a state for this"))
    }
}
