//! The carrier of the tests: SIPp with one scenario for every outcome, and a listener at each call's media port.
//!
//! SIPp answers the signalling and presses keys; what it answers names a media port of its own for each call, and this
//! process listens there: what a callee would have heard is what came in. Rings are counted from SIPp's log of
//! messages by distinct Call-ID, so that retransmissions are none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::child::Guarded;

/// Most calls of one carrier whose media is listened to.
pub const CALLS_MAX: usize = 400;
/// SIPp gives each call the media port four above the last one's.
const PORT_STEP: u16 = 4;
/// Where SIPp's own media sockets are; the calls' ports begin above.
const OWN_PORTS: u16 = 8;
/// Where ports are picked: below those the kernel gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_240..30_000;
/// Bytes of one call's media that are kept: a minute of µ-law.
const MEDIA_MAX_BYTES: usize = 480_000;
/// What a callee says who talks, in µ-law: as loud as it gets.
pub const TALK: u8 = 0x80;
/// The same in 16 bits (G.711, table 2a).
pub const TALK_SAMPLE: i16 = 32_124;
const SCENARIO: &str = include_str!("../sipp/carrier.xml");

/// When callees do what they do, ms after their answer.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// A key is pressed.
    pub press_ms: u32,
    /// An early leaver leaves.
    pub leave_ms: u32,
}

/// What came in at one call's media port.
#[derive(Debug, Clone, Default)]
pub struct Media {
    /// RTP packets with µ-law.
    pub packets: usize,
    /// Their payload in the order it came.
    pub ulaw: Vec<u8>,
}

impl Media {
    /// Whether the sound was heard whole, byte for byte. Packets cut it anywhere, the rest of the last is silence.
    pub fn heard(&self, sound: &[u8]) -> bool {
        // The last packet of a sound may be cut or filled up; up to one packet of 20 ms is not looked at.
        let whole = &sound[..sound.len().saturating_sub(160)];
        !whole.is_empty() && self.ulaw.windows(whole.len()).any(|part| part == whole)
    }
}

/// A running SIPp.
pub struct Carrier {
    /// Its SIP port on loopback.
    pub port: u16,
    sipp: Guarded,
    listener: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    media: Arc<Mutex<BTreeMap<u16, Media>>>,
    dir: tempfile::TempDir,
}

impl Carrier {
    /// Starts it and waits until it listens. It has no room for numbers that end in 0153.
    pub fn start(sipp: &Path, habits: Habits) -> Self {
        Self::start_refusing(sipp, habits, "0153")
    }

    /// The same without room for numbers that end so (a regular expression).
    pub fn start_refusing(sipp: &Path, habits: Habits, ends: &str) -> Self {
        Self::start_with(sipp, habits, ends, &[], false)
    }

    /// The same with callees who talk all the time: whatever comes in, [`TALK`] goes back. They press no keys: the PBX
    /// takes media from one address a call.
    pub fn start_talking(sipp: &Path, habits: Habits) -> Self {
        Self::start_with(sipp, habits, "0153", &[], true)
    }

    /// The same with callees whose numbers end so and who press these keys, one after the other, each [`Habits::press_ms`]
    /// after the one before.
    pub fn start_pressing(sipp: &Path, habits: Habits, keys: &[(&str, &str)]) -> Self {
        Self::start_with(sipp, habits, "0153", keys, false)
    }

    fn start_with(sipp: &Path, habits: Habits, ends: &str, keys: &[(&str, &str)], talks: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("asterism-sipp-").tempdir().unwrap();
        let (media_port, sockets) = media_sockets();
        let [heard, chosen, pressed] = pressing(keys, dir.path());
        let scenario = SCENARIO
            .replace("@KEYS_HEARD@", &heard)
            .replace("@KEYS_CHOSEN@", &chosen)
            .replace("@KEYS_PRESSED@", &pressed)
            .replace("@PRESS_MS@", &habits.press_ms.to_string())
            .replace("@LEAVE_MS@", &habits.leave_ms.to_string())
            .replace("@REFUSED@", ends)
            .replace("@DTMF@", keys_folder().unwrap().to_str().unwrap());
        fs::write(dir.path().join("carrier.xml"), scenario).unwrap();
        let port = free_udp_port();
        let arguments = format!(
            "-sf carrier.xml -i 127.0.0.1 -p {port} -mi 127.0.0.1 -mp {media_port} -nostdin -trace_msg -message_file messages.log \
             -trace_err -error_file errors.log"
        );
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let sipp = Guarded::start("sipp", sipp, &words, dir.path());
        let (stop, media) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let listener = std::thread::spawn({
            let (stop, media) = (Arc::clone(&stop), Arc::clone(&media));
            move || listen(&sockets, &stop, &media, talks)
        });
        let mut carrier = Self { port, sipp, listener: Some(listener), stop, media, dir };
        carrier.wait_until_it_listens();
        carrier
    }

    /// Distinct INVITEs by the number called: what rang, however often it was repeated on the wire.
    pub fn rings(&self) -> BTreeMap<String, usize> {
        let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for message in self.messages() {
            if let Some(number) = message.invited() {
                calls.entry(number.to_owned()).or_default().insert(message.call_id.clone());
            }
        }
        calls.into_iter().map(|(number, ids)| (number, ids.len())).collect()
    }

    /// When the first INVITE to each number came in, µs of SIPp's day.
    pub fn invited_at(&self) -> BTreeMap<String, u128> {
        let mut first = BTreeMap::new();
        for message in self.messages() {
            if let (Some(number), Some(at)) = (message.invited(), message.at_us) {
                first.entry(number.to_owned()).or_insert(at);
            }
        }
        first
    }

    /// Every user that calls were shown to come from.
    pub fn callers(&self) -> BTreeSet<String> {
        let invites = self.messages().into_iter().filter(|message| message.invited().is_some());
        invites.filter_map(|message| message.caller().map(str::to_owned)).collect()
    }

    /// The same of the calls to one number.
    pub fn callers_of(&self, number: &str) -> BTreeSet<String> {
        let invites = self.messages().into_iter().filter(|message| message.invited() == Some(number));
        invites.filter_map(|message| message.caller().map(str::to_owned)).collect()
    }

    /// What each call heard, by the number called. Calls that were not answered have no media.
    pub fn media(&self) -> BTreeMap<String, Media> {
        let (mut number_of, mut port_of) = (BTreeMap::new(), BTreeMap::new());
        for message in self.messages() {
            if let Some(number) = message.invited() {
                number_of.insert(message.call_id.clone(), number.to_owned());
            } else if let Some(port) = message.answered_with() {
                port_of.insert(message.call_id.clone(), port);
            }
        }
        let heard = self.media.lock().unwrap();
        port_of
            .into_iter()
            .filter_map(|(call, port)| {
                Some((number_of.get(&call)?.clone(), heard.get(&port).cloned().unwrap_or_default()))
            })
            .collect()
    }

    /// What SIPp complained of, for a failure's text.
    pub fn complaints(&self) -> String {
        let errors = fs::read_to_string(self.dir.path().join("errors.log")).unwrap_or_default();
        let lines: Vec<&str> = errors.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn messages(&self) -> Vec<SipMessage> {
        let text = fs::read(self.dir.path().join("messages.log")).unwrap_or_default();
        SipMessage::all(&String::from_utf8_lossy(&text))
    }

    fn wait_until_it_listens(&mut self) {
        let began = Instant::now();
        let wanted = format!("0100007F:{:04X}", self.port);
        while !fs::read_to_string("/proc/net/udp").unwrap_or_default().contains(&wanted) {
            let late = began.elapsed() > Duration::from_secs(20);
            assert!(
                !late && self.sipp.runs(),
                "sipp does not listen\n{}\n{}",
                self.sipp.log(),
                self.complaints()
            );
            std::thread::sleep(Duration::from_millis(20)); // the pause of a poll
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

/// SIPp's recording of a key as the nth of its call: a receiver takes a key whose RTP time is before the last one's for a
/// late repetition, and each recording has a time of its own.
fn later(key: char, nth: u16) -> Vec<u8> {
    const PACKET_HEADER: usize = 16;
    const RTP: usize = 14 + 20 + 8; // behind Ethernet, IP and UDP
    let mut file = fs::read(keys_folder().unwrap().join(format!("dtmf_2833_{key}.pcap"))).unwrap();
    let (mut at, mut packet) = (24, 0);
    while at < file.len() {
        let length = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        let rtp = at + PACKET_HEADER + RTP;
        file[rtp + 2..rtp + 4].copy_from_slice(&(1_000 + 100 * nth + packet).to_be_bytes());
        file[rtp + 4..rtp + 8].copy_from_slice(&(100_000 + 32_000 * u32::from(nth)).to_be_bytes());
        at += PACKET_HEADER + length;
        packet += 1;
    }
    file
}

/// Callees who press several keys, as the three parts of the scenario; the recordings go to its folder.
fn pressing(keys: &[(&str, &str)], dir: &Path) -> [String; 3] {
    let [mut heard, mut chosen, mut pressed] = [(); 3].map(|()| String::new());
    for (ends, keys) in keys {
        let name = format!("keys{ends}");
        let _ = writeln!(
            heard,
            "      <ereg regexp=\"{ends}@\" search_in=\"hdr\" header=\"To:\" check_it=\"false\" assign_to=\"{name}\"/>"
        );
        let _ = writeln!(chosen, "  <nop next=\"l_{name}\" test=\"{name}\"/>");
        let _ = writeln!(pressed, "  <label id=\"l_{name}\"/>");
        for (nth, key) in (0..).zip(keys.chars()) {
            fs::write(dir.join(format!("key-{nth}-{key}.pcap")), later(key, nth)).unwrap();
            let _ = writeln!(
                pressed,
                "  <pause milliseconds=\"@PRESS_MS@\"/>\n  \
                 <nop><action><exec play_pcap_audio=\"key-{nth}-{key}.pcap\"/></action></nop>"
            );
        }
        pressed += "  <nop next=\"l_bye\"/>\n";
    }
    [heard, chosen, pressed]
}

/// SIPp's recordings of keys, which its package brings.
pub fn keys_folder() -> Option<PathBuf> {
    ["/usr/share/sip-tester", "/usr/share/sipp/pcap", "/usr/local/share/sipp/pcap"]
        .into_iter()
        .map(PathBuf::from)
        .find(|folder| folder.join("dtmf_2833_1.pcap").exists())
}

/// One message of SIPp's log.
struct SipMessage {
    /// µs of the day.
    at_us: Option<u128>,
    first_line: String,
    call_id: String,
    received: bool,
    body: String,
}

impl SipMessage {
    fn all(log: &str) -> Vec<Self> {
        log.split("-----------------------------------------------").filter_map(Self::read).collect()
    }

    fn read(entry: &str) -> Option<Self> {
        let mut lines = entry.lines();
        let at_us = entry.lines().next().and_then(time_of_day_us);
        let received = lines.by_ref().take(2).any(|line| line.contains("message received"));
        let mut lines = lines.skip_while(|line| line.trim().is_empty());
        let first_line = lines.next()?.trim().to_owned();
        let rest: Vec<&str> = lines.collect();
        let call_id = rest.iter().find_map(|line| line.strip_prefix("Call-ID:"))?.trim().to_owned();
        Some(Self { at_us, first_line, call_id, received, body: rest.join("\n") })
    }

    /// The number of an INVITE that came in.
    fn invited(&self) -> Option<&str> {
        let uri = self.first_line.strip_prefix("INVITE sip:").filter(|_| self.received)?;
        uri.split_once('@').map(|(number, _)| number)
    }

    /// The user of its From.
    fn caller(&self) -> Option<&str> {
        let from = self.body.lines().find_map(|line| line.strip_prefix("From:"))?;
        from.split_once("sip:")?.1.split_once('@').map(|(user, _)| user)
    }

    /// The media port of an answer that went out.
    fn answered_with(&self) -> Option<u16> {
        let ours = !self.received && self.first_line.starts_with("SIP/2.0 200");
        let media = self.body.lines().find_map(|line| line.strip_prefix("m=audio ")).filter(|_| ours)?;
        media.split_whitespace().next()?.parse().ok()
    }
}

/// Of ` 2026-11-22 18:41:39.835487`, what follows a message's dashes.
fn time_of_day_us(line: &str) -> Option<u128> {
    let (_, time) = line.trim().split_once(' ')?;
    let mut parts = time.split([':', '.']).map(|part| part.parse::<u128>().ok());
    let mut next = || parts.next().flatten();
    let (hours, minutes, seconds, micros) = (next()?, next()?, next()?, next()?);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
}

fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// The first port of a free run, and a socket at each call's port in it.
fn media_sockets() -> (u16, Vec<(u16, UdpSocket)>) {
    let span = OWN_PORTS + PORT_STEP * CALLS_MAX as u16;
    let mut base = PORTS.start + (std::process::id() as u16 % 64) * 256;
    for _ in 0..40 {
        let ports = (0..CALLS_MAX as u16).map(|call| base + OWN_PORTS + PORT_STEP * call);
        let sockets: Option<Vec<_>> =
            ports.map(|port| Some((port, UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?))).collect();
        if let (Some(sockets), Ok(_), Ok(_)) = (
            sockets,
            UdpSocket::bind((Ipv4Addr::LOCALHOST, base)),
            UdpSocket::bind((Ipv4Addr::LOCALHOST, base + 2)),
        ) {
            for (_, socket) in &sockets {
                socket.set_nonblocking(true).unwrap();
            }
            return (base, sockets);
        }
        base = PORTS.start + (base - PORTS.start + span + 2) % (PORTS.end - PORTS.start);
    }
    panic!("no run of free media ports on loopback");
}

/// Takes what comes until told to stop. A packet every 20 ms a call: a look every 20 ms loses none.
fn listen(sockets: &[(u16, UdpSocket)], stop: &AtomicBool, media: &Mutex<BTreeMap<u16, Media>>, talks: bool) {
    let mut packet = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        for (port, socket) in sockets {
            while let Ok((size, from)) = socket.recv_from(&mut packet) {
                let Some(payload) = ulaw_of(&packet[..size]) else { continue };
                if talks {
                    let said = [&packet[..12], &[TALK; 160]].concat();
                    let _ = socket.send_to(&said, from); // the call may be over
                }
                let mut media = media.lock().unwrap();
                let call = media.entry(*port).or_default();
                call.packets += 1;
                let room = MEDIA_MAX_BYTES - call.ulaw.len();
                call.ulaw.extend_from_slice(&payload[..payload.len().min(room)]);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The payload of an RTP packet (RFC 3550) of type 0.
fn ulaw_of(packet: &[u8]) -> Option<&[u8]> {
    let plain = packet.len() > 12 && packet[0] == 0x80;
    (plain && packet[1].is_multiple_of(128)).then(|| &packet[12..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "----------------------------------------------- 2026-11-22 18:41:39.835487\nUDP message received [811] bytes :\n\n\
        INVITE sip:+15550100150@127.0.0.1:17060 SIP/2.0\nFrom: <sip:+15550100100@127.0.0.1>;tag=1\nCall-ID: a\n\n\
        ----------------------------------------------- 2026-11-22 18:41:40.335487\nUDP message received [811] bytes :\n\n\
        INVITE sip:+15550100150@127.0.0.1:17060 SIP/2.0\nCall-ID: a\n\n\
        ----------------------------------------------- 2026-11-22 18:41:39.845988\nUDP message sent (374 bytes):\n\n\
        SIP/2.0 200 OK\nCall-ID: a\nCSeq: 1 INVITE\n\nm=audio 6008 RTP/AVP 0 101\n";

    #[test]
    fn messages_are_read_from_the_log() {
        let all = SipMessage::all(LOG);
        assert_eq!(all.iter().filter_map(SipMessage::invited).collect::<Vec<_>>(), ["+15550100150"; 2]);
        assert_eq!(all.iter().filter_map(SipMessage::answered_with).collect::<Vec<_>>(), [6008]);
        assert!(all.iter().all(|message| message.call_id == "a"));
        assert_eq!(all.iter().find_map(SipMessage::caller), Some("+15550100100"));
        assert_eq!(all[0].at_us, Some(67_299_835_487));
    }

    #[test]
    fn a_sound_is_heard_whole_or_not() {
        let sound: Vec<u8> = (0..2000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let media = Media { packets: 20, ulaw: [vec![255; 300], sound.clone(), vec![255; 40]].concat() };
        assert!(media.heard(&sound));
        let mut other = sound;
        other[900] ^= 1;
        assert!(!media.heard(&other));
        assert!(!media.heard(&[]));
    }
}
