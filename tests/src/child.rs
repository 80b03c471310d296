//! Child programs that cannot outlive the test, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stack::program;

/// Longest wait for a child to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program below `asterism-agent guard`, which ends it when this process is gone.
pub struct Guarded {
    name: String,
    guard: Child,
    dir: PathBuf,
}

impl Guarded {
    /// Runs a program in `dir`, where its output goes to `NAME.out`.
    pub fn start(name: &str, bin: &Path, arguments: &[&str], dir: &Path) -> Self {
        Self::start_with(name, bin, arguments, &[], dir)
    }

    /// The same with variables.
    pub fn start_with(
        name: &str,
        bin: &Path,
        arguments: &[&str],
        env: &[(String, String)],
        dir: &Path,
    ) -> Self {
        let out =
            fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("{name}.out"))).unwrap();
        let pid_file = dir.join(format!("{name}.pid"));
        let _ = fs::remove_file(&pid_file); // of the one before, if there was one
        let guard = Command::new(program("asterism-agent"))
            .args(["guard", "--pid-file"])
            .arg(pid_file)
            .arg("--")
            .arg(bin)
            .args(arguments)
            .envs(env.iter().cloned())
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("asterism-agent: {error}; cargo build --bins"));
        Self { name: name.to_owned(), guard, dir: dir.to_owned() }
    }

    /// The program's own process id.
    pub fn pid(&self) -> i32 {
        let file = self.dir.join(format!("{}.pid", self.name));
        let read = || fs::read_to_string(&file).ok()?.trim().parse().ok();
        let began = Instant::now();
        loop {
            if let Some(pid) = read() {
                return pid;
            }
            assert!(began.elapsed() < PATIENCE, "{} has no pid\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10)); // the pause of a poll
        }
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(None))
    }

    /// Waits until it has ended; the guard's status is the program's.
    pub async fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE).await
    }

    /// The same for programs that may take their time.
    pub async fn ended_within(&mut self, at_most: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = self.guard.try_wait() {
                return status;
            }
            assert!(began.elapsed() < at_most, "{} does not end\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(10)).await; // the pause of a poll
        }
    }

    /// The end of what it said.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join(format!("{}.out", self.name))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// Ids of other processes whose command line holds each of the words.
pub fn pids(words: &[&str]) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if words.iter().all(|word| command.contains(word)) && pid != std::process::id() as i32 {
            found.push(pid);
        }
    }
    found
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The guard ends its child when its input ends; a killed guard would leave it.
        drop(self.guard.stdin.take());
        let began = Instant::now();
        while matches!(self.guard.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10)); // the pause of a poll
        }
        let _ = self.guard.kill(); // gone already, but for the worst case
        let _ = self.guard.wait();
    }
}
