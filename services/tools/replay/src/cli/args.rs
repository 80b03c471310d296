//! The arguments of each command.

use std::path::{Path, PathBuf};

use asterism_proto::hash::Hash;
use clap::{Args, ValueEnum};

use crate::cdr::Style;
use crate::explain::{NumbersKey, Subject};
use crate::fold::At;
use crate::proof::make::{self, Which};
use crate::{Error, when};

/// Where the log is and what it must begin with.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Folder of sealed segments (segment-*.ast)
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub(super) anchor: AnchorArgs,
}

/// What the log must begin with.
#[derive(Debug, Clone, Args)]
pub struct AnchorArgs {
    /// Header hash of the log's first frame, 64 hexadecimal digits: only the log that begins with it is accepted
    #[arg(long, value_name = "HEX")]
    pub anchor: Option<String>,
}

impl AnchorArgs {
    pub(super) fn read(&self) -> Result<Option<Hash>, Error> {
        let Some(text) = &self.anchor else { return Ok(None) };
        let bytes = hex::decode(text.trim()).map_err(|_| Error::Anchor)?;
        bytes.try_into().map(Some).map_err(|_| Error::Anchor)
    }
}

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// A checkpoint kept outside (C2SP signed note): finds a log that was rolled back or cut
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl VerifyArgs {
    pub(super) fn checkpoint(&self) -> Result<Option<String>, Error> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path)
                .map_err(|error| Error::File { path: path.clone(), why: error.to_string() })
        };
        self.checkpoint.as_ref().map(read).transpose()
    }
}

/// Arguments of `repair`.
#[derive(Debug, Clone, Args)]
pub struct RepairArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// The new folder; the damaged one is never changed
    #[arg(long, value_name = "DIR")]
    pub(super) to: PathBuf,
    /// A folder of the same log to refill from; may be given more than once
    #[arg(long, value_name = "DIR")]
    pub(super) from: Vec<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `state`.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// State after the first N events, or at a time (2026-11-22T10:00:00Z), instead of the last
    #[arg(long, value_name = "N|TIME", value_parser = moment)]
    pub(super) at: Option<At>,
    /// On one line
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn moment(text: &str) -> Result<At, String> {
    let size = text.parse().ok().map(At::Size);
    size.or_else(|| when::parse(text).map(At::Time))
        .ok_or_else(|| "a number of events, or a time as 2026-11-22T10:00:00Z".to_owned())
}

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// +NUMBER, CAMPAIGN/CONTACT, an attempt (CAMPAIGN-CONTACT-ORDINAL), a node, or a time (2026-11-22T10:00:00Z)
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// The fleet's key for numbers (numbers.key in its key folder): the log holds keyed hashes only
    #[arg(long, value_name = "FILE")]
    numbers_key: Option<PathBuf>,
    /// How far around a time, in ms
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    around_ms: u64,
    /// Check the whole log, also where the index alone finds the answer
    #[arg(long)]
    pub(super) full: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl ExplainArgs {
    pub(super) fn subject(&self) -> Result<Subject, Error> {
        let key = self.numbers_key.as_deref().map(NumbersKey::read).transpose()?;
        Subject::parse(&self.subject, key.as_ref(), self.around_ms)
    }
}

/// A key of 32 bytes in hexadecimal.
pub(crate) fn read_key(path: &Path) -> Result<[u8; 32], Error> {
    let bad = |why: String| Error::File { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let bytes = hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| bad("it is no key of 64 hexadecimal digits".to_owned()))
}

/// Arguments of `prove`.
#[derive(Debug, Clone, Args)]
pub struct ProveArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// Position of the event, or its id (ORIGIN.EPOCH.FRAME.INDEX)
    #[arg(value_name = "POSITION|EVENT", value_parser = which, required_unless_present = "consistency")]
    pub(super) event: Option<Which>,
    /// Under the checkpoint of this size, instead of the newest
    #[arg(long, value_name = "SIZE", conflicts_with = "consistency")]
    pub(super) at: Option<u64>,
    /// Prove that the log of checkpoint NEW (a size, or "newest") begins with the log of checkpoint OLD
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], value_parser = size, conflicts_with = "event")]
    pub(super) consistency: Option<Vec<make::At>>,
    /// Write the proof to this new file and say what it proves, instead of printing the proof
    #[arg(short, long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// With --out: say it as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

fn which(text: &str) -> Result<Which, String> {
    Which::parse(text)
        .ok_or_else(|| "a position, or an id as node/i-1.<32 hex digits>.FRAME.INDEX".to_owned())
}

fn size(text: &str) -> Result<make::At, String> {
    let size = text.parse().ok().map(make::At::Size);
    size.or_else(|| (text == "newest").then_some(make::At::Newest))
        .ok_or_else(|| "the size of a checkpoint, or \"newest\"".to_owned())
}

/// Arguments of `check-proof`.
#[derive(Debug, Clone, Args)]
pub struct CheckProofArgs {
    /// File that `prove` wrote
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) anchor: AnchorArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `stats`.
#[derive(Debug, Clone, Args)]
pub struct StatsArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// The campaign [default: every one]
    #[arg(long, value_name = "ID")]
    pub(super) campaign: Option<String>,
    /// Print one JSON array
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// The earlier moment: after the first N events, or at a time (2026-11-22T10:00:00Z)
    #[arg(long, value_name = "N|TIME", value_parser = moment)]
    pub(super) from: At,
    /// The later one
    #[arg(long, value_name = "N|TIME", value_parser = moment)]
    pub(super) to: At,
    /// List every contact and incident, not the first 20 of each
    #[arg(long)]
    pub(super) all: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `tail`.
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// How many events, at most 10,000
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(super) lines: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `cdr`.
#[derive(Debug, Clone, Args)]
pub struct CdrArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// The fleet's key folder, for the numbers in `dst`: the log has them sealed. Without it `dst` is empty
    #[arg(long, value_name = "DIR")]
    pub(super) keys: Option<PathBuf>,
    /// A cell that a spreadsheet would take for a formula begins with an apostrophe
    #[arg(long, conflicts_with = "json")]
    spreadsheet: bool,
    /// No row with the columns' names, as in Asterisk's own Master.csv
    #[arg(long, conflicts_with = "json")]
    no_header: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl CdrArgs {
    pub(super) const fn style(&self) -> Style {
        Style { json: self.json, spreadsheet: self.spreadsheet, no_header: self.no_header }
    }
}

/// Arguments of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub(super) log: LogArgs,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub(super) format: Format,
    /// The same as --format jsonl
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// With csv: a cell that a spreadsheet would take for a formula begins with an apostrophe
    #[arg(long)]
    pub(super) spreadsheet: bool,
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated, with a header
    Csv,
    /// Apache Parquet, with types (builds with the feature `parquet`)
    Parquet,
}
