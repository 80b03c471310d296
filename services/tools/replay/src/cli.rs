//! Arguments and output, shared by `asterism-replay` and `asterism replay`.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use asterism_domain::invariant::Verdict;
use asterism_proto::hash::Hash;
use clap::{Args, Subcommand, ValueEnum};

use crate::verify::{Verification, verify};
use crate::{Error, export, fold};

/// Events between two progress lines.
const PROGRESS_EVENTS: u64 = 100_000;

/// What to do with a log folder.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check everything again: files, signatures, order, tree, checkpoints, state, invariants. Exit status 1 on any
    /// problem
    Verify(VerifyArgs),
    /// Print the state the log folds to, as JSON
    State(StateArgs),
    /// Write every event as one JSON line
    Export(ExportArgs),
}

/// Where the log is and what it must begin with.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Folder of sealed segments (segment-*.ast)
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Header hash of the log's first frame, 64 hexadecimal digits: only the log that begins with it is accepted
    #[arg(long, value_name = "HEX")]
    pub anchor: Option<String>,
}

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `state`.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    #[command(flatten)]
    log: LogArgs,
    /// State after the first N events instead of all
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

/// Arguments of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    log: LogArgs,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
}

impl LogArgs {
    fn anchor(&self) -> Result<Option<Hash>, Error> {
        let Some(text) = &self.anchor else { return Ok(None) };
        let bytes = hex::decode(text.trim()).map_err(|_| Error::Anchor)?;
        bytes.try_into().map(Some).map_err(|_| Error::Anchor)
    }
}

/// Does it, writing to standard output. The status is 1 if `verify` found a problem.
pub fn run(command: &Command) -> Result<ExitCode, Error> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let ok = match command {
        Command::Verify(args) => {
            let result = verify(&args.log.folder, args.log.anchor()?, &mut progress())?;
            if args.json {
                serde_json::to_writer(&mut out, &result).map_err(std::io::Error::from)?;
                writeln!(out)?;
            } else {
                print(&result, &args.log.folder, &mut out)?;
            }
            result.replay_ok
        }
        Command::State(args) => {
            let state = fold::state_at(&args.log.folder, args.log.anchor()?, args.at)?;
            let hash = hex::encode(state.hash());
            let shown = serde_json::json!({ "size": state.size, "state_hash": hash, "state": state });
            serde_json::to_writer_pretty(&mut out, &shown).map_err(std::io::Error::from)?;
            writeln!(out)?;
            true
        }
        Command::Export(args) => {
            let Format::Jsonl = args.format;
            export::jsonl(&args.log.folder, args.log.anchor()?, &mut out)?;
            true
        }
    };
    out.flush()?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Progress on a terminal's standard error; silent otherwise.
fn progress() -> impl FnMut(u64) {
    let shown = std::io::stderr().is_terminal();
    let mut next = PROGRESS_EVENTS;
    move |events| {
        if shown && events >= next {
            next = events + PROGRESS_EVENTS;
            let _ = write!(std::io::stderr(), "\r{events} events checked");
        }
    }
}

fn print(result: &Verification, folder: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "log of fleet {} in {}", result.fleet, folder.display())?;
    writeln!(out, "  segments     {}", result.segments)?;
    writeln!(out, "  frames       {}", result.frames)?;
    writeln!(out, "  events       {}", result.events)?;
    writeln!(out, "  root         {}", result.root)?;
    if let Some(anchor) = &result.anchor {
        let compared = if result.anchor_given { "as given" } else { "not compared" };
        writeln!(out, "  anchor       {anchor} ({compared})")?;
    }
    writeln!(out, "  state hash   {}", result.state_hash.as_deref().unwrap_or("none: the fold stopped"))?;
    for (name, counts) in [("checkpoints ", &result.checkpoints), ("state hashes", &result.state_hashes)] {
        let (agreed, differed, unchecked) = (counts.agreed, counts.differed, counts.unchecked);
        writeln!(out, "  {name} {agreed} agree, {differed} differ, {unchecked} not comparable")?;
    }
    writeln!(out, "  voids        {}, incidents {}", result.voids, result.incidents)?;
    writeln!(out, "events by origin")?;
    for (origin, events) in &result.origins {
        writeln!(out, "  {events:>9}  {origin}")?;
    }
    writeln!(out, "invariants, judged at {} positions", result.invariant_checks)?;
    for finding in &result.invariants {
        let verdict = match &finding.verdict {
            Verdict::Holds => "holds".to_owned(),
            Verdict::Broken(why) => format!("BROKEN: {why}"),
            Verdict::NotApplicable(why) => format!("not judged here: {why}"),
        };
        writeln!(out, "  {} {}: {verdict}", finding.id, finding.rule)?;
    }
    for note in &result.notes {
        writeln!(out, "note: {note}")?;
    }
    for problem in &result.problems {
        writeln!(out, "problem: {problem}")?;
    }
    match result.problem_count {
        0 if result.replay_ok => writeln!(out, "ok: {} events verified", result.events),
        count => {
            writeln!(out, "NOT OK: {count} problems; nothing is claimed beyond {} events", result.events)
        }
    }
}
