//! The folder of the child: lock, passwords, configuration, log, and what a killed parent left running.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Error;
use crate::secret::Secret;

pub(super) const CONFIG: &str = "nats-server.conf";
pub(super) const LOG: &str = "nats-server.log";
pub(super) const PID: &str = "nats-server.pid";
pub(super) const STORE: &str = "store";
const LOCK: &str = "lock";
/// How much of the log's end is read for a message.
const LOG_TAIL_BYTES: u64 = 4096;
/// How long a left-over server may take to go.
const LEFT_OVER_TIMEOUT: Duration = Duration::from_secs(10);

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

/// Makes the folder, for its owner only, and locks it.
pub(super) fn prepare(dir: &Path) -> Result<File, Error> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|source| failed(dir, source))?;
    let path = dir.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| failed(&path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::DirInUse { dir: dir.to_owned() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(&path, source)),
    }
}

/// Ends a server that a killed parent left on this folder: its pid file names it and its command line our folder.
pub(super) async fn end_left_over(dir: &Path) -> Result<(), Error> {
    let path = dir.join(PID);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let Ok(pid) = text.trim().parse::<i32>() else { return Ok(()) };
    if pid > 1 && is_ours(pid, dir) {
        tracing::warn!(pid, "a nats-server was left running on this folder: it is ended first");
        let deadline = Instant::now() + LEFT_OVER_TIMEOUT;
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        while is_ours(pid, dir) {
            if Instant::now() >= deadline {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            if Instant::now() >= deadline + LEFT_OVER_TIMEOUT {
                return Err(Error::DirInUse { dir: dir.to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let _ = std::fs::remove_file(&path);
    Ok(())
}

/// Whether the process runs with our configuration file. A zombie has an empty command line and counts as gone.
fn is_ours(pid: i32, dir: &Path) -> bool {
    let config = dir.join(CONFIG);
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
        line.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes())
    })
}

/// Asks a process to end.
pub(super) fn terminate(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

pub(super) fn password_file(dir: &Path, user: &str) -> PathBuf {
    dir.join(format!("password-{user}"))
}

/// The user's password from its file; drawn and written when there is none.
pub(super) fn password(dir: &Path, user: &str) -> Result<Secret, Error> {
    let path = password_file(dir, user);
    if path.exists() {
        return Secret::from_file(&path).map_err(|source| failed(&path, source));
    }
    let mut random = [0u8; 24];
    getrandom::fill(&mut random).map_err(|error| failed(&path, std::io::Error::other(error.to_string())))?;
    let text = hex::encode(random);
    write_private(&path, &text)?;
    Ok(Secret::new(text))
}

/// Writes a file only its owner can read, replacing it whole.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(|source| failed(&temporary, source))?;
    file.write_all(text.as_bytes()).map_err(|source| failed(&temporary, source))?;
    std::fs::rename(&temporary, path).map_err(|source| failed(path, source))
}

/// A new log file; the previous run's is kept beside it.
pub(super) fn create_log(path: &Path) -> Result<File, Error> {
    let _ = std::fs::rename(path, path.with_extension("log.1"));
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|source| failed(path, source))
}

/// The last line of the log, for a message.
pub(super) fn last_line(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("no log")
            .chars()
            .take(300)
            .collect())
    };
    read().unwrap_or_else(|_| "no log".to_owned())
}
