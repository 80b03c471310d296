//! Recordings as files: looked at when a step has ended, sent to the object store, removed when the log has that it has them.
//!
//! A file is hashed and synced with its folder before the log hears of it. It is sent (`send.rs`) with the address that
//! media-sync gives for what the log knows; media-sync reads it back before it says that it is stored. Whatever fails is
//! tried again, later each time, across restarts: only that word removes a file.

mod put;
mod seal;
mod send;
#[cfg(test)]
mod storm_tests;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use asterism_nats::{Bus, Subject, crash};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};

use crate::Error;
use crate::dialplan::is_channel_id;
use crate::files;
use crate::input::{Input, Inputs};
use crate::machine::Made;
use crate::media::Trust;

pub use seal::recipient;

/// Largest file that is sent: what the object store takes as one object.
pub const FILE_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Files looked at in the folder when the agent starts.
const FILES_MAX: usize = 100_000;
const EXTENSION: &str = ".wav";
const CHUNK_BYTES: usize = 64 * 1024;
const PROBLEM_MAX_CHARS: usize = 200;
/// Head of a WAV file as Asterisk writes it, and its bytes of a millisecond at 8,000 samples a second.
const WAV_HEAD_BYTES: u64 = 44;
const WAV_BYTES_PER_MS: u64 = 16;

/// The folder of recordings, and who sends them.
pub struct Recorder {
    folder: PathBuf,
    recipient: Option<age::x25519::Recipient>,
    bus: watch::Sender<Option<Bus>>,
    jobs: mpsc::UnboundedSender<send::Job>,
    problem: Arc<Mutex<Option<String>>>,
}

impl Recorder {
    /// Starts the task that sends, on the runtime that calls. Nothing is sent before there is a bus.
    pub fn start(
        (folder, recipient): (&Path, Option<age::x25519::Recipient>),
        node: &str,
        subject: Subject,
        inputs: Inputs,
    ) -> Self {
        let (bus, bus_view) = watch::channel(None);
        let (jobs, waiting) = mpsc::unbounded_channel();
        let problem: Arc<Mutex<Option<String>>> = Arc::default();
        let mut there = bus_view.clone();
        let sender = send::Sender {
            folder: folder.to_owned(),
            places: send::MediaSync { node: node.to_owned(), subject, bus: bus_view },
            trust: Trust::of_process(),
            inputs,
            problem: Arc::clone(&problem),
            pause_max: send::PAUSE_MAX,
        };
        tokio::spawn(async move {
            if there.wait_for(Option::is_some).await.is_ok() {
                send::run(Arc::new(sender), waiting).await;
            }
        });
        Self { folder: folder.to_owned(), recipient, bus, jobs, problem }
    }

    /// The bus is there.
    pub fn on_bus(&self, bus: Bus) {
        self.bus.send_replace(Some(bus));
    }

    /// Why the recording that was tried last is not in the store; none if it is.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a recording, sooner or later.
    pub fn send(&self, name: String, made: Made) {
        let _ = self.jobs.send(send::Job::new(name, made)); // the agent is stopping
    }

    /// Looks at a file; what it is comes back as an input.
    pub fn take(&self, name: String, inputs: Inputs) {
        let (folder, recipient, file) = (self.folder.clone(), self.recipient.clone(), name.clone());
        tokio::spawn(async move {
            let taken = tokio::task::spawn_blocking(move || take(&folder, &file, recipient.as_ref())).await;
            let taken = taken.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let taken = match taken {
                Ok(made) => Some(Ok(made)),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Some(Err("the PBX left no file: nothing was recorded, or its disk was full".to_owned()))
                }
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    Some(Err("the PBX left a file without a head: its disk was full, or it died".to_owned()))
                }
                Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                    Some(Err("its file is longer than an object of the store".to_owned()))
                }
                Err(error) => {
                    tracing::warn!(name, %error, "a recording cannot be read; it is looked at again");
                    None
                }
            };
            crash::point("recording.hashed");
            let _ = inputs.send(Input::RecordingTaken(name, taken)).await; // the agent is stopping
        });
    }

    /// Removes a file that is stored. One that stays is found at the next start, and goes the whole way again.
    pub fn remove(&self, name: &str) {
        crash::point("recording.dropped");
        if let Err(error) = seal::remove_all(&self.folder, name) {
            tracing::warn!(name, %error, "a recording that is stored cannot be removed");
        }
        crash::point("recording.removed");
    }
}

/// Names of the recordings in the folder.
pub fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file("read", folder))?.take(FILES_MAX) {
        let name = entry.map_err(Error::file("read", folder))?.file_name();
        let name = name.to_str().and_then(seal::name_of);
        names.extend(name.filter(|name| is_channel_id(name)).map(str::to_owned));
    }
    names.sort();
    names.dedup(); // sealed, and as it was before
    Ok(names)
}

fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{EXTENSION}"))
}

/// Seals a file where it is to be, makes it and its name durable, and says what it is. Blocks.
fn take(folder: &Path, name: &str, recipient: Option<&age::x25519::Recipient>) -> std::io::Result<Made> {
    // What was sealed in a life before does not say how long it is.
    let spoken_bytes = fs::metadata(path_of(folder, name)).map_or(0, |file| file.len());
    if spoken_bytes < WAV_HEAD_BYTES && !seal::is_sealed(folder, name) && path_of(folder, name).exists() {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut file = File::open(seal::seal(folder, name, recipient)?)?;
    file.sync_all()?;
    files::sync_dir(folder).map_err(std::io::Error::other)?;
    let (mut hasher, mut size_bytes) = (Sha256::new(), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        size_bytes += count as u64;
        if size_bytes > FILE_MAX_BYTES {
            return Err(ErrorKind::FileTooLarge.into());
        }
        hasher.update(&chunk[..count]);
    }
    let duration_ms = spoken_bytes.saturating_sub(WAV_HEAD_BYTES) / WAV_BYTES_PER_MS;
    let duration_ms = u32::try_from(duration_ms).unwrap_or(u32::MAX);
    Ok(Made { sha256: hasher.finalize().into(), size_bytes, duration_ms })
}

/// One phrase for a heartbeat.
fn phrase(why: &str) -> String {
    why.chars().filter(|c| !c.is_control()).take(PROBLEM_MAX_CHARS).collect()
}
