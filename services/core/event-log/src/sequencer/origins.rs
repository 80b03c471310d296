//! Who may write: keys, epochs, numbers and terms, as the log itself has established them.

use std::collections::BTreeMap;

use asterism_proto::hash::Hash;
use asterism_proto::{Origin, PublicKey, Role, v1};

use super::verdict::{Denied, RefusedReason};

/// Most responder processes a log ever admits. Eviction would have to be the same on every copy: refused instead.
pub const PROCS_MAX: usize = 4_096;
/// Most nodes a log ever admits.
pub const NODES_MAX: usize = 262_144;
/// Most epochs one node may have had.
pub const EPOCHS_PER_NODE_MAX: usize = 64;

/// What the log knows of one origin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OriginState {
    pub(super) key: PublicKey,
    pub(super) epoch: [u8; 16],
    /// Number of its last accepted frame in this epoch.
    pub(super) number: u64,
    /// Term of a leading role, else 0.
    pub(super) term: u64,
    pub(super) closed: bool,
    /// Log size after its last accepted frame.
    pub(super) end: u64,
    /// Epochs a node had before: a replayed one must never count again.
    pub(super) past_epochs: Vec<[u8; 16]>,
}

impl OriginState {
    pub(super) const fn new(key: PublicKey, epoch: [u8; 16]) -> Self {
        Self { key, epoch, number: 0, term: 0, closed: false, end: 0, past_epochs: Vec::new() }
    }

    /// Places a number of the current epoch.
    pub(super) fn place(&self, number: u64) -> Result<(), Denied> {
        let expected = self.number + 1;
        match number {
            _ if number < expected => Err(Denied::Duplicate),
            _ if number > expected => Err(Denied::Gap { expected, got: number }),
            _ if self.closed => Err(RefusedReason::Closed.into()),
            _ => Ok(()),
        }
    }
}

/// What the first frame established.
#[derive(Debug, Clone, PartialEq)]
pub struct LogCreated {
    /// Header hash of the log's first frame: the trust anchor.
    pub anchor: Hash,
    /// The key that signed it.
    pub fleet_key: PublicKey,
    /// The ledger's checkpoint key.
    pub log_key: PublicKey,
    /// When, by the creator's clock, in ms since 1970.
    pub created_at_ms: u64,
    pub(super) role_keys: BTreeMap<Role, PublicKey>,
}

impl LogCreated {
    /// The key of a role, if the log has one for it.
    pub fn role_key(&self, role: Role) -> Option<PublicKey> {
        self.role_keys.get(&role).copied()
    }
}

/// All origins of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    pub(super) known: BTreeMap<Origin, OriginState>,
    nodes: usize,
    procs: usize,
}

/// Changes one frame makes, applied only if all of it is accepted.
#[derive(Debug, Default)]
pub(super) struct Staged {
    changed: BTreeMap<Origin, OriginState>,
}

impl Staged {
    pub(super) fn get<'a>(&'a self, origins: &'a Origins, origin: &Origin) -> Option<&'a OriginState> {
        self.changed.get(origin).or_else(|| origins.known.get(origin))
    }

    pub(super) fn put(&mut self, origin: Origin, state: OriginState) {
        self.changed.insert(origin, state);
    }

    /// How many origins of a class this frame would add.
    fn added(&self, origins: &Origins, class: &str) -> usize {
        self.changed.keys().filter(|o| o.class() == class && !origins.known.contains_key(o)).count()
    }

    /// A node's admission: new, repeated word for word, or with a fresh epoch.
    pub(super) fn admit_node(
        &mut self,
        origins: &Origins,
        body: &v1::NodeAdmitted,
    ) -> Result<(), &'static str> {
        let origin: Origin =
            format!("node/{}", body.node).parse().map_err(|_| "the node's name is malformed")?;
        let key = PublicKey::from_bytes(&body.public_key).map_err(|_| "the node's key is malformed")?;
        let epoch: [u8; 16] =
            body.epoch.as_slice().try_into().map_err(|_| "the node's epoch is not 16 bytes")?;
        let mut fresh = OriginState::new(key, epoch);
        if let Some(old) = self.get(origins, &origin) {
            if old.closed {
                return Err("the node is closed");
            }
            if old.epoch == epoch {
                return if old.key == key { Ok(()) } else { Err("the epoch belongs to another key") };
            }
            if old.past_epochs.contains(&epoch) {
                return Err("the epoch was used before");
            }
            if old.past_epochs.len() + 1 >= EPOCHS_PER_NODE_MAX {
                return Err("the node had too many epochs");
            }
            fresh.past_epochs.clone_from(&old.past_epochs);
            fresh.past_epochs.push(old.epoch);
        } else if origins.nodes + self.added(origins, "node") >= NODES_MAX {
            return Err("too many nodes");
        }
        self.put(origin, fresh);
        Ok(())
    }

    /// A new responder process, with the epoch of its first frame.
    pub(super) fn admit_proc(
        &mut self,
        origins: &Origins,
        origin: &Origin,
        key: PublicKey,
        epoch: [u8; 16],
    ) -> Result<(), RefusedReason> {
        if origins.procs >= PROCS_MAX {
            return Err(RefusedReason::Limit("responder processes"));
        }
        self.put(origin.clone(), OriginState::new(key, epoch));
        Ok(())
    }

    /// The end of an origin: a node's by the scaler, a node's or a process's by itself. Saying it twice is harmless.
    pub(super) fn close(
        &mut self,
        origins: &Origins,
        writer: &Origin,
        body: &v1::OriginClosed,
    ) -> Result<(), &'static str> {
        let origin: Origin = body.origin.parse().map_err(|_| "the origin is malformed")?;
        let by_scaler = *writer == Origin::Role(Role::Scaler) && matches!(origin, Origin::Node(_));
        let by_itself = *writer == origin && !matches!(origin, Origin::Role(_));
        if !by_scaler && !by_itself {
            return Err("the origin is not the writer's to close");
        }
        let mut state = self.get(origins, &origin).cloned().ok_or("the origin is unknown")?;
        state.closed = true;
        self.put(origin, state);
        Ok(())
    }

    /// An explicit gap: the origin's next number is the one behind it. `end` is the log's size after the frame that says so.
    pub(super) fn lose(
        &mut self,
        origins: &Origins,
        writer: &Origin,
        body: &v1::FramesLost,
        end: u64,
    ) -> Result<(), &'static str> {
        let origin: Origin = body.origin.parse().map_err(|_| "the origin is malformed")?;
        if origin == *writer {
            return Err("an origin does not lose its own frames");
        }
        let mut state = self.get(origins, &origin).cloned().ok_or("the origin is unknown")?;
        let broken = if body.epoch != state.epoch {
            Some("not the origin's current epoch")
        } else if body.from != state.number + 1 {
            Some("it does not begin with the frame that is missing")
        } else if body.to < body.from || body.to == u64::MAX {
            Some("it ends before it begins")
        } else {
            None
        };
        if let Some(why) = broken {
            return Err(why);
        }
        (state.number, state.end) = (body.to, end);
        self.put(origin, state);
        Ok(())
    }
}

impl Origins {
    /// Counts what is known.
    pub(super) fn from_known(known: BTreeMap<Origin, OriginState>) -> Self {
        let nodes = known.keys().filter(|origin| matches!(origin, Origin::Node(_))).count();
        let procs = known.keys().filter(|origin| matches!(origin, Origin::Proc(..))).count();
        Self { known, nodes, procs }
    }

    pub(super) fn commit(&mut self, staged: Staged) {
        for (origin, state) in staged.changed {
            let (node, process) = (matches!(origin, Origin::Node(_)), matches!(origin, Origin::Proc(..)));
            if self.known.insert(origin, state).is_none() {
                self.nodes += usize::from(node);
                self.procs += usize::from(process);
            }
        }
    }
}
