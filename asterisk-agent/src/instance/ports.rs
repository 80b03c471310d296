//! The ports of an instance: free ones on loopback, kept for its life.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, files};

/// Where ports are picked: below those the kernel gives to outgoing connections, so that none takes ours meanwhile.
const RANGE: std::ops::Range<u16> = 10_240..32_000;
/// Most ports tried.
const TRIES: u32 = 1_000;
/// Where RTP ranges are picked.
const RTP_RANGE: std::ops::Range<u32> = 32_000..65_000;

/// The ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The manager interface.
    pub ami: u16,
    /// The step server.
    pub step: u16,
    /// Health.
    pub http: u16,
    /// SIP, UDP.
    pub sip: u16,
    /// First RTP port.
    pub rtp_start: u16,
    /// Last RTP port.
    pub rtp_end: u16,
}

impl Ports {
    /// As the file says, or free ones that the file then says.
    pub fn load_or_pick(path: &Path, capacity: u32) -> Result<Self, Error> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Config { what: "ports.json", why: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Instances that start together find the same port free before one of them listens on it.
                let beside = path.ancestors().nth(2).unwrap_or(path);
                let lock = beside.join("ports.lock");
                let turn = File::create(&lock).map_err(Error::file("write", &lock))?;
                turn.lock().map_err(Error::file("lock", &lock))?; // until the end of this block
                let ports = Self::pick(capacity, taken_in(beside))?;
                let text = serde_json::to_vec_pretty(&ports)
                    .map_err(|error| Error::Config { what: "ports.json", why: error.to_string() })?;
                files::write_public(path, &text)?;
                Ok(ports)
            }
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// None of those that others were given.
    fn pick(capacity: u32, others: BTreeSet<u16>) -> Result<Self, Error> {
        let (mut taken, mut found) = (others, Vec::new());
        for _ in 0..TRIES {
            let random = u16::from_be_bytes(files::random()?);
            let port = RANGE.start + random % (RANGE.end - RANGE.start);
            let free = !taken.contains(&port)
                && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
                && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if free {
                taken.insert(port);
                found.push(port);
            }
            if let [ami, step, http, sip] = found[..] {
                let (rtp_start, rtp_end) = rtp_range(capacity)?;
                return Ok(Self { ami, step, http, sip, rtp_start, rtp_end });
            }
        }
        Err(Error::Start { what: "the instance".to_owned(), why: "no free ports on loopback".to_owned() })
    }
}

/// Ports of the instances beside this one.
fn taken_in(instances: &Path) -> BTreeSet<u16> {
    let known = std::fs::read_dir(instances).into_iter().flatten().flatten();
    let known = known.filter_map(|entry| std::fs::read(entry.path().join("ports.json")).ok());
    let known = known.filter_map(|bytes| serde_json::from_slice::<Ports>(&bytes).ok());
    known.flat_map(|ports| [ports.ami, ports.step, ports.http, ports.sip]).collect()
}

/// Two ports a call, twice over; Asterisk passes over those of others within it.
fn rtp_range(capacity: u32) -> Result<(u16, u16), Error> {
    let size = (capacity * 4).clamp(40, (RTP_RANGE.end - RTP_RANGE.start) / 2);
    let random = u32::from_be_bytes(files::random()?);
    let start = (RTP_RANGE.start + random % (RTP_RANGE.end - RTP_RANGE.start - size)) & !1;
    Ok((start as u16, (start + size - 1) as u16))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_distinct_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("i-1").join("ports.json");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let ports = Ports::load_or_pick(&path, 100).unwrap();
        let mut all = vec![ports.ami, ports.step, ports.http, ports.sip];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
        assert!(ports.rtp_start.is_multiple_of(2) && ports.rtp_end - ports.rtp_start >= 399);
        assert_eq!(Ports::load_or_pick(&path, 100).unwrap(), ports);
        std::fs::write(&path, "{}").unwrap();
        assert!(Ports::load_or_pick(&path, 100).is_err());
    }
    #[test]
    fn instances_that_start_together_get_ports_of_their_own() {
        const INSTANCES: usize = 150;
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<Ports> = std::thread::scope(|scope| {
            let each = |n: usize| {
                let home = dir.path().join(n.to_string());
                std::fs::create_dir(&home).unwrap();
                scope.spawn(move || Ports::load_or_pick(&home.join("ports.json"), 1).unwrap())
            };
            let started: Vec<_> = (0..INSTANCES).map(each).collect();
            started.into_iter().map(|instance| instance.join().unwrap()).collect()
        });
        let ports: BTreeSet<u16> = all.iter().flat_map(|p| [p.ami, p.step, p.http, p.sip]).collect();
        assert_eq!(ports.len(), INSTANCES * 4);
    }
}
