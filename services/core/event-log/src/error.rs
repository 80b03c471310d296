//! What can go wrong with a log on disk. Every variant has a stable code.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the log. All of them leave what was durable as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process owns the folder.
    #[error(
        "AST-L001: the log folder {} is owned by another running process; stop that one or name another folder",
        .folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds the log of another fleet.
    #[error(
        "AST-L002: the log in {} is of fleet {found}, not {expected}; name the right folder or the right fleet",
        .folder.display()
    )]
    WrongFleet {
        /// The folder.
        folder: PathBuf,
        /// The fleet asked for.
        expected: String,
        /// The fleet its first frame names.
        found: String,
    },
    /// The log does not begin with the configured trust anchor.
    #[error(
        "AST-L003: the log in {} begins with {found}, not with the trust anchor {expected}; it is another log or a forged one",
        .folder.display()
    )]
    WrongAnchor {
        /// The folder.
        folder: PathBuf,
        /// The configured anchor, hexadecimal.
        expected: String,
        /// Header hash of the log's first frame, hexadecimal.
        found: String,
    },
    /// No space, or a quota.
    #[error(
        "AST-L004: the disk is full while {doing} in {}; free space and start again: what was durable still is",
        .path.display()
    )]
    DiskFull {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Any other failure of the file system, a failed sync among them. The caller stops the process.
    #[error("AST-L005: {doing} failed in {}: {source}; check the disk and start again", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What the caller commits is not what it appended.
    #[error("AST-L006: the root given at size {size} is {given}, the appended events have {ours}; restart")]
    Root {
        /// Log size.
        size: u64,
        /// Root the caller gave, hexadecimal.
        given: String,
        /// Root of the appended events, hexadecimal.
        ours: String,
    },
    /// Not a file of ours, or of a newer version.
    #[error("AST-L007: {} is no log file this version reads: {what}; use a newer version or the right file", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// There is nothing to read.
    #[error("AST-L008: {} holds no sealed segment{}; seal the log first, or name its folder", .folder.display(), if *.hot { ", only a hot one that its owner has not sealed" } else { "" })]
    NothingSealed {
        /// The folder.
        folder: PathBuf,
        /// Whether an unsealed segment is there.
        hot: bool,
    },
    /// No folder of that name.
    #[error("AST-L016: there is no folder {}; name the folder of a log (DIR/log of `asterism up`)", .folder.display())]
    NoFolder {
        /// What was named.
        folder: PathBuf,
    },
    /// Too much appended without a commit.
    #[error(
        "AST-L009: {events} events wait for a commit, the limit is {limit}; commit before appending more"
    )]
    PendingFull {
        /// Events waiting.
        events: usize,
        /// The limit.
        limit: usize,
    },
    /// A frame that does not follow what is there.
    #[error("AST-L010: a frame at position {got} was appended to a log of {expected} events; restart")]
    OutOfOrder {
        /// Size of the copy with what is pending.
        expected: u64,
        /// Position of the frame.
        got: u64,
    },
    /// Stored data that is not what it must be.
    #[error("AST-L011: {} is damaged at position {position}: {what}; restore it from another copy or the archive", .path.display())]
    Damaged {
        /// File or folder.
        path: PathBuf,
        /// First log position that cannot be trusted.
        position: u64,
        /// What was found.
        what: String,
    },
    /// The store below failed in a way of its own, a contained panic among them.
    #[error("AST-L012: the segment store failed while {doing} in {}: {what}; start again, the segment is checked at open", .path.display())]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What it said.
        what: String,
    },
    /// An earlier error already ended this copy's life.
    #[error("AST-L013: this copy of the log failed before and takes nothing more; restart the process")]
    Failed,
    /// A stored frame the rules do not accept where it stands.
    #[error(
        "AST-L014: the frame at position {position} breaks the log's rules: {why}; the log was changed after it was written"
    )]
    Rule {
        /// First position of the frame.
        position: u64,
        /// The rule.
        why: String,
    },
    /// The log holds something from a newer version.
    #[error("AST-L015: the log in {} needs a newer version of this program at position {position}: {what}", .folder.display())]
    TooNew {
        /// The folder.
        folder: PathBuf,
        /// First position that is not understood.
        position: u64,
        /// What it is.
        what: String,
    },
    /// A copy cannot be opened from this snapshot; nothing was changed.
    #[error("AST-L017: the snapshot at size {size} does not lead to the log in {}: {why}; the log is folded from its beginning", .folder.display())]
    Snapshot {
        /// The log folder.
        folder: PathBuf,
        /// Size of the snapshot.
        size: u64,
        /// What does not fit.
        why: String,
    },
}

impl Error {
    /// An operating system error, told apart from a full disk.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { doing, path: path.to_owned() }
            }
            _ => Self::Io { doing, path: path.to_owned(), source },
        }
    }

    pub(crate) fn damaged(path: &Path, position: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), position, what: what.into() }
    }

    /// The stable code, `AST-L...`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "AST-L001",
            Self::WrongFleet { .. } => "AST-L002",
            Self::WrongAnchor { .. } => "AST-L003",
            Self::DiskFull { .. } => "AST-L004",
            Self::Io { .. } => "AST-L005",
            Self::Root { .. } => "AST-L006",
            Self::Format { .. } => "AST-L007",
            Self::NothingSealed { .. } => "AST-L008",
            Self::PendingFull { .. } => "AST-L009",
            Self::OutOfOrder { .. } => "AST-L010",
            Self::Damaged { .. } => "AST-L011",
            Self::Store { .. } => "AST-L012",
            Self::Failed => "AST-L013",
            Self::Rule { .. } => "AST-L014",
            Self::TooNew { .. } => "AST-L015",
            Self::NoFolder { .. } => "AST-L016",
            Self::Snapshot { .. } => "AST-L017",
        }
    }

    /// First log position that the error is about, if it is about one.
    pub const fn position(&self) -> Option<u64> {
        match self {
            Self::Damaged { position, .. } | Self::Rule { position, .. } | Self::TooNew { position, .. } => {
                Some(*position)
            }
            _ => None,
        }
    }

    /// Whether the data, not the caller or the machine, is at fault: a copy that meets one is set aside and refilled.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Store { .. } | Self::Rule { .. })
    }
}
