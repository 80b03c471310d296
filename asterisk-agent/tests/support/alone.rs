//! A real Asterisk with the dialplan and nobody behind it: the test is its agent, and may answer whatever it likes.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use asterism_agent::ami::{Action, Originate};
use asterism_agent::render::{AsteriskSettings, endpoint, plain_trunk};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PATIENCE, Process, wait};

const AMI_SECRET: &str = "a1b2c3d4e5f6a7b8c9d0";

/// What the test answers to a question; the form as it came.
pub type Answers = fn(&str) -> Vec<u8>;

/// Forms in the order they came, with the path each came to.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

pub struct Alone {
    pub dir: tempfile::TempDir,
    heard: Heard,
    ami: TcpStream,
    /// Where it listens for SIP.
    pub sip_port: u16,
    _asterisk: Process,
    _server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    answers: Answers,
    heard: Heard,
}

impl Alone {
    /// Starts it with a carrier at this port and waits until it takes calls.
    pub async fn start(root: &Path, carrier: u16, answers: Answers) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let heard = Heard::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let step_port = listener.local_addr().unwrap().port();
        let (ami_port, sip_port) = (free_tcp(), free_udp());
        AsteriskSettings {
            dir: dir.path().join("pbx"),
            modules_dir: root.join("modules"),
            node: "i-0alone".into(),
            ami_port,
            ami_secret: AMI_SECRET.into(),
            step_port,
            step_secret: "f0e1d2c3b4a5968778695a4b".into(),
            sip_address: Ipv4Addr::LOCALHOST,
            sip_port,
            external_address: None,
            rtp_start: 20_000 + (std::process::id() as u16 % 90) * 100,
            rtp_end: 20_099 + (std::process::id() as u16 % 90) * 100,
            trunk_ca_file: None,
            trunks: vec![plain_trunk("trunk-a", "127.0.0.1", carrier)],
        }
        .write()
        .unwrap();
        let documentation = root.join("data/documentation");
        std::os::unix::fs::symlink(documentation, dir.path().join("pbx/data/documentation")).unwrap();
        let shared = Shared { answers, heard: Arc::clone(&heard) };
        let router = Router::new().route("/s", post(step)).route("/h_end", post(end)).with_state(shared);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let asterisk = Command::new(root.join("run-asterisk"))
            .args(["-f", "-C"])
            .arg(dir.path().join("pbx/etc/asterisk.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let asterisk = Process(asterisk);
        let ami = connected(ami_port).await;
        Self { dir, heard, ami, sip_port, _asterisk: asterisk, _server: server }
    }

    /// Calls a number; the answered call asks as `id`.
    pub async fn call(&mut self, id: &str, number: &str) {
        let channel = format!("PJSIP/{number}@{}", endpoint(AMI_SECRET, "trunk-a"));
        let originate = Originate {
            channel: &channel,
            context: "asterism",
            exten: "s",
            timeout_ms: 20_000,
            channel_id: id,
            caller_id: Some("+15550100000"),
            variables: &[("FLOW", "alone")],
        };
        let action = Action::originate(id, &originate).unwrap();
        self.ami.write_all(&action.encode()).await.unwrap();
    }

    /// The questions of a call.
    pub fn asked(&self, id: &str) -> Vec<String> {
        self.of("/s", id)
    }

    /// The reports of its end.
    pub fn ended(&self, id: &str) -> Vec<String> {
        self.of("/h_end", id)
    }

    fn of(&self, path: &str, id: &str) -> Vec<String> {
        let of = format!("c={id}&");
        let heard = self.heard.lock().unwrap();
        let those = heard.iter().filter(|(to, form)| to == path && form.starts_with(&of));
        those.map(|(_, form)| form.clone()).collect()
    }

    /// Waits until each of these has reported its end.
    pub async fn until_ended(&self, ids: &[&str]) {
        let up = || ids.iter().filter(|id| self.ended(id).is_empty()).copied().collect::<Vec<_>>();
        let deadline = Instant::now() + PATIENCE;
        while !up().is_empty() {
            assert!(Instant::now() < deadline, "not ended: {:?}\n{}", up(), self.log());
            tokio::time::sleep(Duration::from_millis(10)).await; // the pause of a poll
        }
    }

    /// Its own log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("pbx/log/messages")).unwrap_or_default()
    }

    /// Files below its folder whose name has this in it.
    pub fn files_named(&self, part: &str) -> Vec<PathBuf> {
        let mut open = vec![self.dir.path().to_owned(), PathBuf::from("/tmp")];
        let mut found = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let (path, inside) = (entry.path(), entry.path().starts_with(self.dir.path()));
                if entry.file_name().to_string_lossy().contains(part) {
                    found.push(path);
                } else if inside && path.is_dir() && !path.is_symlink() {
                    open.push(path);
                }
            }
        }
        found
    }
}

async fn step(State(shared): State<Shared>, body: Bytes) -> Vec<u8> {
    let form = String::from_utf8_lossy(&body).into_owned();
    shared.heard.lock().unwrap().push(("/s".into(), form.clone()));
    (shared.answers)(&form)
}

async fn end(State(shared): State<Shared>, body: Bytes) -> &'static str {
    let form = String::from_utf8_lossy(&body).into_owned();
    shared.heard.lock().unwrap().push(("/h_end".into(), form));
    "ok"
}

/// Logs in and waits until the PBX has booted.
async fn connected(port: u16) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    let mut ami = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
    };
    ami.write_all(&Action::login("login", "agent", AMI_SECRET).unwrap().encode()).await.unwrap();
    let (mut said, mut bytes) = (String::new(), [0; 4096]);
    while !said.contains("FullyBooted") {
        let count = tokio::time::timeout(PATIENCE, ami.read(&mut bytes)).await.unwrap().unwrap();
        assert!(count > 0, "ami was closed: {said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    ami
}

pub fn free_udp() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn free_tcp() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `SIPp` with a scenario of the tests' folder, for as long as it is held. It listens: who calls before is turned away by the
/// kernel, and such a call asks nothing.
pub async fn sipp(program: &Path, dir: &Path, scenario: &str, port: u16, more: &[&str]) -> Process {
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(scenario);
    let mut command = Command::new(program);
    command.arg("-sf").arg(scenario).args(["-i", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["-mi", "127.0.0.1", "-mp", &(free_udp() & !1).to_string(), "-nostdin"]).args(more);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let sipp = Process(command.spawn().unwrap());
    let here = format!(": 0100007F:{port:04X} ");
    wait("SIPp listens", || std::fs::read_to_string("/proc/net/udp").unwrap().contains(&here)).await;
    sipp
}
