//! An empty disk: the newest archived snapshot that fits, and the archived segments as they are, without folding them.
//!
//! The segments are checked as they are fetched (hash, footer, the log key's note at each end) and again when the copy is
//! opened behind the snapshot; every signature in them by the proof in the background.

use asterism_domain::REDUCER;
use asterism_event_log::copy::adopt;
use asterism_event_log::sealed::Reader;
use asterism_event_log::snapshot::Snapshot;

use super::refill::Fetched;
use super::repair::Source;
use super::{RestoreError, Work};
use crate::archive::{Archive, ArchiveError, Segment};
use crate::log::{LogConfig, LogError};
use crate::snapshot;

/// Segments looked through, from the last on, for the stream the ledger read.
const SAID_WITHIN: usize = 4;

impl Work<'_> {
    /// Fills an empty copy. `false`: the archive has nothing, or no snapshot that fits.
    pub(super) async fn begin_with_snapshot(&mut self) -> Result<bool, LogError> {
        let Some(archive) = self.archive else { return Ok(false) };
        let chain = archive.chain_from(0).await.map_err(RestoreError::from)?;
        let Some(last) = chain.last() else { return Ok(false) };
        let Some(newest) = newest(archive, last.end).await.map_err(RestoreError::from)? else {
            return Ok(false);
        };
        let folder = Fetched::below(&self.config.dir).map_err(RestoreError::from)?;
        let mut files = Vec::new();
        for segment in &chain {
            archive.check_note(segment).await.map_err(RestoreError::from)?;
            files.push(archive.fetch(segment, folder.path()).await.map_err(RestoreError::from)?);
        }
        let root = Reader::open(files.last().unwrap_or(&self.config.dir))?.footer().root;
        let dir = self.config.dir.clone();
        self.reopened(|| {
            for path in &files {
                let target = dir.join(path.file_name().unwrap_or_default());
                std::fs::rename(path, &target)
                    .map_err(|error| RestoreError::from(ArchiveError::io("moving", &target, error)))?;
            }
            adopt(&dir, last.end, root)?;
            newest.write(&dir)?;
            Ok(())
        })?;
        let from = self.start.from.as_ref().map(Snapshot::size);
        tracing::info!(from, size = self.size(), "an empty copy begins with archived segments");
        self.refilled += self.size();
        self.sources.insert(Source::Archive);
        self.look_for_stream(&chain)?;
        Ok(true)
    }

    /// Opens the copy anew after something was done to its folder, which nobody holds meanwhile.
    pub(super) fn reopened(&mut self, work: impl FnOnce() -> Result<(), LogError>) -> Result<(), LogError> {
        let scratch = self.config.dir.with_extension("closing");
        let empty = LogConfig { dir: scratch.clone(), ..self.config.clone() };
        *self.start = snapshot::open(&empty)?;
        work()?;
        *self.start = snapshot::open(self.config)?;
        let _ = std::fs::remove_dir_all(&scratch); // empty; the next time clears it too
        Ok(())
    }

    /// Which stream the ledger read when it wrote the newest of these segments.
    fn look_for_stream(&mut self, chain: &[Segment]) -> Result<(), LogError> {
        let from = chain.len().saturating_sub(SAID_WITHIN);
        for segment in chain.iter().skip(from) {
            let name = asterism_event_log::sealed::file_name(segment.first, segment.end);
            let path = self.config.dir.join(name);
            if !path.is_file() {
                continue; // it was damaged and is set aside
            }
            let mut reader = Reader::open(&path)?;
            while let Some(stored) = reader.next_frame()? {
                self.note_stream(&stored.frame);
            }
        }
        Ok(())
    }
}

/// The newest snapshot of this reducer that is what it says. Others are passed over and told.
async fn newest(archive: &Archive, up_to: u64) -> Result<Option<Snapshot>, ArchiveError> {
    for entry in archive.snapshots(REDUCER, up_to).await? {
        match archive.fetch_snapshot(&entry).await {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::warn!(size = entry.size, %error, "AST-R084: an archived snapshot is passed over");
            }
        }
    }
    Ok(None)
}
