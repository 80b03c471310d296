//! `asterism campaign export`: contacts or attempts, one row each, from the log.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use asterism_replay::cdr::Keys;
use asterism_replay::fold::Pass;
use asterism_replay::people::{self, Shown};
use asterism_replay::table::Format;

use crate::args::campaign::{CsvMode, ExportArgs, ExportFormat};
use crate::commands::{Context, sealed};
use crate::error::CliError;
use crate::ops::blocking;

pub(super) async fn run(context: &Context, args: ExportArgs) -> Result<(), CliError> {
    let format = match (args.format, args.csv) {
        (ExportFormat::Csv, CsvMode::Strict) => Format::Strict,
        (ExportFormat::Csv, CsvMode::Spreadsheet) => Format::Spreadsheet,
        (ExportFormat::Jsonl, _) => Format::Jsonl,
        (ExportFormat::Parquet, _) => Format::Parquet,
    };
    if format == Format::Parquet && args.out.is_none() && std::io::stdout().is_terminal() {
        return Err(CliError::from_text(asterism_replay::Error::Terminal));
    }
    let keys = keys(context, &args)?;
    let folder = sealed::folder(context, args.log.as_ref()).await?;
    let out = args.out.clone();
    let written = blocking(move || write(&args, &folder, keys, format)).await??;
    if let Some(path) = out {
        context.out.say(&format!("{written} rows are in {}", path.display()));
    }
    Ok(())
}

/// The keys, which a masked number needs too. Without any, numbers are empty; that is an error only where they were asked for.
fn keys(context: &Context, args: &ExportArgs) -> Result<Option<Keys>, CliError> {
    let found = sealed::keys(context, args.keys.as_ref())
        .and_then(|folder| Keys::open(&folder).map_err(CliError::from_text));
    match found {
        Ok(keys) => Ok(Some(keys)),
        Err(_) if !args.reveal && args.keys.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(args: &ExportArgs, folder: &Path, keys: Option<Keys>, format: Format) -> Result<u64, CliError> {
    let mut shown = Shown { keys, reveal: args.reveal };
    let mut pass = Pass { folder, anchor: None, progress: &mut |_| {} };
    let mut rows = |out: &mut dyn Write| {
        let done = if args.attempts {
            people::attempts(&mut pass, &args.campaign, &mut shown, format, out)
        } else {
            people::contacts(&mut pass, &args.campaign, &mut shown, format, out)
        };
        done.and_then(|written| Ok(out.flush().map(|()| written)?))
    };
    let done = match &args.out {
        None => rows(&mut BufWriter::new(std::io::stdout().lock())),
        Some(path) => return to_file(path, rows),
    };
    match done {
        // Whoever closed the pipe has what it wanted.
        Err(asterism_replay::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
        done => done.map_err(CliError::from_text),
    }
}

/// Whole or not at all: it gets its name when it is all there.
fn to_file(
    path: &Path,
    rows: impl FnOnce(&mut dyn Write) -> Result<u64, asterism_replay::Error>,
) -> Result<u64, CliError> {
    let failed = |error: std::io::Error| {
        CliError::new("AST-U005", format!("{} cannot be written", path.display()), error.to_string())
    };
    let part = PathBuf::from(format!("{}.part", path.display()));
    let done = File::create(&part).map_err(failed).and_then(|file| {
        let mut out = BufWriter::new(file);
        let written = rows(&mut out).map_err(CliError::from_text)?;
        out.get_ref().sync_all().and_then(|()| std::fs::rename(&part, path)).map_err(failed)?;
        Ok(written)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}
