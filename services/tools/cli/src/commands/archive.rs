//! `asterism archive`: what of the log is in the object store, fetching it as a folder for `replay`, checking it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use asterism_event_log::sealed::{self, Reader};
use asterism_proto::hash::{Hash, sha256};
use asterism_runtime::archive::{Archive, ArchiveError, Hole, Segment, holes};
use asterism_runtime::keys::Keyring;
use serde::Serialize;

use super::{Context, shown};
use crate::args::{ArchiveCommand, ArchiveSource};
use crate::error::CliError;
use crate::output::{Align, pairs, table};

/// Names the archive a folder was fetched from, so that a fetch that broke off can go on.
const MARKER: &str = "ARCHIVE";

/// What is in the archive.
#[derive(Debug, Serialize)]
struct Listing {
    /// The log's name in the archive.
    log: String,
    segments: Vec<Segment>,
    /// Events no segment holds.
    holes: Vec<Hole>,
    /// Sizes at which a checkpoint is signed.
    checkpoints: Vec<u64>,
}

/// What was fetched.
#[derive(Debug, Serialize)]
struct Fetched {
    log: String,
    folder: PathBuf,
    segments: usize,
    /// Those that were there from a fetch before.
    kept: usize,
    events: u64,
    size_bytes: u64,
    /// The root its last checkpoint signs, hex.
    root: String,
}

pub(super) async fn run(context: &Context, command: &ArchiveCommand) -> Result<(), CliError> {
    match command {
        ArchiveCommand::List { source } => {
            let archive = open(context, source).await?;
            let segments = archive.segments().await?;
            let checkpoints = archive.note_sizes().await?.into_iter().collect();
            let listing =
                Listing { log: archive.tag().to_owned(), holes: holes(&segments), segments, checkpoints };
            context.out.result(&listing, || describe(&listing))
        }
        ArchiveCommand::Fetch { folder, source } => {
            let archive = open(context, source).await?;
            let fetched = fetch(&archive, folder).await?;
            context.out.result(&fetched, || {
                let about = pairs(&[
                    ("segments", format!("{}, {} of them there before", fetched.segments, fetched.kept)),
                    ("events", fetched.events.to_string()),
                    ("bytes", fetched.size_bytes.to_string()),
                    ("root", format!("{}, signed by the log key", fetched.root)),
                ]);
                format!("{about}Next: asterism replay verify {}\n", shown(folder))
            })
        }
        ArchiveCommand::Verify { source } => {
            let archive = open(context, source).await?;
            let scratch = Scratch::make()?;
            let checked = check(&archive, &scratch.0).await?;
            context.out.result(&checked, || {
                let Fetched { segments, events, root, .. } = &checked;
                format!(
                    "ok: {segments} segments, {events} events, no hole; sizes, hashes, footers and signed checkpoints \
                     agree, root {root}\nnote: the events themselves are judged by `asterism archive fetch DIR` and \
                     `asterism replay verify DIR`\n"
                )
            })
        }
    }
}

async fn open(context: &Context, source: &ArchiveSource) -> Result<Archive, CliError> {
    let config = context.config()?;
    let Some(url) = source.from.clone().or_else(|| config.ledger.archive.clone()) else {
        let why = "ledger.archive is not set, and --from names none";
        return Err(CliError::new("AST-U100", "there is no archive", why).next("asterism config print"));
    };
    let keyring = Keyring::open(&config.keys_dir(), &config.fleet)?;
    // A look at an archive must not make one.
    if let Some(folder) = url.strip_prefix("file://")
        && !folder.contains('%')
        && !Path::new(folder).is_dir()
    {
        let why = format!("{folder} is no folder");
        return Err(CliError::new("AST-U100", "there is no archive", why).next("asterism config print"));
    }
    Ok(Archive::open(&url, &config.fleet, keyring.anchor(), keyring.log_key()?).await?)
}

/// Every segment in order, or why the log cannot be put together.
async fn whole(archive: &Archive) -> Result<Vec<Segment>, CliError> {
    let segments = archive.segments().await?; // says why there is none
    let mut at = 0;
    for segment in &segments {
        if segment.first != at {
            return Err(ArchiveError::Missing { at, next: segment.first }.into());
        }
        at = segment.end;
    }
    Ok(segments)
}

async fn fetch(archive: &Archive, folder: &Path) -> Result<Fetched, CliError> {
    let segments = whole(archive).await?;
    prepare(archive, folder, &segments)?;
    let mut progress = Progress::new(&segments);
    let mut kept = 0;
    let mut chain = Chain::default();
    for segment in &segments {
        let path = folder.join(sealed::file_name(segment.first, segment.end));
        if is_there(segment, &path) {
            archive.check_file(segment, &path)?;
            kept += 1;
        } else {
            archive.fetch(segment, folder).await?;
        }
        chain.follow(segment, &path)?;
        let note = archive.check_note(segment).await?;
        write(&folder.join("ck").join(format!("{:020}", segment.end)), &note)?;
        progress.tell(segment);
    }
    // Those between are checkpoints that nodes have cosigned.
    let ends: BTreeSet<u64> = segments.iter().map(|segment| segment.end).collect();
    let last = ends.last().copied().unwrap_or(0);
    for size in archive.note_sizes().await?.range(..=last).filter(|size| !ends.contains(size)) {
        if let Some((_, note)) = archive.note_at(*size).await? {
            write(&folder.join("ck").join(format!("{size:020}")), &note)?;
        }
    }
    Ok(summary(archive, folder, &segments, kept))
}

async fn check(archive: &Archive, scratch: &Path) -> Result<Fetched, CliError> {
    let segments = whole(archive).await?;
    let mut progress = Progress::new(&segments);
    let mut chain = Chain::default();
    for segment in &segments {
        let path = archive.fetch(segment, scratch).await?;
        chain.follow(segment, &path)?;
        archive.check_note(segment).await?;
        std::fs::remove_file(&path).map_err(|error| broken(&path, &error))?;
        progress.tell(segment);
    }
    Ok(summary(archive, scratch, &segments, 0))
}

fn summary(archive: &Archive, folder: &Path, segments: &[Segment], kept: usize) -> Fetched {
    Fetched {
        log: archive.tag().to_owned(),
        folder: folder.to_owned(),
        segments: segments.len(),
        kept,
        events: segments.last().map_or(0, |last| last.end),
        size_bytes: segments.iter().map(|segment| segment.size_bytes).sum(),
        root: segments.last().map_or_else(String::new, |last| last.root.clone()),
    }
}

/// Whether each segment begins with the root the one before ended with.
#[derive(Default)]
struct Chain(Option<Hash>);

impl Chain {
    fn follow(&mut self, segment: &Segment, path: &Path) -> Result<(), CliError> {
        let reader = Reader::open(path).map_err(CliError::from_text)?;
        let footer = reader.footer();
        if self.0.is_some_and(|root| root != footer.root_before) {
            let what = "it continues another log than the segment before it".to_owned();
            return Err(ArchiveError::Damaged { object: segment.object.clone(), what }.into());
        }
        self.0 = Some(footer.root);
        Ok(())
    }
}

/// An empty folder, or one that a fetch of this very archive began.
fn prepare(archive: &Archive, folder: &Path, segments: &[Segment]) -> Result<(), CliError> {
    std::fs::create_dir_all(folder.join("ck")).map_err(|error| broken(folder, &error))?;
    let marker = folder.join(MARKER);
    let foreign = |what: String| {
        let why = format!("{what}; a log is fetched into a folder of its own");
        Err(CliError::new("AST-U101", format!("{} is not taken", shown(folder)), why)
            .next("asterism archive fetch NEW-FOLDER"))
    };
    let is_ours = match std::fs::read_to_string(&marker) {
        Ok(tag) if tag.trim() == archive.tag() => true,
        Ok(tag) => return foreign(format!("it holds what was fetched of log {}", tag.trim())),
        Err(_) => false,
    };
    for entry in std::fs::read_dir(folder).map_err(|error| broken(folder, &error))? {
        let name = entry.map_err(|error| broken(folder, &error))?.file_name();
        let name = name.to_string_lossy();
        let known = |segment: &Segment| sealed::file_name(segment.first, segment.end) == *name;
        let fetched = sealed::parse_file_name(&name).is_some();
        let expected =
            name == "ck" || name == MARKER || name.ends_with(".part") || segments.iter().any(known);
        if fetched && !expected {
            return foreign(format!("it holds {name}, which the archive does not have"));
        }
        if !is_ours && name != "ck" {
            return foreign("it is not empty".to_owned());
        }
    }
    write(&marker, format!("{}\n", archive.tag()).as_bytes())
}

/// Whether the file is there as it was stored: a fetch that broke off goes on behind it.
fn is_there(segment: &Segment, path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.len() == segment.size_bytes)
        && std::fs::read(path).is_ok_and(|bytes| hex::encode(sha256(&bytes)) == segment.sha256)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    std::fs::write(path, bytes).map_err(|error| broken(path, &error))
}

fn broken(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new("AST-U102", format!("{} cannot be used", shown(path)), error.to_string())
}

fn describe(listing: &Listing) -> String {
    let columns = [
        ("first", Align::Right),
        ("events", Align::Right),
        ("bytes", Align::Right),
        ("signed", Align::Left),
        ("object", Align::Left),
    ];
    let rows: Vec<Vec<String>> = listing
        .segments
        .iter()
        .map(|segment| {
            let signed = if listing.checkpoints.binary_search(&segment.end).is_ok() { "yes" } else { "NO" };
            let numbers = [segment.first, segment.end - segment.first, segment.size_bytes];
            let mut row: Vec<String> = numbers.iter().map(u64::to_string).collect();
            row.extend([signed.to_owned(), segment.object.clone()]);
            row
        })
        .collect();
    let mut text = format!("log {}\n{}", listing.log, table(&columns, &rows));
    for hole in &listing.holes {
        let _ = writeln!(text, "MISSING: events {} to {}", hole.first, hole.end - 1);
    }
    let (events, bytes) = (
        listing.segments.last().map_or(0, |last| last.end),
        listing.segments.iter().map(|segment| segment.size_bytes).sum::<u64>(),
    );
    let _ = writeln!(text, "{} segments up to event {events}, {bytes} bytes", listing.segments.len());
    text
}

/// Progress on a terminal's standard error, gone when the work is done; silent elsewhere.
struct Progress {
    shown: bool,
    done: u64,
    all: u64,
}

impl Progress {
    fn new(segments: &[Segment]) -> Self {
        let all = segments.iter().map(|segment| segment.size_bytes).sum();
        Self { shown: std::io::stderr().is_terminal(), done: 0, all }
    }

    fn tell(&mut self, segment: &Segment) {
        self.done += segment.size_bytes;
        if self.shown {
            let percent = self.done.saturating_mul(100).checked_div(self.all).unwrap_or(100);
            let _ = write!(std::io::stderr(), "\r{} events, {percent} %", segment.end);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// A folder of this process for one segment at a time.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("asterism-archive-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| broken(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // the system clears its temporary folder too
    }
}
