//! The PBX of a script: the simulator with its recorder, or Asterisk with SIPp. What a script may do to it is the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asterism_agent::render::endpoint;
use asterism_pbx_sim::recorder::{Recorder, RecorderConfig, read_rings};
use nix::sys::signal::Signal;

use super::ami::Ami;
use super::steps::Steps;
use super::story::ended;
use super::tape::Tape;
use crate::asterisk::{AMI_SECRET, Asterisk, RealParts, STEP_SECRET};
use crate::child::Guarded;
use crate::sipp::{Carrier, Habits};
use crate::stack::{program, root};

/// When the callees of the scripts act: inside the question of the flow, whose prompts are short here.
const HABITS: Habits = Habits { press_ms: 1_500, leave_ms: 1_500 };

/// Which PBX.
#[derive(Debug, Clone)]
pub enum Which {
    /// The simulator.
    Sim,
    /// Asterisk and SIPp.
    Asterisk(RealParts),
}

impl Which {
    /// Whether it is Asterisk.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Asterisk(_))
    }
}

enum Far {
    Sim { process: Guarded, _recorder: Recorder },
    Asterisk { asterisk: Box<Asterisk>, carrier: Carrier },
}

/// A running PBX, its carrier and its step server.
pub struct Pbx {
    /// What is heard of it.
    pub tape: Arc<Tape>,
    /// Its step server, until a script takes it away.
    pub steps: Option<Steps>,
    far: Far,
    dir: tempfile::TempDir,
}

impl Pbx {
    /// Starts all of it.
    pub async fn start(which: &Which) -> Self {
        let dir = tempfile::Builder::new().prefix("asterism-script-").tempdir().unwrap();
        let tape = Arc::new(Tape::default());
        let steps = Steps::start(Arc::clone(&tape), &root().join("compose/demo/flow.toml")).await;
        prompts(&dir.path().join("data/sounds/en/asterism"));
        let far = match which {
            Which::Sim => {
                fs::write(dir.path().join("ami-secret"), AMI_SECRET).unwrap();
                fs::write(dir.path().join("step-secret"), STEP_SECRET).unwrap();
                let config =
                    RecorderConfig { listen: ([127, 0, 0, 1], 0).into(), out: dir.path().join("rings.csv") };
                let recorder = Recorder::start(&config).await.unwrap();
                fs::write(dir.path().join("carrier.addr"), recorder.addr().to_string()).unwrap();
                Far::Sim { process: simulator(dir.path(), steps.port), _recorder: recorder }
            }
            Which::Asterisk(parts) => {
                let carrier = Carrier::start(&parts.sipp, HABITS);
                let asterisk = Box::new(Asterisk::start(&parts.root, dir.path(), steps.port, carrier.port));
                Far::Asterisk { asterisk, carrier }
            }
        };
        Self { tape, steps: Some(steps), far, dir }
    }

    /// A logged-in connection.
    pub async fn ami(&self) -> Ami {
        Ami::login(self.ami_port().await, AMI_SECRET, Arc::clone(&self.tape)).await
    }

    /// The port of its manager interface.
    pub async fn ami_port(&self) -> u16 {
        let Far::Asterisk { asterisk, .. } = &self.far else {
            let file = self.dir.path().join("ami.port");
            return eventually("pbx-sim says its port", || {
                fs::read_to_string(&file).ok()?.trim().parse().ok()
            })
            .await;
        };
        asterisk.ports.ami
    }

    /// How often the carrier was asked to ring this number.
    pub fn rings(&self, number: &str) -> usize {
        match &self.far {
            Far::Asterisk { carrier, .. } => carrier.rings().get(number).copied().unwrap_or(0),
            Far::Sim { .. } => {
                let mut rings = 0;
                let file = self.dir.path().join("rings.csv");
                read_rings(&file, |ring| rings += usize::from(ring.number == number)).unwrap();
                rings
            }
        }
    }

    /// Signals the PBX's process.
    pub fn signal(&self, signal: Signal) {
        match &self.far {
            Far::Sim { process, .. } => process.signal(signal),
            Far::Asterisk { asterisk, .. } => asterisk.process.signal(signal),
        }
    }

    /// Lets calls go on, takes no new ones, ends with the last.
    pub fn stop_gracefully(&mut self) {
        match &mut self.far {
            Far::Sim { process, .. } => process.signal(Signal::SIGUSR1),
            Far::Asterisk { asterisk, .. } => asterisk.console("core stop gracefully"),
        }
    }

    /// Waits until the PBX's process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        match &mut self.far {
            Far::Sim { process, .. } => process.ended().await,
            Far::Asterisk { asterisk, .. } => asterisk.process.ended().await,
        }
    }

    /// Starts the PBX anew with room for the media of this many calls. The simulator's callee 0188 finds none in any case.
    pub async fn room_for(&mut self, calls: u16) {
        let Far::Asterisk { asterisk, .. } = &mut self.far else { return };
        asterisk.process.signal(Signal::SIGTERM);
        asterisk.process.ended().await;
        let first = asterisk.ports.rtp_start;
        let text = format!("[general]\nrtpstart = {first}\nrtpend = {}\n", first + 2 * calls - 1);
        fs::write(self.dir.path().join("etc/rtp.conf"), text).unwrap();
        asterisk.start_again();
    }

    /// Starts the PBX again after it has ended.
    pub fn start_again(&mut self) {
        let step_port = self.steps.as_ref().map_or(9, |steps| steps.port);
        match &mut self.far {
            Far::Sim { process, .. } => *process = simulator(self.dir.path(), step_port),
            Far::Asterisk { asterisk, .. } => asterisk.start_again(),
        }
    }

    /// What the dialplan left in the journal for a call, as text.
    pub async fn journal(&self, id: &str) -> String {
        let folder = if matches!(self.far, Far::Sim { .. }) { "journal" } else { "spool/journal" };
        let file = self.dir.path().join(folder).join(id);
        let report = eventually("a journal entry", || {
            let text = fs::read(&file).ok()?;
            asterism_agent::dialplan::EndReport::parse(&text).ok()
        })
        .await;
        ended(&report)
    }

    /// What the PBX printed, for a failure's text.
    pub fn log(&self) -> String {
        match &self.far {
            Far::Sim { process, .. } => process.log(),
            Far::Asterisk { asterisk, carrier } => format!("{}\n{}", asterisk.log(), carrier.complaints()),
        }
    }
}

async fn eventually<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await; // the pause of a poll
    }
}

fn simulator(dir: &Path, step_port: u16) -> Guarded {
    let _ = fs::remove_file(dir.join("ami.port")); // of the one before, if there was one
    let callees: PathBuf = root().join("asterisk-agent/pbx-sim/callees-script.toml");
    let carrier = fs::read_to_string(dir.join("carrier.addr")).unwrap();
    let trunk = endpoint(AMI_SECRET, "trunk");
    let words = format!(
        "--ami-listen 127.0.0.1:0 --ami-user agent --ami-secret-file ami-secret --step-url http://127.0.0.1:{step_port} \
         --step-secret-file step-secret --carrier {carrier} --node n1 --trunk {trunk} --journal-dir journal --sounds-dir data/sounds \
         --port-file ami.port --callees"
    );
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.push(callees.to_str().unwrap());
    Guarded::start("pbx-sim", &program("pbx-sim"), &words, dir)
}

/// Short tones under the names of the demo's prompts.
fn prompts(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (name, code) in [("welcome", 0x90), ("press-1-or-2", 0x98), ("thanks", 0xa0), ("bye", 0xa8)] {
        // A square tone of 400 Hz: ten samples up, ten down.
        let tone: Vec<u8> =
            (0..5_600).map(|sample| if sample / 10 % 2 == 0 { code } else { code & 0x7f }).collect();
        fs::write(folder.join(name).with_extension("ulaw"), tone).unwrap();
    }
}
