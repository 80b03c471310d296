//! What a gate before the INVITE would cost: the same calls on real Asterisk and SIPp, originated straight at the trunk as
//! the agent does, and through a local channel whose dialplan asks for leave first, once, with an fsync before the answer.
//!
//! `cargo run -p asterism-tests --example gate_cost`, with `ASTERISM_ASTERISK_ROOT` and `ASTERISM_SIPP` set (root). Prints one
//! JSON line a way. The decision that rests on it is in ARCHITECTURE.md.

#![allow(clippy::print_stdout)] // its output

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use asterism_agent::render::endpoint;
use asterism_tests::asterisk::{AMI_SECRET, Asterisk, RealParts};
use asterism_tests::child::pids;
use asterism_tests::sipp::{Carrier, Habits};
use nix::sys::signal::Signal;
use serde_json::json;

/// Calls of each way; each of them is answered at once and lasts [`TALK_S`].
const CALLS: u32 = 100;
const TALK_S: u32 = 8;
/// Originates a second.
const RATE: u32 = 25;
const ROUNDS: u32 = 3;

fn main() -> anyhow::Result<()> {
    let parts = RealParts::find("gate_cost").context("Asterisk and SIPp are needed")?;
    let dir = tempfile::tempdir()?;
    let questions = TcpListener::bind("127.0.0.1:0")?;
    let port = questions.local_addr()?.port();
    let journal = dir.path().join("journal");
    std::thread::spawn(move || answer(&questions, &journal));
    for round in 0..ROUNDS {
        for (way, channel) in [("straight", "PJSIP/NUMBER@TRUNK"), ("gated", "Local/NUMBER@gate/n")] {
            let home = dir.path().join(format!("{round}-{way}"));
            fs::create_dir_all(&home)?;
            let line = measured(&parts, &home, port, channel).with_context(|| way.to_owned())?;
            println!("{}", json!({ "way": way, "round": round, "calls": CALLS, "measured": line }));
        }
    }
    Ok(())
}

fn measured(parts: &RealParts, home: &Path, port: u16, channel: &str) -> anyhow::Result<serde_json::Value> {
    let carrier = Carrier::start(&parts.sipp, Habits { press_ms: 60_000, leave_ms: 60_000 });
    let mut asterisk = Asterisk::start(&parts.root, home, 9, carrier.port);
    let trunk = endpoint(AMI_SECRET, "trunk");
    let mut extensions = OpenOptions::new().append(true).open(home.join("etc/extensions.conf"))?;
    writeln!(
        extensions,
        "\n[gate]\nexten => _+X.,1,Set(GO=${{CURL(http://127.0.0.1:{port}/go,${{EXTEN}})}})\n same => n,GotoIf($[\"${{GO}}\"!=\"go\"]?no)\n \
         same => n,Dial(PJSIP/${{EXTEN}}@{trunk},30)\n same => n(no),Hangup()\n\n[talk]\nexten => s,1,Wait({TALK_S})\n same => n,Hangup()\n"
    )?;
    let mut managers = OpenOptions::new().append(true).open(home.join("etc/manager.conf"))?;
    writeln!(managers, "\n[bench]\nsecret = {AMI_SECRET}\nread = command\nwrite = originate,command")?;
    asterisk.process.signal(Signal::SIGKILL);
    while asterisk.process.runs() {
        sleep(Duration::from_millis(20));
    }
    asterisk.start_again();
    let mut ami = Ami::connect(asterisk.ports.ami)?;
    let pid = pid_of(&asterisk)?;
    let (idle_mb, cpu_before) = (resident_mb(pid)?, cpu_s(pid)?);
    let (began, mut sent) = (Instant::now(), BTreeMap::new());
    for n in 0..CALLS {
        let number = format!("+1555{n:03}0158");
        sent.insert(number.clone(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() % DAY_US);
        ami.send(&format!(
            "Action: Originate\r\nActionID: {n}\r\nChannel: {}\r\nContext: talk\r\nExten: s\r\nPriority: 1\r\nTimeout: 30000\r\n\
             Async: true\r\nChannelId: call-{n}\r\n\r\n",
            channel.replace("NUMBER", &number).replace("TRUNK", &trunk)
        ))?;
        sleep((began + Duration::from_secs(1) * (n + 1) / RATE).saturating_duration_since(Instant::now()));
    }
    sleep(Duration::from_secs(2));
    let (up_mb, channels) = (resident_mb(pid)?, ami.channels()?);
    sleep(Duration::from_secs(u64::from(TALK_S) + 1));
    let cpu = cpu_s(pid)? - cpu_before;
    let rings = carrier.rings();
    ensure!(rings.len() == CALLS as usize && rings.values().all(|count| *count == 1), "{rings:?}");
    let mut waits: Vec<u128> = carrier
        .invited_at()
        .into_iter()
        .filter_map(|(number, at)| Some(at.saturating_sub(*sent.get(&number)?)))
        .collect();
    waits.sort_unstable();
    ensure!(waits.len() == CALLS as usize, "{} of {CALLS} INVITEs have a time", waits.len());
    Ok(json!({
        "channels_at_the_end_of_dialling": channels,
        "cpu_ms_per_call": cpu * 1_000.0 / f64::from(CALLS),
        "resident_mb": { "idle": idle_mb, "with_calls": up_mb },
        "originate_to_invite_us": { "p50": waits[waits.len() / 2], "p99": waits[waits.len() * 99 / 100] },
    }))
}

const DAY_US: u128 = 86_400_000_000;

/// A manager session.
struct Ami {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Ami {
    fn connect(port: u16) -> anyhow::Result<Self> {
        let deadline = Instant::now() + Duration::from_mins(1);
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => sleep(Duration::from_millis(50)),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut ami = Self { lines: BufReader::new(stream.try_clone()?), stream };
        ami.send(&format!(
            "Action: Login\r\nUsername: bench\r\nSecret: {AMI_SECRET}\r\nEvents: off\r\n\r\n"
        ))?;
        ami.wait_for("Response: Success")?;
        ami.send("Action: Command\r\nCommand: core waitfullybooted\r\n\r\n")?;
        ami.wait_for("fully booted")?;
        Ok(ami)
    }

    fn send(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.stream.write_all(text.as_bytes())?)
    }

    fn wait_for(&mut self, what: &str) -> anyhow::Result<String> {
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.lines.read_line(&mut line)? > 0, "the manager interface closed");
            if line.contains(what) {
                return Ok(line);
            }
        }
    }

    fn channels(&mut self) -> anyhow::Result<u32> {
        self.send("Action: Command\r\nCommand: core show channels count\r\n\r\n")?;
        let line = self.wait_for("active channel")?;
        Ok(line.trim_start_matches("Output:").split_whitespace().next().context("no count")?.parse()?)
    }
}

/// Answers each question once it is on the disk, as the agent's compare-and-set would.
fn answer(questions: &TcpListener, journal: &Path) {
    for stream in questions.incoming() {
        let (Ok(stream), journal) = (stream, journal.to_owned()) else { continue };
        std::thread::spawn(move || serve(stream, &journal));
    }
}

fn serve(mut stream: TcpStream, journal: &Path) -> anyhow::Result<()> {
    let mut journal = OpenOptions::new().create(true).append(true).open(journal)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body)?;
        journal.write_all(&body)?;
        journal.sync_data()?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ngo")?;
    }
}

/// Asterisk's own process: of those that have this instance's folder in their words, the largest.
fn pid_of(asterisk: &Asterisk) -> anyhow::Result<i32> {
    let config = asterisk.dir.join("etc/asterisk.conf");
    let pids = pids(&[&*config.to_string_lossy()]);
    let size = |pid: &i32| resident_mb(*pid).unwrap_or_default();
    pids.into_iter()
        .max_by(|one, other| size(one).total_cmp(&size(other)))
        .with_context(|| format!("no process runs with {}", config.display()))
}

fn resident_mb(pid: i32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    Ok(kib.context("no VmRSS")?.trim().parse::<f64>()? / 1_024.0)
}

/// User and system time, of ticks of 10 ms (`proc_pid_stat(5)`, fields 14 and 15).
fn cpu_s(pid: i32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("no command")?;
    let ticks: f64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}
