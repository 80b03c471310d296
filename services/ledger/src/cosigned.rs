//! Checkpoint notes with the nodes' cosignatures, for the archive.
//!
//! A note is created once, so it waits: until every node that cosigns has signed that checkpoint, or for a while.

use std::time::Duration;

use asterism_proto::OriginKey;
use asterism_proto::note::{self, TreeHead};
use asterism_runtime::archive::{Archive, ArchiveError};
use asterism_runtime::log::Log;
use tokio::time::Instant;

use crate::witness::Witnesses;

/// How long a note waits for cosignatures: a node answers a notice within a second.
const GRACE: Duration = Duration::from_secs(5);

/// The checkpoint that is waited for.
struct Awaited {
    head: TreeHead,
    since: Instant,
    /// The most cosignatures seen together, and the note with them: a node's next one takes the place of this.
    best: (usize, String),
}

/// Collects for one checkpoint at a time: that of the last seal.
pub(crate) struct Cosigned {
    witnesses: Witnesses,
    awaited: Option<Awaited>,
}

impl Cosigned {
    pub(crate) const fn new(witnesses: Witnesses) -> Self {
        Self { witnesses, awaited: None }
    }

    /// Waits for the cosignatures of this checkpoint.
    pub(crate) fn begin(&mut self, head: TreeHead) {
        self.awaited = Some(Awaited { head, since: Instant::now(), best: (0, String::new()) });
    }

    /// Looks what has come; stores the note when it is complete or has waited long enough. Without a node that cosigns
    /// there is none.
    pub(crate) async fn store(
        &mut self,
        log: &Log,
        archive: &Archive,
        key: &OriginKey,
    ) -> Result<(), ArchiveError> {
        let Some(awaited) = &mut self.awaited else { return Ok(()) };
        let name = note::origin(archive.tag());
        let (count, text) = self.witnesses.note(key, &name, &awaited.head);
        if count > awaited.best.0 {
            awaited.best = (count, text);
        }
        let nodes = log.sequencer(|sequencer, _, _| self.witnesses.open(sequencer));
        let (complete, waited) = (awaited.best.0 >= nodes && nodes > 0, awaited.since.elapsed() >= GRACE);
        if !complete && !waited {
            return Ok(());
        }
        let (count, text) = awaited.best.clone();
        if count > 0 {
            archive.put_note_text(&awaited.head, text).await?;
            tracing::info!(size = awaited.head.size, count, nodes, "a cosigned checkpoint is archived");
        }
        self.awaited = None;
        Ok(())
    }
}
