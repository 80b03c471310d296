//! A moto server (EC2 and S3 on this machine) and a front that spoils chosen requests on their way to it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the server may take to start; Python is slow on a busy machine.
const START_WAIT: Duration = Duration::from_mins(1);
const IO_WAIT: Duration = Duration::from_secs(30);

/// A running moto server, killed on drop.
pub struct Moto {
    child: Child,
    pub port: u16,
}

impl Moto {
    /// Starts the server that `ASTERISM_MOTO_SERVER` names. Without it the test is written into the skip file,
    /// or fails if there is none.
    pub fn start(test: &str) -> Option<Self> {
        let Some(server) = std::env::var_os("ASTERISM_MOTO_SERVER") else {
            let line = format!("SKIPPED {test}: no moto_server: run tests/setup/moto.sh");
            let file = std::env::var_os("ASTERISM_SKIP_FILE");
            assert!(file.is_some(), "{line}; with ASTERISM_SKIP_FILE=FILE it is written down there instead");
            eprintln!("{line}");
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file.unwrap()).unwrap();
            writeln!(file, "{line}").unwrap();
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(server)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut moto = Self { child, port };
        let deadline = Instant::now() + START_WAIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(moto.child.try_wait().unwrap().is_none(), "moto_server ended at once");
            assert!(Instant::now() < deadline, "moto_server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(moto)
    }

    /// Makes a bucket in the region the tests use.
    pub fn make_bucket(&self, bucket: &str) {
        let body = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint>\
                    </CreateBucketConfiguration>";
        let answer = self.ask("PUT", &format!("/{bucket}"), "s3", body);
        assert!(!answer.contains("Error"), "{answer}");
    }

    /// One unsigned request past our own client; gives back the body.
    pub fn ask(&self, method: &str, path: &str, service: &str, body: &str) -> String {
        let kind =
            if service == "s3" { "application/octet-stream" } else { "application/x-www-form-urlencoded" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: {kind}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=t/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
            self.port,
            body.len()
        );
        let answer = exchange(self.port, [head.as_bytes(), body.as_bytes()].concat().as_slice());
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It goes through.
    Pass,
    /// It never reaches the server; this status and body come back.
    Answer(u16, &'static str),
    /// It reaches the server, and its answer is lost.
    LoseAnswer,
    /// It reaches the server, and its answer is cut after so many bytes of body.
    CutBody(usize),
    /// It reaches the server, and this comes back in place of the body, which must be as long.
    SwapBody(&'static str),
}

/// A front before the server. Each request uses up one planned fault; without one it passes.
pub struct Front {
    pub port: u16,
    plan: Arc<Mutex<VecDeque<Fault>>>,
    lost: Arc<Mutex<Option<&'static str>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Front {
    pub fn before(moto: &Moto) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let front = Self { port, plan: Arc::default(), lost: Arc::default(), seen: Arc::default() };
        let (plan, lost) = (Arc::clone(&front.plan), Arc::clone(&front.lost));
        let (seen, upstream) = (Arc::clone(&front.seen), moto.port);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (plan, lost, seen) = (Arc::clone(&plan), Arc::clone(&lost), Arc::clone(&seen));
                std::thread::spawn(move || serve(client, upstream, &plan, &lost, &seen));
            }
        });
        front
    }

    /// Plans what happens to the next requests.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.plan.lock().unwrap().extend(faults);
    }

    /// Loses the answer of the next request that holds this text, wherever it stands among others.
    pub fn lose_answer_of(&self, text: &'static str) {
        *self.lost.lock().unwrap() = Some(text);
    }

    /// The requests so far: head and body as text; forgets them.
    pub fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(
    mut client: TcpStream,
    upstream: u16,
    plan: &Mutex<VecDeque<Fault>>,
    lost: &Mutex<Option<&'static str>>,
    seen: &Mutex<Vec<String>>,
) {
    let _ = client.set_read_timeout(Some(IO_WAIT));
    let Some(request) = read_request(&mut client) else { return };
    let text = String::from_utf8_lossy(&request).into_owned();
    let is_lost = lost.lock().unwrap().take_if(|part| text.contains(*part)).is_some();
    seen.lock().unwrap().push(text);
    let planned = plan.lock().unwrap().pop_front().unwrap_or(Fault::Pass);
    let fault = if is_lost { Fault::LoseAnswer } else { planned };
    let answer = match fault {
        Fault::Answer(status, body) => format!(
            "HTTP/1.1 {status} Planned\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
        Fault::Pass => exchange(upstream, &request),
        Fault::LoseAnswer => {
            exchange(upstream, &request);
            Vec::new()
        }
        Fault::CutBody(kept) => {
            let mut answer = exchange(upstream, &request);
            let body = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
            answer.truncate(body + kept);
            answer
        }
        Fault::SwapBody(text) => {
            let mut answer = exchange(upstream, &request);
            answer.truncate(answer.len() - text.len());
            answer.extend_from_slice(text.as_bytes());
            answer
        }
    };
    let _ = client.write_all(&answer);
}

/// Reads one request and asks for the connection to be closed after it.
fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16_384]);
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let n = client.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length = head
        .lines()
        .find_map(|l| {
            l.to_ascii_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse::<usize>())
        })
        .and_then(Result::ok)
        .unwrap_or(0);
    while bytes.len() < head_end + 4 + length {
        let n = client.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
    }
    let kept = head.lines().filter(|l| !l.to_ascii_lowercase().starts_with("connection:"));
    let mut request = kept.collect::<Vec<_>>().join("\r\n").into_bytes();
    request.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
    request.extend_from_slice(&bytes[head_end + 4..]);
    Some(request)
}

/// Sends bytes and reads until the other side closes.
fn exchange(port: u16, request: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    server.set_read_timeout(Some(IO_WAIT)).unwrap();
    server.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = server.read_to_end(&mut answer);
    answer
}
