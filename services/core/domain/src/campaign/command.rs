//! What the dialer can be asked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{CampaignId, NodeId, NumberHash};

/// Caps of a trunk, from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrunkLimits {
    /// Most attempts in flight; 0 = no cap.
    pub max_channels: u32,
    /// Most attempts started a second; 0 = no cap.
    pub calls_per_second: u32,
    /// Whether it leads outside this machine: then only allowed numbers until go-live.
    pub outside: bool,
}

/// The dialer's own tick: everything it rests on beside the log is an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialTick {
    /// Nodes whose last heartbeat is fresh and says ready.
    pub fresh: BTreeSet<NodeId>,
    /// Trunk caps.
    pub trunks: BTreeMap<String, TrunkLimits>,
    /// How long an order may be carried out, at most 2,000.
    pub order_window_ms: u32,
    /// Most attempts in one decision.
    pub max_intents: u32,
}

/// A row to import, sealed by the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRow {
    /// Keyed hash of the number.
    pub number_hash: [u8; 16],
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
}

/// A command to the dialer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CampaignCommand {
    Create {
        campaign: CampaignId,
        name: String,
        flow: String,
        manifest: String,
        trunk: String,
        max_channels: u32,
        calls_per_second: u32,
        ring_timeout_ms: u32,
        max_attempts: u32,
        caller_id: String,
        live: bool,
        allowed_hashes: Vec<Vec<u8>>,
    },
    Import {
        campaign: CampaignId,
        import: String,
        rows: Vec<ImportRow>,
        last: bool,
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
    Tick(DialTick),
}
