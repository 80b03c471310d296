//! Real Asterisk 22 for tests, configured by the agent's own `render`, and the question whether it is here at all.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use asterism_agent::instance::Ports;
use asterism_agent::render::{AsteriskSettings, plain_trunk};

use crate::child::Guarded;

/// The secret of the manager interface.
pub const AMI_SECRET: &str = "0123456789abcdefAMI";
/// The secret of the dialplan's questions.
pub const STEP_SECRET: &str = "0123456789abcdefSTEP";

/// What tests with real calls need.
#[derive(Debug, Clone)]
pub struct RealParts {
    /// The root of an installation of Asterisk, with `run-asterisk` in it.
    pub root: PathBuf,
    /// SIPp.
    pub sipp: PathBuf,
}

impl RealParts {
    /// What the environment names; without it the test `name` is written down as skipped, and `None` returned.
    pub fn find(name: &str) -> Option<Self> {
        let parts = Self::from_env();
        if let Err(reason) = &parts {
            skip(name, reason);
        }
        parts.ok()
    }

    /// What the environment names.
    ///
    /// # Errors
    /// What is missing, and which command brings it.
    pub fn from_env() -> Result<Self, &'static str> {
        let path = |variable| std::env::var_os(variable).map(PathBuf::from);
        let root = path("ASTERISM_ASTERISK_ROOT").ok_or("no Asterisk 22: run tests/setup/asterisk.sh")?;
        let sipp = path("ASTERISM_SIPP").ok_or("no SIPp: run tests/setup/sipp.sh")?;
        if crate::sipp::keys_folder().is_none() {
            return Err("SIPp came without its recordings of keys (dtmf_2833_1.pcap)");
        }
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return Err("SIPp sends keys over a raw socket, which needs root");
        }
        Ok(Self { root, sipp })
    }
}

/// Writes a test down as skipped, in the file that `make test` counts (and fails by, in CI). Where nobody counts, a test
/// that did not run fails: a runner shows nothing of one that passes.
pub fn skip(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {reason}");
    let Some(path) = std::env::var_os("ASTERISM_SKIP_FILE") else {
        panic!("{line}; with ASTERISM_SKIP_FILE=FILE it is written down there instead")
    };
    eprintln!("{line}");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// A running Asterisk.
pub struct Asterisk {
    /// Its folder.
    pub dir: PathBuf,
    /// Its ports.
    pub ports: Ports,
    /// The process.
    pub process: Guarded,
    root: PathBuf,
    consoles: Vec<Child>,
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        for console in &mut self.consoles {
            let _ = console.kill(); // answered already is as good
            let _ = console.wait();
        }
    }
}

impl Asterisk {
    /// Renders its configuration into `dir` and starts it. `step_port` is where its dialplan asks, `carrier` the port
    /// of the trunk `trunk`.
    pub fn start(root: &Path, dir: &Path, step_port: u16, carrier: u16) -> Self {
        let ports = Ports::load_or_pick(&dir.join("ports.json"), 100).unwrap();
        let settings = AsteriskSettings {
            dir: dir.to_owned(),
            modules_dir: root.join("modules"),
            node: "n1".to_owned(),
            ami_port: ports.ami,
            ami_secret: AMI_SECRET.to_owned(),
            step_port,
            step_secret: STEP_SECRET.to_owned(),
            sip_address: Ipv4Addr::LOCALHOST,
            sip_port: ports.sip,
            external_address: None,
            rtp_start: ports.rtp_start,
            rtp_end: ports.rtp_end,
            trunk_ca_file: None,
            trunks: vec![plain_trunk("trunk", "127.0.0.1", carrier)],
        };
        settings.write().unwrap();
        std::os::unix::fs::symlink(root.join("data/documentation"), dir.join("data/documentation")).unwrap();
        let process = Self::run(root, dir);
        Self { dir: dir.to_owned(), ports, process, root: root.to_owned(), consoles: Vec::new() }
    }

    /// Starts it again with the same configuration, after it has ended.
    pub fn start_again(&mut self) {
        self.process = Self::run(&self.root, &self.dir);
    }

    /// Gives a command at its console. Does not wait: some are answered when Asterisk has ended.
    pub fn console(&mut self, command: &str) {
        let console = Command::new(self.root.join("run-asterisk"))
            .arg("-C")
            .arg(self.dir.join("etc/asterisk.conf"))
            .args(["-rx", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.consoles.push(console);
    }

    /// What it logged and printed.
    pub fn log(&self) -> String {
        let messages = fs::read_to_string(self.dir.join("log/messages")).unwrap_or_default();
        let lines: Vec<&str> = messages.lines().rev().take(40).collect();
        format!("{}\n{}", self.process.log(), lines.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    fn run(root: &Path, dir: &Path) -> Guarded {
        let config = dir.join("etc/asterisk.conf");
        let words = ["-f", "-C", config.to_str().unwrap()];
        Guarded::start("asterisk", &root.join("run-asterisk"), &words, dir)
    }
}
