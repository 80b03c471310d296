//! A name server that knows one carrier by its SRV record, and the node that asks it: `/etc/resolv.conf` is another one
//! there, in a mount namespace of its own, which takes root.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::Process;

const DOMAIN: &str = "carrier.example";
const GATEWAY: &str = "gw.carrier.example";
const SECOND: &str = "gw2.carrier.example";
/// A name with two addresses: those of both gateways.
const BOTH: &str = "both.example";
const SRV: u16 = 33;
const A: u16 = 1;

/// A running one; it ends with the test.
pub struct NameServer {
    address: Ipv4Addr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl NameServer {
    /// Of the carrier at this port of loopback; none where port 53 is not to be had.
    pub fn start(port: u16) -> Option<Self> {
        Self::of(port, false)
    }

    /// The same, and a second gateway at this port of 127.0.0.2, whose turn comes behind the first.
    pub fn of_two(port: u16) -> Option<Self> {
        Self::of(port, true)
    }

    fn of(port: u16, two: bool) -> Option<Self> {
        let salt = std::process::id().to_be_bytes();
        let mut addresses = (1..=9).map(|n| Ipv4Addr::new(127, 100 + n, salt[2], salt[3].max(1)));
        let (address, socket) = addresses.find_map(|at| Some((at, UdpSocket::bind((at, 53)).ok()?)))?;
        let asked: Arc<Mutex<Vec<(String, u16)>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok((count, from)) = socket.recv_from(&mut bytes) {
                let Some((name, kind, end)) = question(&bytes[..count]) else { continue };
                let _ = socket.send_to(&answer(&bytes[..end], &name, kind, (port, two)), from); // it asks again
                heard.lock().unwrap().push((name, kind));
            }
        });
        Some(Self { address, asked })
    }

    /// Whether somebody asked for the SRV record.
    pub fn was_asked(&self) -> bool {
        self.asked.lock().unwrap().contains(&(format!("_sip._udp.{DOMAIN}"), SRV))
    }

    /// Runs a command so that it, and what it starts, asks this server; none where nobody may mount.
    pub fn serve(&self, dir: &Path, command: &Command) -> Option<Process> {
        let file = dir.join("resolv.conf");
        std::fs::write(&file, format!("nameserver {}\noptions timeout:1\n", self.address)).unwrap();
        let bind = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let within = |words: &[&std::ffi::OsStr]| {
            let mut within = Command::new("unshare");
            within.args(["--mount", "sh", "-c", bind]).arg(&file).args(words);
            within
        };
        let may =
            within(&["true".as_ref()]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        may.then(|| Process(within(&words).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()))
    }
}

/// Name, type and where the question ends.
fn question(bytes: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(bytes.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().unwrap());
    Some((labels.join("."), kind, at + 4))
}

/// RFC 1035 and 2782: the question again, and the records there are for it.
fn answer(question: &[u8], name: &str, kind: u16, (port, two): (u16, bool)) -> Vec<u8> {
    let server = |priority: u8, host: &str| {
        let labels = host.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
        [0, priority, 0, 1].into_iter().chain(port.to_be_bytes()).chain(labels).chain([0]).collect()
    };
    let mut all: Vec<Vec<u8>> = match (name, kind) {
        ("_sip._udp.carrier.example", SRV) => vec![server(1, GATEWAY), server(2, SECOND)],
        (GATEWAY, A) => vec![vec![127, 0, 0, 1]],
        (SECOND, A) => vec![vec![127, 0, 0, 2]],
        (BOTH, A) => vec![vec![127, 0, 0, 1], vec![127, 0, 0, 2]],
        _ => vec![],
    };
    all.truncate(1 + usize::from(two));
    let mut said = question.to_vec();
    said[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, all.len() as u8, 0, 0, 0, 0]);
    for data in all {
        said.extend([0xc0, 12]); // the question's name
        said.extend(kind.to_be_bytes());
        said.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        said.extend(data);
    }
    said
}
