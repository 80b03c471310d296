//! `asterism-agent guard`: runs a program that does not watch its standard input, and ends it when ours ends.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, files};

/// How often the child is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How long the child may take to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(3);

/// `asterism-agent guard`.
#[derive(Debug, Clone, clap::Args)]
pub struct GuardArgs {
    /// Where the child's process id is written.
    #[arg(long)]
    pub pid_file: PathBuf,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true)]
    pub program: Vec<String>,
}

/// Runs the program until it ends or standard input does, or SIGTERM comes. Returns its exit code.
pub fn run(args: &GuardArgs) -> Result<u8, Error> {
    let failed =
        |error: &dyn ToString| Error::Start { what: args.program[0].clone(), why: error.to_string() };
    end_left_over(args);
    let (told, stop) = mpsc::channel();
    watch_signals(told.clone())?;
    thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink()); // an error is an end too
            let _ = told.send(()); // nobody waits any more: the child ended by itself
        })
        .map_err(|error| failed(&error))?;
    let mut child = Command::new(&args.program[0])
        .args(&args.program[1..])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    files::write_public(&args.pid_file, child.id().to_string().as_bytes())?;
    loop {
        match stop.recv_timeout(POLL) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                end(&mut child);
                return Ok(0);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
    }
}

fn watch_signals(told: mpsc::Sender<()>) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Start { what: "signals".to_owned(), why: error.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(failed)?
    };
    thread::Builder::new()
        .stack_size(128 * 1024)
        .spawn(move || {
            runtime.block_on(terminate.recv());
            let _ = told.send(()); // as above
        })
        .map(drop)
        .map_err(failed)
}

fn end(child: &mut Child) {
    signal(child.id(), Signal::SIGTERM);
    let deadline = Instant::now() + STOP_MAX;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL);
    }
    let _ = child.kill(); // it ended just now
    let _ = child.wait();
}

/// A guard that was killed leaves its child: it holds the ports the new one needs.
fn end_left_over(args: &GuardArgs) {
    let Ok(text) = std::fs::read_to_string(&args.pid_file) else { return };
    let Ok(pid) = text.trim().parse::<u32>() else { return };
    let mut command = Vec::new();
    let read = std::fs::File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|file| file.take(8192).read_to_end(&mut command));
    let ours = args.program.last().is_some_and(|last| {
        read.is_ok() && command.split(|byte| *byte == 0).any(|word| word == last.as_bytes())
    });
    if ours {
        signal(pid, Signal::SIGKILL);
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal); // gone already is as good
    }
}
