//! Arguments and output, shared by `asterism-replay` and `asterism replay`.

mod args;
mod proofs;
mod verified;

use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use asterism_domain::State;
use asterism_event_log::LogFolder;
use clap::Subcommand;
use serde::Serialize;

pub(crate) use args::read_key;
pub use args::{
    AnchorArgs, CdrArgs, CheckProofArgs, DiffArgs, ExplainArgs, ExportArgs, Format, LogArgs, ProveArgs,
    RepairArgs, ReportArgs, StateArgs, StatsArgs, TailArgs, VerifyArgs,
};

use crate::explain::explain;
use crate::fold::Pass;
use crate::verify::{Against, verify};
use crate::{Error, cdr, diff, export, fold, repair, report, stats, tail};

/// Events between two progress lines.
const PROGRESS_EVENTS: u64 = 100_000;

/// What to do with a log folder.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check everything again: files, signatures, order, tree, checkpoints, state, invariants. Exit status 1 on any
    /// problem
    Verify(VerifyArgs),
    /// Write what is sound of a damaged log to a new folder, refilled from others. Exit status 1 if something is missing
    Repair(RepairArgs),
    /// Print the state the log folds to, as JSON
    State(StateArgs),
    /// Say what happened to a number, contact, call or node, or at a moment: when, by whom, why
    Explain(ExplainArgs),
    /// Write a file that proves that an event is in the log, or that the log only grew; it verifies offline
    Prove(ProveArgs),
    /// Check a file that `prove` wrote, with nothing else. Exit status 1 if it proves nothing
    CheckProof(CheckProofArgs),
    /// Say what changed between two moments: campaigns, contacts, nodes, leaders, incidents
    Diff(DiffArgs),
    /// Print the last events in plain words
    Tail(TailArgs),
    /// Print the log in numbers: events, bytes, calls, nodes
    Stats(StatsArgs),
    /// Print campaigns in numbers: contacts by state, funnel, outcomes by hour, causes by trunk, cost
    Report(ReportArgs),
    /// Write call detail records as CSV: Asterisk's columns, then ours
    Cdr(CdrArgs),
    /// Write every event as one JSON line, or one row of CSV
    Export(ExportArgs),
}

/// Does it, writing to standard output. The status is 1 if `verify` found a problem or `check-proof` no proof.
pub fn run(command: &Command) -> Result<ExitCode, Error> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let ok = dispatch(command, &mut out)?;
    out.flush()?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn dispatch(command: &Command, out: &mut dyn Write) -> Result<bool, Error> {
    match command {
        Command::Verify(args) => {
            let checkpoint = args.checkpoint()?;
            let result = with(&args.log, |pass| {
                let against = Against { anchor: pass.anchor, checkpoint: checkpoint.as_deref() };
                verify(pass.folder, &against, pass.progress)
            })?;
            show(args.json, &result, out, |out| verified::print(&result, &args.log.folder, out))?;
            return Ok(result.replay_ok);
        }
        Command::Repair(args) => {
            let done = with(&args.log, |pass| repair::repair(pass, &args.from, &args.to))?;
            show(args.json, &done, out, |out| done.print(out))?;
            return Ok(done.whole);
        }
        Command::State(args) => {
            let state = with(&args.log, |pass| fold::state_at(pass, args.at))?;
            let shown = Shown { size: state.size, state_hash: hex::encode(state.hash()), state: &state };
            let write = if args.json { serde_json::to_writer } else { serde_json::to_writer_pretty };
            write(&mut *out, &shown).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Command::Explain(args) => {
            let subject = args.subject()?;
            let told = with(&args.log, |pass| explain(pass, &subject, args.full))?;
            show(args.json, &told, out, |out| told.print(out))?;
        }
        Command::Prove(args) => proofs::prove(args, out)?,
        Command::CheckProof(args) => return proofs::check(args, out),
        Command::Diff(args) => {
            let found = with(&args.log, |pass| diff::diff(pass, args.from, args.to, args.all))?;
            show(args.json, &found, out, |out| found.print(out))?;
        }
        Command::Tail(args) => {
            let last = with(&args.log, |pass| tail::tail(pass, args.lines))?;
            show(args.json, &last, out, |out| last.print(out))?;
        }
        Command::Stats(args) => {
            let stats = with(&args.log, stats::stats)?;
            show(args.json, &stats, out, |out| stats.print(out))?;
        }
        Command::Report(args) => {
            let found = with(&args.log, |pass| report::report(pass, args.campaign.as_deref()))?;
            if let (Some(id), []) = (&args.campaign, found.as_slice()) {
                let why = "the log has no such campaign".to_owned();
                return Err(Error::Subject { text: id.clone(), why });
            }
            show(args.json, &found, out, |out| {
                found.iter().try_for_each(|one| write!(out, "{}", one.text()))
            })?;
        }
        Command::Cdr(args) => {
            let mut keys = args.keys.as_deref().map(cdr::Keys::open).transpose()?;
            with(&args.log, |pass| cdr::cdr(pass, keys.as_mut(), &args.style(), out))?;
        }
        Command::Export(args) => {
            with(&args.log, |pass| match args.format {
                Format::Csv => export::csv(pass, args.spreadsheet, out),
                Format::Jsonl | Format::Parquet if args.spreadsheet => Err(Error::NoRows),
                Format::Parquet if std::io::stdout().is_terminal() => Err(Error::Terminal),
                Format::Parquet => export::parquet(pass, out),
                Format::Jsonl => export::jsonl(pass, out),
            })?;
        }
    }
    Ok(true)
}

/// What `state` prints.
#[derive(Serialize)]
struct Shown<'a> {
    size: u64,
    state_hash: String,
    state: &'a State,
}

/// Reads a log, with progress.
fn with<T>(log: &LogArgs, read: impl FnOnce(&mut Pass<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let anchor = log.anchor.read()?;
    let mut progress = Progress::new(&log.folder);
    let pass = &mut Pass { folder: &log.folder, anchor, progress: &mut |events| progress.tell(events) };
    read(pass).map_err(|error| match (error, log.folder.join("log")) {
        // The folder of `asterism up` has the log in it.
        (Error::Log(asterism_event_log::Error::NothingSealed { .. }), inner)
            if LogFolder::open(&inner, None).is_ok() =>
        {
            Error::Below { folder: log.folder.clone(), inner }
        }
        (other, _) => other,
    })
}

/// As one JSON object, or in words.
fn show(
    json: bool,
    result: &impl Serialize,
    out: &mut dyn Write,
    print: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Error> {
    if !json {
        return Ok(print(out)?);
    }
    serde_json::to_writer(&mut *out, result).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// Progress on a terminal's standard error, gone when the work is done; silent elsewhere.
struct Progress {
    shown: bool,
    next: u64,
    /// Events of the log, if that is known.
    total: u64,
}

impl Progress {
    fn new(folder: &Path) -> Self {
        let shown = std::io::stderr().is_terminal();
        let log = LogFolder::open(folder, None).ok().filter(|_| shown);
        let total = log.and_then(|log| log.segments().last().map(|(_, end, _)| *end)).unwrap_or_default();
        Self { shown, next: PROGRESS_EVENTS, total }
    }

    fn tell(&mut self, events: u64) {
        if !self.shown || events < self.next {
            return;
        }
        self.next = events + PROGRESS_EVENTS;
        let percent = (events * 100).checked_div(self.total).unwrap_or_default();
        let bar = "#".repeat(percent as usize / 5);
        let _ = write!(std::io::stderr(), "\r[{bar:<20}] {percent:>3} %  {events} of {} events", self.total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.next > PROGRESS_EVENTS {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
