//! Why a file is no sound that can be played.

/// Each with a stable code (see [`Error::code`]) and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else inside than its name says.
    #[error("AST-M022: this is no {kind} file, whatever its name says; export it again as {kind}")]
    Not {
        /// What it is named.
        kind: &'static str,
    },
    /// The file ends too early, or a piece of it was passed over.
    #[error("AST-M023: the file ends before its sound does, or a piece is missing; copy or export it again")]
    Truncated,
    /// A sample rate that is none of a recording.
    #[error(
        "AST-M024: the sound has {rate_hz} Hz, 4,000 to 192,000 Hz can be read; export it with 8,000 Hz or more"
    )]
    Rate {
        /// Its rate in Hz.
        rate_hz: u32,
    },
    /// An encoding or number of channels that is not read.
    #[error("AST-M025: the sound has {what}, which is not read; convert it: sox IN -c 1 -b 16 OUT.wav")]
    Encoding {
        /// What it has.
        what: String,
    },
    /// Nothing to play.
    #[error("AST-M026: the file holds no sound; a prompt needs at least one sample")]
    Empty,
    /// Longer than a sound may be.
    #[error("AST-M027: the sound lasts longer than {max_ms} ms, which is the most; cut it")]
    TooLong {
        /// The longest allowed, in ms.
        max_ms: u64,
    },
    /// It does not decode.
    #[error("AST-M040: the file is damaged ({why}); copy or export it again")]
    Damaged {
        /// What its decoder says.
        why: String,
    },
    /// Too large once encoded.
    #[error("AST-M041: the sound has {bytes} bytes as {format}, at most {max} are allowed; cut it")]
    TooLarge {
        /// The format's extension.
        format: &'static str,
        /// Bytes it has in it.
        bytes: u64,
        /// Bytes it may have.
        max: u64,
    },
}

impl Error {
    /// The stable code, like `AST-M022`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Not { .. } => "AST-M022",
            Self::Truncated => "AST-M023",
            Self::Rate { .. } => "AST-M024",
            Self::Encoding { .. } => "AST-M025",
            Self::Empty => "AST-M026",
            Self::TooLong { .. } => "AST-M027",
            Self::Damaged { .. } => "AST-M040",
            Self::TooLarge { .. } => "AST-M041",
        }
    }

    pub(crate) fn damaged(why: impl Into<String>) -> Self {
        Self::Damaged { why: why.into() }
    }
}
