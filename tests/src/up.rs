//! `asterism up` in a folder of its own, and the commands beside it, one program run each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use asterism_pbx_sim::recorder::read_rings;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::child::{Guarded, pids};
use crate::stack::program;

/// Longest wait for anything to become true.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Everybody answers after one to two seconds and presses 1.
const CALLEES: &str = "ring = { min_ms = 1000, max_ms = 2000 }\n[weights]\npress_1 = 1\npress_2 = 0\n\
    press_nothing = 0\nhang_up_early = 0\nbusy = 0\ndeclined = 0\nnot_found = 0\nunavailable = 0\ncongested = 0\n\
    no_answer = 0\nsilent = 0\n";

/// What a command did.
pub struct Ran {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// `asterism up` in a folder, and the commands beside it.
pub struct Up {
    /// `asterism up` itself.
    pub child: Guarded,
    dir: tempfile::TempDir,
}

impl Up {
    /// Starts it, with two nodes of four slots at most, and waits until it is up.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// [`Up::start`] with more on its command line.
    pub async fn start_with(more: &[&str]) -> Self {
        Self::start_of("", more).await
    }

    /// The same with more about the callees, behind all else of their table.
    pub async fn start_of(callees: &str, more: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("asterism-commands-").tempdir().unwrap();
        fs::write(dir.path().join("callees.toml"), format!("{CALLEES}{callees}")).unwrap();
        let folder = dir.path().join("fleet").display().to_string();
        let server =
            asterism_nats::server::find_binary().expect("nats-server: run tests/setup/nats-server.sh");
        let words =
            ["up", "--dir", &folder, "--max-nodes", "2", "--callees", "callees.toml", "--nats-server"];
        let sets = ["--set", "scaler.node_capacity=4", "--set", "ledger.checkpoint_every_ms=2000"];
        let server = server.display().to_string();
        let words = [words.as_slice(), &[server.as_str()], &sets, more].concat();
        let mut up = Self { child: Guarded::start("up", &program("asterism"), &words, dir.path()), dir };
        let began = Instant::now();
        while !up.said().contains("Asterism is up.") {
            assert!(up.child.runs() && began.elapsed() < PATIENCE, "it does not come up\n{}", up.said());
            tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
        }
        up
    }

    /// Ctrl-C: the fleet goes home, the log is sealed.
    pub async fn stop(&mut self) {
        self.child.signal(Signal::SIGINT);
        let status = self.child.ended_within(PATIENCE).await;
        assert!(status.success(), "{status}\n{}", self.said());
    }

    /// The folder it all happens in; the fleet's own is `fleet` in it.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What `up` itself has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.path().join("up.out")).unwrap_or_default()
    }

    /// Runs a command to its end; the configuration is the one `up` wrote.
    pub fn run(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(program("asterism"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ASTERISM_")) {
            command.env_remove(name);
        }
        let config = ["--config", "fleet/asterism.toml"];
        let output =
            command.args(config).args(words).current_dir(self.path()).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran {
            status: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        if !words.starts_with(&["--json", "campaign", "show"]) {
            eprintln!("$ asterism {}\n{}{}", words.join(" "), ran.out, ran.err);
        }
        ran
    }

    /// A command that succeeds without a warning; what it printed.
    pub fn done(&self, line: &str) -> String {
        let ran = self.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "asterism {line}\n{}", ran.out);
        ran.out
    }

    /// A command that succeeds and may talk on standard error; what it printed.
    pub fn done_talking(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.status, 0, "{words:?}\n{}{}", ran.out, ran.err);
        ran.out
    }

    /// [`Up::done`] with `--json`, read.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("--json {line}"))).unwrap()
    }

    /// Waits until `campaign show` says so; what it said.
    pub async fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        self.until_of("spring", what, condition).await
    }

    /// Waits until `campaign show` of a campaign says so; what it said.
    pub async fn until_of(&self, campaign: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let shown = self.json(&format!("campaign show {campaign}"));
            if condition(&shown) {
                return shown;
            }
            assert!(began.elapsed() < PATIENCE, "not in time: {what}\n{shown:#}\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(100)).await; // the pause of a poll
        }
    }

    /// Rings by number, as the carrier saw them; no attempt twice.
    pub fn rings(&self) -> BTreeMap<String, usize> {
        let mut rings = BTreeMap::new();
        let count = read_rings(&self.path().join("fleet/rings.csv"), |ring| {
            *rings.entry(ring.number.clone()).or_default() += 1;
        });
        assert_eq!(count.unwrap().double_rings, 0);
        rings
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the files stay in {}\n{}", self.path().display(), self.said());
        }
        // A failed story must not leave a fleet behind: what it started names its folder.
        for _ in 0..50 {
            let left = pids(&[&self.path().to_string_lossy()]);
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(20)); // the pause of a poll
        }
    }
}
