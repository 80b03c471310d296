//! What was done to a copy, and what its process says of it in the log.

use std::collections::BTreeSet;

use asterism_domain::Event;
use asterism_event_log::Suspect;

/// Longest reason in the log, in characters.
const REASON_MAX: usize = 500;

/// Where what a copy lacked came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The object store.
    Archive,
    /// A ledger's copy.
    Ledger,
}

impl Source {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Ledger => "ledger",
        }
    }
}

/// What was done to a copy: it must meet a checkpoint before its process leads, and is told in the log then.
#[derive(Clone, Debug)]
pub(crate) struct Repair {
    pub(crate) reason: String,
    pub(crate) kept: u64,
    pub(crate) promised: u64,
    pub(crate) set_aside: String,
    /// Events of what was set aside that are not in the log.
    pub(crate) beyond: u64,
    /// Beside the stream, from which every copy goes on.
    pub(crate) sources: BTreeSet<Source>,
}

impl Repair {
    /// A copy that was sound and lacked something.
    pub(crate) fn lacked(reason: String, kept: u64) -> Self {
        Self { reason, kept, promised: 0, set_aside: String::new(), beyond: 0, sources: BTreeSet::new() }
    }

    /// A copy that was found damaged.
    pub(crate) fn of(suspect: &Suspect) -> Self {
        let name = suspect.set_aside.as_deref().and_then(|path| path.file_name());
        Self {
            promised: suspect.promised.unwrap_or(0),
            set_aside: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            ..Self::lacked(suspect.reason.clone(), suspect.kept)
        }
    }

    /// The event that tells it.
    pub(crate) fn event(&self, holder: &str, size: u64) -> Event {
        let sources: Vec<&str> = self.sources.iter().map(|source| source.name()).collect();
        let refilled_from = if sources.is_empty() { "stream".to_owned() } else { sources.join(", ") };
        Event::LogRepaired {
            holder: holder.to_owned(),
            reason: self.reason.chars().take(REASON_MAX).collect(),
            kept: self.kept,
            promised: self.promised,
            set_aside: self.set_aside.clone(),
            refilled_from,
            size,
            beyond: self.beyond,
        }
    }
}
