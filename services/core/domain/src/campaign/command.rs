//! What the dialer can be asked.

use std::collections::BTreeSet;

use crate::ids::{CampaignId, ContactId, NodeId, NumberHash};
use crate::paces::Paces;
use crate::rules::{CampaignRules, Exclusion};
use crate::trunk::TrunkCommand;
use crate::webhook::decide::WebhookCommand;

/// The dialer's own tick: everything it rests on beside the log is an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialTick {
    /// Nodes whose last heartbeat is fresh and says ready.
    pub fresh: BTreeSet<NodeId>,
    /// How long an order may be carried out, at most 2,000.
    pub order_window_ms: u32,
    /// Most attempts in one decision.
    pub max_intents: u32,
    /// The caps over all campaigns that the log must have before; none = as it has them.
    pub caps: Option<Paces>,
}

/// A row to import, sealed by the shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportRow {
    /// Keyed hash of the number.
    pub number_hash: [u8; 16],
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
    /// IANA zone, or several with `,` between that must all be open; empty = nobody knows.
    pub zone: String,
    /// The person agreed to be called.
    pub consent: bool,
}

/// What can be set when a campaign is created, and changed while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most attempts in flight; 0 = no cap of its own.
    pub max_channels: u32,
    /// Most attempts started a second; 0 = no cap of its own.
    pub calls_per_second: u32,
    /// How long a callee may ring.
    pub ring_timeout_ms: u32,
    /// Attempts per contact.
    pub max_attempts: u32,
    /// Caller id.
    pub caller_id: String,
    /// Further ones: each attempt shows one of all.
    pub caller_ids: Vec<String>,
    /// Whom it may ring and when.
    pub rules: CampaignRules,
}

/// A campaign that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCampaign {
    /// Its id.
    pub campaign: CampaignId,
    /// Name for people.
    pub name: String,
    /// Flow id.
    pub flow: String,
    /// Manifest id.
    pub manifest: String,
    /// The trunks it may use, at least one.
    pub trunks: Vec<String>,
    /// What can be changed later.
    pub limits: Limits,
    /// Dials every number on a trunk that leads outside.
    pub live: bool,
    /// Keyed hashes of the numbers allowed before that.
    pub allowed_hashes: Vec<Vec<u8>>,
}

/// One call: a campaign of one contact, made, filled and started in one decision.
#[derive(Clone, PartialEq, Eq)]
pub struct NewCall {
    /// The campaign it is.
    pub new: NewCampaign,
    /// The import of its one row: what was asked, as a keyed hash. The same campaign with another one is another call.
    pub import: String,
    /// The row.
    pub row: ImportRow,
    /// The number's digits, which prefixes of do-not-call lists need. They are in no event.
    pub digits: String,
}

impl std::fmt::Debug for NewCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewCall")
            .field("new", &self.new)
            .field("import", &self.import)
            .finish_non_exhaustive()
    }
}

/// Uncertain contacts that an operator wants dialled once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reopening {
    /// Their campaign.
    pub campaign: CampaignId,
    /// Keyed hashes of their numbers; empty = every uncertain one.
    pub numbers: Vec<NumberHash>,
    /// Why, for the log.
    pub reason: String,
}

/// A change of a do-not-call list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoNotCallChange {
    /// The list: `global`, or a name campaigns use.
    pub list: String,
    /// Put on, or taken off.
    pub add: bool,
    /// Keyed hashes of numbers.
    pub numbers: Vec<NumberHash>,
    /// First digits of numbers.
    pub prefixes: Vec<String>,
    /// Why, for the log.
    pub reason: String,
}

/// A command to the dialer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CampaignCommand {
    Create(Box<NewCampaign>),
    Call(Box<NewCall>),
    Change {
        campaign: CampaignId,
        limits: Box<Limits>,
        trunks: Vec<String>,
        manifest: String,
        reason: String,
    },
    Import {
        campaign: CampaignId,
        import: String,
        rows: Vec<ImportRow>,
        last: bool,
        skip_known: Vec<CampaignId>,
    },
    Start {
        campaign: CampaignId,
    },
    Pause {
        campaign: CampaignId,
        reason: String,
    },
    Resume {
        campaign: CampaignId,
    },
    Stop {
        campaign: CampaignId,
        reason: String,
    },
    GoLive {
        campaign: CampaignId,
        reason: String,
    },
    Erase {
        import: String,
        contacts: Vec<NumberHash>,
        reason: String,
    },
    Exclude {
        campaign: CampaignId,
        contacts: Vec<ContactId>,
        rule: Exclusion,
        detail: String,
    },
    Reopen(Reopening),
    DoNotCall(DoNotCallChange),
    EmergencyStop {
        reason: String,
        cancel_ringing: bool,
        cut_calls: bool,
    },
    EmergencyResume {
        reason: String,
    },
    Trunk(TrunkCommand),
    Webhook(WebhookCommand),
    Paces(Paces),
    Tick(DialTick),
}
