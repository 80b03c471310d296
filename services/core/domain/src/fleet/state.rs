//! What the log says about the fleet.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::addresses::{AddressPool, NodeAddress};
use super::learnt::Learnt;
use super::limits::Limited;
use super::prices::{NodePrice, Prices};
use crate::ids::{AttemptId, IntentId, NodeId, Timestamp};
use crate::paces::Paced;
use crate::recording::{Made, RecordingId};

/// Where a launch intent stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentStatus {
    /// Committed; the cloud owes us an instance. Never dropped unasked.
    Requested,
    /// The cloud named the instance.
    Launched(NodeId),
    /// The cloud refused for good.
    Failed,
}

/// A committed launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Where it stands.
    pub status: IntentStatus,
    /// When it was committed.
    pub at: Timestamp,
    /// The machine asked for: a repeat asks for the same.
    pub instance_type: String,
    /// Attempts at the cloud that failed and may be repeated.
    pub failures: u32,
    /// How it was asked for last; the cloud may have launched it so.
    pub placed: Option<Placed>,
}

/// One request to the cloud, for one intent or several. Its parameters never change: another place is another group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The client token.
    pub group: String,
    /// Intents it is for, those that have moved on since included.
    pub count: u32,
    /// The machine.
    pub place: Place,
}

/// A machine that can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Its type; empty if a launch template says it.
    pub instance_type: String,
    /// Its subnet, and with it the zone; empty if the cloud chooses.
    pub subnet: String,
    /// `on-demand` or `spot`.
    pub market: String,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NodeStatus {
    /// The cloud runs it; its agent has not registered.
    Launched,
    /// Its agent has registered.
    Admitted,
    /// It has said at least once that it can take calls.
    Ready,
    /// Closed to new calls; reversible.
    Draining,
    /// Being ended; not reversible.
    Terminating,
    /// The cloud confirmed the end.
    Terminated,
    /// Gone without being asked; the cloud confirmed it.
    Lost,
}

impl NodeStatus {
    /// Whether an instance may still run, and bill.
    pub fn exists(self) -> bool {
        self < NodeStatus::Terminated
    }
}

/// Under which key and epoch a node may write: the same the sequencer knows, so that it never refuses a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// 32-byte Ed25519.
    pub public_key: Vec<u8>,
    /// Of the node's spool, 16 bytes.
    pub epoch: Vec<u8>,
    /// Epochs it had before; none of them counts again.
    pub past_epochs: Vec<Vec<u8>>,
    /// It writes no more frames.
    pub closed: bool,
}

/// What a node says that refuses the log, drained and without a call: no checkpoint it believes covers these of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    /// The first of them.
    pub from: u64,
    /// The last of them.
    pub to: u64,
    /// Where it said so in the log.
    pub position: u64,
    /// When.
    pub at: Timestamp,
}

/// A node as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // what is known of a node are facts, each of its own
pub struct Node {
    /// The launch intent it came from.
    pub intent: IntentId,
    /// What it is: its type, zone and market, as it was asked for.
    pub place: Place,
    /// What it costs; `None` while the log has no price.
    pub price: Option<NodePrice>,
    /// Where it stands.
    pub status: NodeStatus,
    /// Its newest admission.
    pub admission: Option<Admission>,
    /// The PBX is up, by the node's own last word.
    pub pbx_up: bool,
    /// Call slots.
    pub capacity: u32,
    /// PBX name and version.
    pub pbx: String,
    /// Identifies the PBX process.
    pub boot_id: String,
    /// Manifests the node proved to hold.
    pub manifests: BTreeSet<String>,
    /// Trunks its PBX proved to have, each with the revision of its settings.
    pub trunks: BTreeMap<String, String>,
    /// Attempts that hold a slot: intended and not yet ended.
    pub attempts: BTreeSet<AttemptId>,
    /// Of these, the ones whose order the node has not yet answered by a fact: what `pending` offers.
    pub unanswered: BTreeSet<AttemptId>,
    /// Latest `not_before_ms` given to it, for its pace.
    pub last_start_ms: Timestamp,
    /// Number of the current drain; 0 if never drained.
    pub drain: u64,
    /// An operator drained it: the plan does not open it again.
    pub held: bool,
    /// The node said it is empty in the current drain.
    pub empty: bool,
    /// When it said so.
    pub empty_at: Option<Timestamp>,
    /// Recordings it has that the store has not.
    pub recordings: BTreeMap<RecordingId, Made>,
    /// Recordings of it that were erased: should its file have outlived that, it is not one again.
    pub erased_recordings: BTreeSet<RecordingId>,
    /// Since when it refuses the log: it was shown two histories and takes no calls any more.
    pub refuses_log: Option<Timestamp>,
    /// In the current drain it said that it is empty and uncovered.
    pub uncovered: Option<Uncovered>,
    /// Since when its PBX is down, by the node's own last word; `None` while it is up.
    pub down_since: Option<Timestamp>,
    /// Its newest word in the log, or when it was launched or admitted.
    pub heard_at: Timestamp,
    /// Attempts it held when it was told to end although nobody had heard of it: the only ones an end may cut (INV-04).
    pub cut: BTreeSet<AttemptId>,
    /// Carriers take its calls from an address of the pool only.
    pub needs_address: bool,
    /// Its address of the pool.
    pub address: Option<NodeAddress>,
    /// When it was told to end.
    pub terminating_at: Option<Timestamp>,
    /// When the cloud launched it.
    pub launched_at: Timestamp,
    /// When it became ready first.
    pub ready_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Node {
    /// Whether a new attempt may be put on it.
    pub fn dialable(&self) -> bool {
        self.status == NodeStatus::Ready && self.pbx_up && self.refuses_log.is_none() && self.is_addressed()
    }

    /// Slots not held.
    pub fn free_slots(&self) -> u32 {
        self.capacity.saturating_sub(self.attempts.len() as u32)
    }
}

/// The fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Every node there ever was.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Caps over all campaigns and trunks, and what was started by them.
    pub paced: Paced,
    /// Every launch intent there ever was.
    pub intents: BTreeMap<IntentId, Intent>,
    /// The fleet was told to go.
    pub stop_requested: bool,
    /// Billed milliseconds of nodes that ended.
    pub ended_node_ms: u64,
    /// Most nodes that existed at once.
    pub peak_nodes: u32,
    /// Plans that decided something.
    pub plans: u64,
    /// The newest plan's sentence.
    pub last_plan: String,
    /// The budget that was nearly used up when the plan drained the fleet, micro-dollars; 0 = never. A larger one in the
    /// configuration opens the fleet again.
    pub budget_drained: u64,
    /// Instances the cloud listed for one intent more than once, or that no intent explains.
    pub orphans: u32,
    /// What instances cost; `None` while one price counts for every node.
    pub prices: Option<Prices>,
    /// The addresses carriers know; `None` while nodes need none.
    pub addresses: Option<AddressPool>,
    /// What no plan may go beyond.
    pub limited: Limited,
    /// What calls and boots have shown.
    pub learnt: Learnt,
}

impl Fleet {
    /// Nodes that may still run.
    pub fn existing(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.status.exists())
    }

    /// Launch intents the cloud still owes an answer to.
    pub fn owed_launches(&self) -> impl Iterator<Item = (&IntentId, &Intent)> {
        self.intents.iter().filter(|(_, intent)| intent.status == IntentStatus::Requested)
    }

    /// Node milliseconds up to a time: ended nodes and running ones.
    pub fn node_ms(&self, at: Timestamp) -> u64 {
        let running: u64 = self.existing().map(|(_, node)| at.saturating_sub(node.launched_at)).sum();
        self.ended_node_ms + running
    }
}
