//! A carrier's gateway that takes no call: it answers each OPTIONS, turns each INVITE away and counts them.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A running one; it ends with the test.
pub struct Gateway {
    pub port: u16,
    calls: Arc<AtomicUsize>,
}

impl Gateway {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (port, calls) = (socket.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&calls);
        std::thread::spawn(move || {
            let (mut bytes, mut seen) = ([0; 8_192], std::collections::BTreeSet::new());
            while let Ok((count, from)) = socket.recv_from(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let header = |name: &str| {
                    text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
                };
                let status = match text.split(' ').next() {
                    Some("OPTIONS") => "200 OK",
                    Some("INVITE") => "404 Not Found",
                    _ => continue,
                };
                // SIP over UDP repeats itself.
                if status.starts_with("404") && seen.insert(header("Call-ID:")) {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                let names = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].map(header);
                let [via, from_, to, id, sequence] = names;
                let answer = format!(
                    "SIP/2.0 {status}\r\n{via}\r\n{from_}\r\n{to};tag=gw\r\n{id}\r\n{sequence}\r\nContent-Length: 0\r\n\r\n"
                );
                let _ = socket.send_to(answer.as_bytes(), from); // it asks again
            }
        });
        Self { port, calls }
    }

    /// The calls that came so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}
