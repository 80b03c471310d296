//! Gateways that ring, and have no room after all: what a PBX must not answer with a second INVITE elsewhere. Some callees
//! answer: those whose numbers end in [`ANSWERS`].

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Last digits of numbers that answer, and stay until they are hung up on.
pub const ANSWERS: &str = "99";
/// Nobody sends audio there.
const SDP: &str =
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";

/// Two of them, at one port of 127.0.0.1 and 127.0.0.2. They end with the test's process.
pub struct Gateways {
    pub port: u16,
    /// Each INVITE, by whom it called, once however often it was sent.
    heard: Arc<Mutex<BTreeSet<(String, String)>>>,
}

impl Gateways {
    pub fn start() -> Self {
        let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
        let heard: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
        for socket in [first, second] {
            let heard = Arc::clone(&heard);
            std::thread::spawn(move || serve(&socket, &heard));
        }
        Self { port, heard }
    }

    /// How many INVITEs came for a number that ends so.
    pub fn invites(&self, ends: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|(number, _)| number.ends_with(ends)).count()
    }
}

fn serve(socket: &UdpSocket, heard: &Mutex<BTreeSet<(String, String)>>) {
    let mut bytes = [0; 8_192];
    while let Ok((count, from)) = socket.recv_from(&mut bytes) {
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        if text.starts_with("OPTIONS ") || text.starts_with("BYE ") {
            say(socket, from, &text, "200 OK", "");
        }
        if !text.starts_with("INVITE ") {
            continue;
        }
        let number = text.split(['@', ' ']).nth(1).unwrap().trim_start_matches("sip:").to_owned();
        let branch = text.split("branch=").nth(1).unwrap().split([';', '\r']).next().unwrap().to_owned();
        let answers = number.ends_with(ANSWERS);
        if heard.lock().unwrap().insert((number, branch)) {
            say(socket, from, &text, "180 Ringing", "");
        }
        let (status, body) = if answers { ("200 OK", SDP) } else { ("503 No room", "") };
        say(socket, from, &text, status, body);
    }
}

fn say(socket: &UdpSocket, to: SocketAddr, request: &str, status: &str, body: &str) {
    let mut lines = vec![format!("SIP/2.0 {status}")];
    for line in request.lines() {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "via" | "from" | "call-id" | "cseq" => lines.push(line.to_owned()),
            "to" => lines.push(format!("{line};tag=gateway")),
            _ => {}
        }
    }
    if !body.is_empty() {
        lines.push(format!("Contact: <sip:gateway@{}>", socket.local_addr().unwrap()));
        lines.push("Content-Type: application/sdp".to_owned());
    }
    let text = format!("{}\r\nContent-Length: {}\r\n\r\n{body}", lines.join("\r\n"), body.len());
    let _ = socket.send_to(text.as_bytes(), to); // it asks again
}
