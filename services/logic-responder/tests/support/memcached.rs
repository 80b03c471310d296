//! Debian's memcached as a child process.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// A running memcached, killed on drop.
pub struct Memcached {
    child: Child,
    pub port: u16,
}

impl Memcached {
    /// Starts the one that `ASTERISM_MEMCACHED` names. Without it the test is written into the skip file, or fails if there
    /// is none.
    pub fn start(test: &str) -> Option<Self> {
        if std::env::var_os("ASTERISM_MEMCACHED").is_none() {
            let line = format!("SKIPPED {test}: no memcached: run tests/setup/memcached.sh");
            let file = std::env::var_os("ASTERISM_SKIP_FILE");
            let file = file.unwrap_or_else(|| {
                panic!("{line}; with ASTERISM_SKIP_FILE=FILE it is written down there instead")
            });
            eprintln!("{line}");
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
            writeln!(file, "{line}").unwrap();
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Self::start_on(port))
    }

    pub fn start_on(port: u16) -> Self {
        let child = Command::new(std::env::var_os("ASTERISM_MEMCACHED").unwrap())
            .args(["-l", "127.0.0.1", "-p", &port.to_string(), "-U", "0", "-u", "nobody", "-m", "16"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut memcached = Self { child, port };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(memcached.child.try_wait().unwrap().is_none(), "memcached ended at once");
            assert!(Instant::now() < deadline, "memcached does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        memcached
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many entries it holds.
    pub fn entries(&self) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"stats\r\n").unwrap();
        let lines = BufReader::new(stream).lines().map(Result::unwrap);
        let mut lines = lines.take_while(|line| line != "END");
        let entries = lines.find_map(|line| line.strip_prefix("STAT curr_items ")?.trim().parse().ok());
        entries.unwrap()
    }

    /// It stands still: connections open, nothing is said on them.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
