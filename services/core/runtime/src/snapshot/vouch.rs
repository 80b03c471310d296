//! Whether a state that this process has not folded from the first frame may be led from.
//!
//! The log's roots prove its events, not what somebody folded from them. Three things bear a snapshot out: a second fold of
//! this process; one of an earlier life of this copy, which left word of it; or the ledger's `StateHashed` in the log, for
//! the snapshot's own size or for the size that stands right before it. Until then it is followed and nothing is led.

use std::path::Path;

use asterism_domain::{REDUCER, State};
use asterism_event_log::AcceptedFrame;
use asterism_event_log::snapshot::Snapshot;
use asterism_proto::hash::{Hash, sha256};
use asterism_proto::v1::{self, EventType};
use asterism_proto::{Origin, Role};
use prost::Message as _;

/// In a copy's folder: the snapshots that a second fold has come to.
const PROVED: &str = "PROVED";
/// Lines kept in it: more than there are snapshots.
const LINES_KEPT: usize = 4;

/// A state from a snapshot that nothing has borne out yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unproved {
    /// Events folded.
    pub(crate) size: u64,
    state: Hash,
}

impl Unproved {
    /// For what a copy in this folder is opened from; `None` if an earlier life has folded it a second time.
    pub(crate) fn of(from: &Snapshot, dir: &Path) -> Option<Self> {
        let (size, root, state) = (from.size(), from.sequencer.root(), sha256(&from.state));
        let said = std::fs::read_to_string(dir.join(PROVED)).unwrap_or_default();
        let proved = said.lines().any(|told| told == line(size, &root, &state));
        (!proved).then_some(Self { size, state })
    }

    /// Looks at a frame that is about to be folded into `state`: whether it names the hash of what this was, or has grown to.
    ///
    /// # Errors
    /// It names another one: AST-R023.
    pub(crate) fn is_borne_out(&self, frame: &AcceptedFrame, state: &State) -> Result<bool, String> {
        if frame.frame.origin != Origin::Role(Role::Ledger) {
            return Ok(false);
        }
        for (position, bytes) in (frame.first..).zip(&frame.frame.events) {
            let Some(said) = hashed(bytes).filter(|said| said.reducer == REDUCER) else { continue };
            let ours = match said.size {
                size if size == self.size => self.state,
                size if size == position && position == frame.first && state.size == size => state.hash(),
                _ => continue,
            };
            if said.hash == ours {
                tracing::info!(size = self.size, said = said.size, "the log bears the snapshot out");
                return Ok(true);
            }
            return Err(format!(
                "AST-R023: the log says at event {position} that the state at size {} has hash {}, the snapshot at {} \
                 comes to {}",
                said.size,
                hex::encode(said.hash),
                self.size,
                hex::encode(ours)
            ));
        }
        Ok(false)
    }
}

fn hashed(event: &[u8]) -> Option<v1::StateHashed> {
    let event =
        v1::Event::decode(event).ok().filter(|event| event.r#type == EventType::StateHashed as u32)?;
    v1::StateHashed::decode(event.body.as_slice()).ok()
}

fn line(size: u64, root: &Hash, state: &Hash) -> String {
    format!("{size} {} {} {REDUCER}", hex::encode(root), hex::encode(state))
}

/// Leaves word that a second fold came to this. Without it the next start waits for one; nothing else is lost.
pub(super) fn remember(dir: &Path, size: u64, root: &Hash, state: &Hash) {
    let (path, part) = (dir.join(PROVED), dir.join("PROVED.part"));
    let said = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines: Vec<&str> = said.lines().collect();
    let new = line(size, root, state);
    if lines.contains(&new.as_str()) {
        return;
    }
    lines.push(&new);
    let kept = lines.split_off(lines.len().saturating_sub(LINES_KEPT));
    let written = std::fs::write(&part, kept.join("\n") + "\n").and_then(|()| std::fs::rename(&part, &path));
    if let Err(error) = written {
        tracing::debug!(%error, "a proof is not remembered");
    }
}

/// Nothing in the folder is proved any more.
pub(super) fn forget(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(PROVED)); // mostly it is not there
}
