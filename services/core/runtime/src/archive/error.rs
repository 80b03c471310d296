//! What can be wrong with an archive.

use std::path::PathBuf;

use asterism_object_store::{Error as StoreError, ObjectName};

/// Why the archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The object store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another writer stored something else under a name of this log.
    #[error(
        "AST-R070: {object} holds {theirs}, this ledger would store {ours}: a second writer, or a copy that differs; \
         nothing was overwritten, archiving stops; compare both logs by `asterism replay diff` before starting again"
    )]
    SecondWriter {
        /// The object.
        object: String,
        /// What it holds.
        theirs: String,
        /// What would have been stored.
        ours: String,
    },
    /// Nothing is there.
    #[error(
        "AST-R071: the archive holds nothing of log {log} yet; is ledger.archive set and the ledger running?"
    )]
    Empty {
        /// The log's name in the archive.
        log: String,
    },
    /// An object is not what was stored.
    #[error("AST-R072: {object} is damaged: {what}; restore it from another copy of the archive")]
    Damaged {
        /// The object.
        object: String,
        /// What was found.
        what: String,
    },
    /// The archive is of another log.
    #[error(
        "AST-R073: the archive holds log {found}, not {wanted}; name the archive and the keys of the same fleet"
    )]
    OtherLog {
        /// The log looked for.
        wanted: String,
        /// One that is there.
        found: String,
    },
    /// The chain of segments has a hole.
    #[error(
        "AST-R074: no archived segment begins at event {at}, the next one begins at {next}; restore it from another copy of the archive"
    )]
    Missing {
        /// Where one should begin.
        at: u64,
        /// Where the next begins.
        next: u64,
    },
    /// A checkpoint note that is not believed.
    #[error("AST-R075: the checkpoint note {object} is not believed: {why}; the log's key alone may sign it")]
    Note {
        /// The object.
        object: String,
        /// Why.
        why: String,
    },
    /// A file on this machine.
    #[error("AST-R076: {doing} {} failed: {error}; check the disk and the folder's owner", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl ArchiveError {
    pub(super) fn damaged(object: &ObjectName, what: &str) -> Self {
        Self::Damaged { object: object.to_string(), what: what.to_owned() }
    }

    pub(crate) fn io(doing: &'static str, path: &std::path::Path, error: std::io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), error }
    }

    /// Whether repeating may help: the store or the disk did not answer as it should.
    pub fn is_transient(&self) -> bool {
        match self {
            // A full disk, a right that was taken away: who mends it need not start anything again.
            Self::Store(error) => {
                let mendable = ["AST-B006", "AST-B007", "AST-B008", "AST-B010", "AST-B012"];
                error.is_transient() || mendable.contains(&error.code())
            }
            Self::Io { .. } => true,
            _ => false,
        }
    }
}
