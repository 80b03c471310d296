//! One OPTIONS to each place of a trunk, from this machine: what answers, and how fast.
//!
//! Over UDP and TCP. Of a trunk over TLS the PBX's own qualify is the word: here only the port is knocked at.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use asterism_proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::Place;
use super::render::split;
use super::srv;
use crate::files;

/// How long a place may take to answer; SIP repeats a request twice in that time.
const PATIENCE: Duration = Duration::from_secs(2);
const REPEAT: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1_500)];
/// Where a machine's name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Largest answer looked at.
const ANSWER_MAX_BYTES: usize = 8 * 1024;

/// Asks every place, or every server that the domain's SRV records name; an outbound proxy is asked instead where there is
/// one.
pub(super) async fn ask(settings: &v1::TrunkSettings, place: &Place) -> Vec<v1::TrunkAnswer> {
    let plain = |host: &String| (host.clone(), String::new());
    let places = match settings {
        set if !set.outbound_proxy.is_empty() => vec![plain(&set.outbound_proxy)],
        set if !set.hosts.is_empty() => set.hosts.iter().map(plain).collect(),
        set => match by_records(&set.srv, set.transport).await {
            Ok(places) => places,
            Err(problem) => {
                let host = set.srv.clone();
                return vec![v1::TrunkAnswer { host, problem, ..v1::TrunkAnswer::default() }];
            }
        },
    };
    let asked = places.into_iter().map(|place_of| one(place_of, settings.transport, place));
    futures_util::future::join_all(asked).await
}

/// A domain's servers, each with what its record says; without records the domain itself is where it is (RFC 3263, 4.2).
async fn by_records(domain: &str, transport: u32) -> Result<Vec<(String, String)>, String> {
    let found = records(domain, transport).await?;
    if found.is_empty() {
        let name = srv::service(domain, transport);
        return Ok(vec![(domain.to_owned(), format!("{name} has no records"))]);
    }
    let server = |at: srv::Target| {
        let record = format!("priority {}, weight {}", at.priority, at.weight);
        (format!("{}:{}", at.host, at.port), record)
    };
    Ok(found.into_iter().map(server).collect())
}

/// What a domain's SRV records say.
pub(super) async fn records(domain: &str, transport: u32) -> Result<Vec<srv::Target>, String> {
    let known = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default(); // a machine without one asks itself
    srv::lookup(&srv::service(domain, transport), &srv::servers(&known)).await
}

/// Whether a server answers an OPTIONS.
pub(super) async fn answers(at: SocketAddr, transport: u32, place: &Place) -> bool {
    one((at.to_string(), String::new()), transport, place).await.problem.is_empty()
}

async fn one((host, record): (String, String), transport: u32, place: &Place) -> v1::TrunkAnswer {
    let mut answer = v1::TrunkAnswer { host: host.clone(), record, ..v1::TrunkAnswer::default() };
    if let Err(problem) = try_one(&host, transport, place, &mut answer).await {
        answer.problem = problem;
    }
    answer
}

async fn try_one(
    host: &str,
    transport: u32,
    place: &Place,
    answer: &mut v1::TrunkAnswer,
) -> Result<(), String> {
    let (name, port) = split(host).ok_or("it is no name or address")?;
    let port = port.unwrap_or(if transport == 3 { 5061 } else { 5060 });
    let resolved = timeout(PATIENCE, lookup_host((name, port))).await;
    let address = resolved
        .map_err(|_| "its name was not resolved in time".to_owned())?
        .map_err(|error| format!("its name does not resolve: {error}"))?
        .find(SocketAddr::is_ipv4)
        .ok_or("its name has no ipv4 address")?;
    answer.address = address.to_string();
    let branch = hex::encode(files::random::<12>().map_err(|error| error.to_string())?);
    let began = Instant::now();
    let heard = match transport {
        1 => over_udp(address, &request(host, "UDP", place, &branch)).await?,
        2 => over_tcp(address, Some(&request(host, "TCP", place, &branch))).await?,
        _ => over_tcp(address, None).await?,
    };
    answer.rtt_us = began.elapsed().as_micros() as u64;
    let Some(text) = heard else {
        "the port is open; a trunk over tls is qualified by the pbx itself".clone_into(&mut answer.said);
        return Ok(());
    };
    let (status, said) = read(&text, &branch).ok_or("what answered speaks no sip")?;
    (answer.status, answer.said) = (status, said);
    Ok(())
}

fn request(host: &str, transport: &str, place: &Place, branch: &str) -> String {
    let from = place.advertised;
    format!(
        "OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/{transport} {from};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 20\r\n\
         From: <sip:asterism@{from}>;tag={}\r\nTo: <sip:{host}>\r\nCall-ID: {branch}@{from}\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:asterism@{from}>\r\nUser-Agent: asterism\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n",
        &branch[..8]
    )
}

async fn over_udp(address: SocketAddr, request: &str) -> Result<Option<String>, String> {
    let told = |error: std::io::Error| format!("it cannot be reached: {error}");
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let socket = UdpSocket::bind(any).await.map_err(told)?;
    socket.connect(address).await.map_err(told)?;
    let began = Instant::now();
    let mut bytes = vec![0; ANSWER_MAX_BYTES];
    for pause in REPEAT.into_iter().chain([PATIENCE]) {
        socket.send(request.as_bytes()).await.map_err(told)?;
        let left = pause.saturating_sub(began.elapsed()).max(Duration::from_millis(1));
        match timeout(left, socket.recv(&mut bytes)).await {
            Ok(Ok(count)) => return Ok(Some(String::from_utf8_lossy(&bytes[..count]).into_owned())),
            Ok(Err(error)) => return Err(told(error)),
            Err(_) => {}
        }
    }
    Err(format!("no answer within {} s", PATIENCE.as_secs()))
}

async fn over_tcp(address: SocketAddr, request: Option<&str>) -> Result<Option<String>, String> {
    let told = |error: std::io::Error| format!("it cannot be reached: {error}");
    let late = || format!("no answer within {} s", PATIENCE.as_secs());
    let mut stream =
        timeout(PATIENCE, TcpStream::connect(address)).await.map_err(|_| late())?.map_err(told)?;
    let Some(request) = request else { return Ok(None) };
    stream.write_all(request.as_bytes()).await.map_err(told)?;
    let mut bytes = Vec::new();
    let whole = async {
        let mut part = [0; 1024];
        while bytes.len() < ANSWER_MAX_BYTES && !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut part).await?;
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&part[..count]);
        }
        Ok::<(), std::io::Error>(())
    };
    timeout(PATIENCE, whole).await.map_err(|_| late())?.map_err(told)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Status and words of an answer to this request.
fn read(text: &str, branch: &str) -> Option<(u32, String)> {
    let mut lines = text.lines();
    let first = lines.next()?.strip_prefix("SIP/2.0 ")?;
    let (status, phrase) = first.split_once(' ').unwrap_or((first, ""));
    let status: u32 = status.parse().ok().filter(|status| (100..700).contains(status))?;
    let ours = text.contains(branch);
    let server = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        ["server", "user-agent"].contains(&name.to_ascii_lowercase().as_str()).then_some(value.trim())
    });
    let said = server.map_or_else(|| phrase.to_owned(), |server| format!("{phrase}, {server}"));
    let printable = said.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(80).collect();
    ours.then_some((status, printable))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_an_answer_of_sip_to_this_request_is_one() {
        let answer = "SIP/2.0 200 OK\r\nVia: x;branch=z9hG4bKabc\r\nServer: a\u{7}b 1.0\r\n\r\n";
        assert_eq!(read(answer, "abc"), Some((200, "OK, ab 1.0".to_owned())));
        assert_eq!(read(answer, "abd"), None);
        assert_eq!(read("SIP/2.0 404\r\nabc", "abc"), Some((404, String::new())));
        for bad in ["", "HTTP/1.1 200 OK\r\nabc", "SIP/2.0 99 x abc", "SIP/2.0 x abc"] {
            assert_eq!(read(bad, "abc"), None, "{bad}");
        }
    }
}
