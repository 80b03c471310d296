//! The folder of one local instance: what was asked for, which process it became, whether it has ended.
//!
//! Each record is one small file, written to a temporary name, synced, renamed, and its folder synced. Nobody writes
//! one without holding the instance's lock; the kernel lets go of the lock when its holder dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind as Io, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::process::Process;
use crate::cloud::{CloudError, ErrorKind, code};

/// Longest record in bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;
/// How long to wait for another process that works on the same instance.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a fork of this program may hold the descriptors of another launch.
const FORK_WAIT: Duration = Duration::from_secs(1);
/// How often the lock is tried meanwhile.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Variable by which the processes of an instance are known.
pub(super) const INTENT_VARIABLE: &str = "ASTERISM_INTENT";

/// What was asked for; once this file exists the instance exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LaunchRecord {
    pub intent_id: String,
    pub request_sha256: String,
    pub launched_at_ms: u64,
}

impl LaunchRecord {
    /// What every process of the instance has in its environment.
    pub fn mark(&self) -> String {
        format!("{INTENT_VARIABLE}={}", self.intent_id)
    }
}

/// When the instance was seen or made to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndRecord {
    pub at_ms: u64,
}

/// The folder of one instance. Ours is the subfolder `cloud`; the rest belongs to the agent.
#[derive(Debug, Clone)]
pub(super) struct InstanceDir {
    pub id: String,
    pub dir: PathBuf,
}

/// The right to write the records of an instance, given back on drop.
pub(super) struct Locked(#[allow(dead_code)] File);

impl InstanceDir {
    pub fn new(instances: &Path, id: &str) -> Self {
        Self { id: id.to_owned(), dir: instances.join(id) }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join("cloud").join(file)
    }

    /// Makes the folders, durably.
    pub fn create(&self) -> Result<(), CloudError> {
        let control = self.dir.join("cloud");
        let make = || -> io::Result<()> {
            fs::create_dir_all(&control)?;
            for dir in [Some(self.dir.as_path()), self.dir.parent()].into_iter().flatten() {
                File::open(dir)?.sync_all()?;
            }
            Ok(())
        };
        make().map_err(|e| folder_error("making", &control, &e))
    }

    /// Waits for the lock, at most [`LOCK_WAIT`].
    pub fn lock(&self) -> Result<Locked, CloudError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            if let Some(locked) = self.try_lock()? {
                return Ok(locked);
            }
            if Instant::now() >= deadline {
                let why = "another process has been working on it for 10 s";
                return Err(CloudError::new(
                    ErrorKind::Transient,
                    code::BUSY,
                    format!("instance {}", self.id),
                    why,
                ));
            }
            thread::sleep(LOCK_POLL);
        }
    }

    /// The lock, unless another holds it.
    pub fn try_lock(&self) -> Result<Option<Locked>, CloudError> {
        Ok(try_lock_file(&self.path("lock"))?.map(Locked))
    }

    /// The file whose lock the instance's process inherits: held exactly as long as the process (or one it passed its
    /// standard input to) lives, even if nobody had time to write down which process that is.
    pub fn try_lock_alive(&self) -> Result<Option<File>, CloudError> {
        try_lock_file(&self.path("alive"))
    }

    /// [`InstanceDir::try_lock_alive`] for a process about to be started. Another launch of this program holds every open
    /// descriptor between its fork and its exec, so a lock that is held may be free a moment later.
    pub fn wait_lock_alive(&self) -> Result<Option<File>, CloudError> {
        let deadline = Instant::now() + FORK_WAIT;
        loop {
            let locked = self.try_lock_alive()?;
            if locked.is_some() || Instant::now() >= deadline {
                return Ok(locked);
            }
            thread::sleep(LOCK_POLL);
        }
    }

    /// The number the process wrote itself, before it became the agent. A line without its end is not written yet.
    pub fn pid(&self) -> Result<Option<i32>, CloudError> {
        let path = self.path("pid");
        match fs::read_to_string(&path) {
            Ok(text) if !text.ends_with('\n') => Ok(None),
            Ok(text) => {
                text.trim().parse().map(Some).map_err(|_| damaged(&path, "it is not a process number"))
            }
            Err(e) if e.kind() == Io::NotFound => Ok(None),
            Err(e) => Err(folder_error("reading", &path, &e)),
        }
    }

    pub fn launch(&self) -> Result<Option<LaunchRecord>, CloudError> {
        self.read("launch.json")
    }

    pub fn process(&self) -> Result<Option<Process>, CloudError> {
        self.read("process.json")
    }

    pub fn terminating(&self) -> Result<Option<EndRecord>, CloudError> {
        self.read("terminating.json")
    }

    pub fn terminated(&self) -> Result<Option<EndRecord>, CloudError> {
        self.read("terminated.json")
    }

    pub fn write_launch(&self, _: &Locked, record: &LaunchRecord) -> Result<(), CloudError> {
        self.write("launch.json", record)
    }

    pub fn write_process(&self, _: &Locked, record: &Process) -> Result<(), CloudError> {
        self.write("process.json", record)
    }

    pub fn write_terminating(&self, _: &Locked, record: &EndRecord) -> Result<(), CloudError> {
        self.write("terminating.json", record)
    }

    pub fn write_terminated(&self, _: &Locked, record: &EndRecord) -> Result<(), CloudError> {
        self.write("terminated.json", record)
    }

    fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, CloudError> {
        let path = self.path(file);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|f| f.take(MAX_RECORD_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => serde_json::from_slice(&bytes).map(Some).map_err(|e| damaged(&path, &e.to_string())),
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => Ok(None),
            Err(e) => Err(folder_error("reading", &path, &e)),
        }
    }

    fn write<T: Serialize>(&self, file: &str, record: &T) -> Result<(), CloudError> {
        let path = self.path(file);
        let bytes = serde_json::to_vec(record).map_err(|e| damaged(&path, &e.to_string()))?;
        write_whole(&path, &bytes)
    }
}

/// Writes a file so that it is there whole or not at all, and stays after a power cut.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CloudError> {
    let tmp = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&tmp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&tmp, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|e| folder_error("writing", path, &e))
}

fn try_lock_file(path: &Path) -> Result<Option<File>, CloudError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| folder_error("opening", path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(folder_error("locking", path, &e)),
    }
}

/// A full disk can be cleared while the scaler waits; a closed folder needs somebody to open it.
pub(super) fn folder_error(action: &str, path: &Path, e: &io::Error) -> CloudError {
    let kind = match e.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem | Io::NotADirectory => ErrorKind::Permanent,
        _ => ErrorKind::Transient,
    };
    CloudError::new(kind, code::FOLDER, format!("{action} {}", path.display()), e.to_string())
}

fn damaged(path: &Path, why: &str) -> CloudError {
    let why = format!("{why}; move the instance's folder away after making sure its process has ended");
    CloudError::new(ErrorKind::Permanent, code::DAMAGED, path.display().to_string(), why)
}
