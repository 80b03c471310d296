//! A checkpoint kept outside the log, held against it: what tells a log that was rolled back or cut.

use asterism_event_log::Sequencer;
use asterism_proto::hash::Hash;
use asterism_proto::note::{self, TreeHead};

use super::Verifier;

/// The checkpoint, and what became of it. The key that must have signed it is named by the log's first frame.
pub(super) struct Outside<'a> {
    text: &'a str,
    note: Option<TreeHead>,
    refused: bool,
    /// Root of the log at the note's size, or just before it if no frame ends there.
    root: Option<Hash>,
    /// The note's size, if the log agrees.
    pub(super) agreed: Option<u64>,
}

impl<'a> Outside<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, note: None, refused: false, root: None, agreed: None }
    }

    /// After each frame.
    pub(super) fn pass(&mut self, sequencer: &Sequencer, verifier: &mut Verifier) {
        if let (None, false, Some(created)) = (self.note, self.refused, sequencer.created()) {
            let name = note::origin(&note::tag(sequencer.fleet(), &created.anchor));
            match note::open(self.text.as_bytes(), &name, &created.log_key) {
                Ok(note) => self.note = Some(note),
                Err(why) => {
                    self.refused = true;
                    let text = format!("the checkpoint given says nothing about this log: {why}");
                    verifier.problem_beside(text);
                }
            }
        }
        let Some(note) = self.note.filter(|note| note.size == sequencer.size()) else { return };
        self.root = Some(sequencer.root());
        if sequencer.root() == note.root {
            self.agreed = Some(note.size);
            verifier.trust(note.size);
        }
    }

    /// At the end of the log.
    pub(super) fn finish(&mut self, sequencer: &Sequencer, verifier: &mut Verifier) {
        let Some(note) = self.note.filter(|_| self.agreed.is_none()) else { return };
        let (size, ours) = (note.size, sequencer.size());
        let text = match self.root {
            Some(root) => format!(
                "the checkpoint given has root {} at size {size}, the log has {}: it is another history",
                hex::encode(note.root),
                hex::encode(root)
            ),
            None if size > ours => format!(
                "the checkpoint given covers {size} events, the log ends at {ours}: it was rolled back or cut, or this \
                 is an older copy"
            ),
            None => format!(
                "the checkpoint given is of size {size}, where no frame of this log ends: it is another history"
            ),
        };
        let position = if size > ours { ours } else { verifier.trusted() };
        verifier.problem(position, text);
    }
}
