//! One child that is kept running.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::{Error, files};

/// Shortest and longest pause before a child is started again.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A child that lived this long was well.
const WELL: Duration = Duration::from_secs(10);
/// How long a child may take to stop before it is killed; an agent may flush its spool for 5 s.
const STOP_MAX: Duration = Duration::from_secs(8);
/// A log longer than this begins anew when its child is started again.
const LOG_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What is run.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    bin: PathBuf,
    dir: PathBuf,
    words: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Program {
    /// `name` names its log and pid file.
    pub(super) fn new(name: &'static str, bin: PathBuf, dir: &Path) -> Self {
        Self { name, bin, dir: dir.to_owned(), words: Vec::new(), env: Vec::new() }
    }

    pub(super) fn word(mut self, word: impl Display) -> Self {
        self.words.push(word.to_string());
        self
    }

    pub(super) fn pair(self, flag: &str, value: impl Display) -> Self {
        self.word(flag).word(value)
    }

    pub(super) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    fn log(&self) -> Result<File, Error> {
        let path = self.dir.join("log").join(format!("{}.log", self.name));
        let long = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_MAX_BYTES);
        let mut options = OpenOptions::new();
        options.create(true).append(!long).write(true).truncate(long);
        options.open(&path).map_err(Error::file("write", &path))
    }

    fn start(&self) -> Result<Child, Error> {
        let log = self.log()?;
        let errors = log.try_clone().map_err(Error::file("write", &self.dir))?;
        let child = Command::new(&self.bin)
            .args(&self.words)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::Start { what: self.bin.display().to_string(), why: error.to_string() })?;
        let pid = child.id().unwrap_or_default().to_string();
        files::write_public(&self.dir.join(format!("{}.pid", self.name)), pid.as_bytes())?;
        Ok(child)
    }
}

/// Keeps a program running until told to stop; then it stops in order, or is killed. One that cannot be started is tried
/// again: a full disk has no room for its log or its process id, and gets room.
pub(super) async fn keep_running(program: Program, mut stop: watch::Receiver<bool>) {
    let mut pause = PAUSE_MIN;
    loop {
        let started = Instant::now();
        let pause_ms = pause.as_millis() as u64;
        match program.start() {
            Ok(mut child) => {
                // Held open here: waiting for a child closes the pipe it still has, and the child would end at once.
                let _pipe = child.stdin.take();
                tokio::select! {
                    status = child.wait() => {
                        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                        tracing::warn!(child = program.name, %status, pause_ms, "it died and is started again");
                    }
                    () = told(&mut stop) => return end(child, program.name).await,
                }
            }
            Err(error) => {
                tracing::error!(child = program.name, %error, pause_ms, "it cannot be started and is tried again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told(&mut stop) => return,
        }
        pause = if started.elapsed() > WELL { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
    }
}

/// Waits until it is time to stop, or nobody is left to say so.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn end(mut child: Child, name: &str) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM); // gone already is as good
    }
    if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
        tracing::warn!(child = name, "it did not stop and is killed");
        let _ = child.kill().await; // as above
    }
}
