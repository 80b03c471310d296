//! Where a domain's SRV records say that a carrier is (RFC 2782 and 3263): for a check by this node. and for the one server
//! that a call is pinned to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::files;

/// How long a name server may take, and how often each is asked.
const PATIENCE: Duration = Duration::from_millis(700);
const ROUNDS: usize = 2;
/// Name servers asked, as a resolver does.
const SERVERS_MAX: usize = 3;
/// Servers of one domain looked at.
const TARGETS_MAX: usize = 16;
const ANSWER_MAX_BYTES: usize = 4_096;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
/// Jumps within one name of an answer.
const JUMPS_MAX: usize = 16;

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    /// The lowest is tried first.
    pub(super) priority: u16,
    /// Its share among those of one priority.
    pub(super) weight: u16,
    /// Its name.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
}

/// The name whose records say where SIP of a domain is, by the number of the transport.
pub(super) fn service(domain: &str, transport: u32) -> String {
    let service = match transport {
        1 => "_sip._udp",
        2 => "_sip._tcp",
        _ => "_sips._tcp",
    };
    format!("{service}.{domain}")
}

/// The name servers of this machine.
pub(super) fn servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let named = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, 53))
    });
    let named: Vec<SocketAddr> = named.take(SERVERS_MAX).collect();
    if named.is_empty() { vec![SocketAddr::from(([127, 0, 0, 1], 53))] } else { named }
}

/// The servers of a service, as its records rank them; none where it has no records.
pub(super) async fn lookup(name: &str, servers: &[SocketAddr]) -> Result<Vec<Target>, String> {
    let mut problem = String::new();
    for server in (0..ROUNDS).flat_map(|_| servers) {
        match timeout(PATIENCE, ask(name, *server)).await {
            Ok(Ok(targets)) => return Ok(targets),
            Ok(Err(why)) => problem = why,
            Err(_) => problem = format!("the name server {server} did not answer in time"),
        }
    }
    Err(format!("the SRV records of {name} are not to be had: {problem}"))
}

async fn ask(name: &str, server: SocketAddr) -> Result<Vec<Target>, String> {
    let told = |error: std::io::Error| format!("the name server {server}: {error}");
    let id = files::random::<2>().map_err(|error| error.to_string())?;
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(told)?;
    socket.connect(server).await.map_err(told)?;
    let question = question(name, id).ok_or("it is no name of the DNS")?;
    socket.send(&question).await.map_err(told)?;
    let mut bytes = vec![0; ANSWER_MAX_BYTES];
    loop {
        let count = socket.recv(&mut bytes).await.map_err(told)?;
        // What answers another question is not for us.
        if let Some(answer) = bytes.get(..count).filter(|answer| answer.starts_with(&id)) {
            return read(answer).unwrap_or_else(|| Err(format!("the answer of {server} cannot be read")));
        }
    }
}

fn question(name: &str, id: [u8; 2]) -> Option<Vec<u8>> {
    // A question that wants recursion, with room for long answers (RFC 6891).
    let mut bytes = [id.as_slice(), &[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]].concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([TYPE_SRV, CLASS_IN].map(u16::to_be_bytes).concat());
    bytes.extend([0, 0, 41]);
    bytes.extend((ANSWER_MAX_BYTES as u16).to_be_bytes());
    bytes.extend([0; 6]);
    (bytes.len() <= 300).then_some(bytes)
}

/// The targets of an answer, or what the server said instead; none if it cannot be read.
fn read(bytes: &[u8]) -> Option<Result<Vec<Target>, String>> {
    let flags = number(bytes, 2)?;
    let (questions, answers) = (number(bytes, 4)?, number(bytes, 6)?);
    match flags & 0xf {
        0 => {}
        3 => return Some(Ok(Vec::new())), // no such name
        code => return Some(Err(format!("the name server said code {code}"))),
    }
    if flags & 0x0200 != 0 {
        return Some(Err("they are more than fit into one datagram".to_owned()));
    }
    let mut at = 12;
    for _ in 0..questions {
        at = name(bytes, at)?.1 + 4;
    }
    let mut targets = Vec::new();
    for _ in 0..answers {
        at = name(bytes, at)?.1;
        let (kind, length) = (number(bytes, at)?, usize::from(number(bytes, at + 8)?));
        let data = at + 10;
        if kind == TYPE_SRV && targets.len() < TARGETS_MAX {
            let (priority, weight) = (number(bytes, data)?, number(bytes, data + 2)?);
            let (host, port) = (name(bytes, data + 6)?.0, number(bytes, data + 4)?);
            targets.push(Target { priority, weight, host, port });
        }
        at = data + length;
    }
    targets.sort_by(|a, b| (a.priority, b.weight, &a.host).cmp(&(b.priority, a.weight, &b.host)));
    Some(Ok(targets))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A name and where it ends; it may go on elsewhere in the answer, but not for ever.
fn name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut labels, mut end, mut jumps) = (Vec::new(), None, 0);
    loop {
        let length = *bytes.get(at)?;
        if length & 0xc0 == 0xc0 {
            jumps += 1;
            end = end.or(Some(at + 2));
            at = usize::from(number(bytes, at)? & 0x3fff);
            if jumps > JUMPS_MAX {
                return None;
            }
            continue;
        }
        at += 1;
        if length == 0 {
            return Some((labels.join("."), end.unwrap_or(at)));
        }
        let label = bytes.get(at..at + usize::from(length))?;
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || [b'-', b'_'].contains(byte);
        if labels.len() >= 32 || !label.iter().all(plain) {
            return None;
        }
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += usize::from(length);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// An answer to this question with these records, whose owner and whose target's domain are the question's.
    fn answer(question: &[u8], records: &[(u16, u16, u16, &str)]) -> Vec<u8> {
        let end = name(question, 12).unwrap().1 + 4;
        let mut bytes = question[..end].to_vec();
        bytes[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        for (priority, weight, port, host) in records {
            bytes.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, host.len() as u8 + 9]);
            bytes.extend([*priority, *weight, *port].map(u16::to_be_bytes).concat());
            bytes.push(host.len() as u8);
            bytes.extend(host.as_bytes());
            bytes.extend([0xc0, 12 + 10]); // behind `_sip._udp.`
        }
        bytes
    }

    #[test]
    fn servers_are_ranked_by_priority_and_then_by_weight() {
        let asked = question(&service("example.com", 1), [7, 9]).unwrap();
        let said = answer(&asked, &[(20, 0, 5060, "late"), (10, 1, 5080, "few"), (10, 3, 5060, "many")]);
        let read = read(&said).unwrap().unwrap();
        let told: Vec<String> = read
            .iter()
            .map(|target| format!("{} {} {}:{}", target.priority, target.weight, target.host, target.port))
            .collect();
        assert_eq!(
            told,
            ["10 3 many.example.com:5060", "10 1 few.example.com:5080", "20 0 late.example.com:5060"]
        );
        assert_eq!(service("example.com", 3), "_sips._tcp.example.com");
    }

    #[test]
    fn what_a_name_server_refuses_or_cuts_is_told_and_a_name_that_is_not_there_has_no_servers() {
        let asked = question("_sip._tcp.example.com", [7, 9]).unwrap();
        let with = |flags: u16| {
            let mut said = answer(&asked, &[]);
            said[2..4].copy_from_slice(&flags.to_be_bytes());
            read(&said).unwrap()
        };
        assert_eq!(with(0x8183), Ok(vec![]));
        assert!(with(0x8182).unwrap_err().contains("code 2"));
        assert!(with(0x8380).unwrap_err().contains("one datagram"));
        assert_eq!(read(&asked[..11]), None);
        let mut round = answer(&asked, &[(1, 1, 1, "a")]);
        let last = round.len() - 2;
        round.splice(last.., [0xc0, last as u8]); // a name that goes on where it is
        assert_eq!(read(&round), None);
        assert_eq!(question(&"a".repeat(64), [0, 0]), None);
    }

    #[test]
    fn the_name_servers_are_those_of_the_machine() {
        let text = "# none\nsearch example.com\nnameserver 192.0.2.53\nnameserver ::1\nnameserver x\n";
        let told: Vec<String> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["192.0.2.53:53", "[::1]:53"]);
        assert_eq!(servers(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[tokio::test]
    async fn a_name_server_that_is_silent_or_answers_another_question_is_passed_over() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let good = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let servers = [silent.local_addr().unwrap(), good.local_addr().unwrap()];
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            let (count, from) = good.recv_from(&mut bytes).await.unwrap();
            let mut other = answer(&bytes[..count], &[(1, 1, 1, "forged")]);
            other[0] ^= 1;
            good.send_to(&other, from).await.unwrap();
            let said = answer(&bytes[..count], &[(1, 1, 5060, "gw")]);
            good.send_to(&said, from).await.unwrap();
        });
        let found = lookup("_sip._udp.example.com", &servers).await.unwrap();
        assert_eq!(found.iter().map(|one| one.host.as_str()).collect::<Vec<_>>(), ["gw.example.com"]);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_go_on_for_ever(
            start in 0_usize..2, tail in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let asked = question("_sip._udp.example.com", [0, 0]).unwrap();
            let mut bytes = if start == 0 { Vec::new() } else { answer(&asked, &[(1, 1, 1, "a"), (2, 2, 2, "b")]) };
            let at = bytes.len().saturating_sub(tail.len() / 2);
            bytes.truncate(at);
            bytes.extend(tail);
            let _ = read(&bytes);
        }
    }
}
