//! Gateways that ring, and have no room after all: what a PBX must not answer with a second INVITE elsewhere.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

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
        if text.starts_with("OPTIONS ") {
            say(socket, from, &text, "200 OK");
        }
        if !text.starts_with("INVITE ") {
            continue;
        }
        let number = text.split(['@', ' ']).nth(1).unwrap().trim_start_matches("sip:").to_owned();
        let branch = text.split("branch=").nth(1).unwrap().split([';', '\r']).next().unwrap().to_owned();
        if heard.lock().unwrap().insert((number, branch)) {
            say(socket, from, &text, "180 Ringing");
        }
        say(socket, from, &text, "503 No room");
    }
}

fn say(socket: &UdpSocket, to: SocketAddr, request: &str, status: &str) {
    let mut lines = vec![format!("SIP/2.0 {status}")];
    for line in request.lines() {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "via" | "from" | "call-id" | "cseq" => lines.push(line.to_owned()),
            "to" => lines.push(format!("{line};tag=gateway")),
            _ => {}
        }
    }
    let text = lines.join("\r\n") + "\r\nContent-Length: 0\r\n\r\n";
    let _ = socket.send_to(text.as_bytes(), to); // it asks again
}
