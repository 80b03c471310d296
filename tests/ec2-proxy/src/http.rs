//! One request a connection, read and answered; bounded.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for bytes.
const IO_WAIT: Duration = Duration::from_secs(60);
/// Longest head and longest body, bytes.
const MAX_BYTES: usize = 1 << 20;

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `PUT` or `POST`.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Its head's lines after the first.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Request {
    /// A header's value; empty without one. `name` in lower case.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Reads a request; `None` if it is none.
pub fn read(client: &mut TcpStream) -> Option<Request> {
    client.set_read_timeout(Some(IO_WAIT)).ok()?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16_384]);
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        let n = client.read(&mut buffer).ok().filter(|n| *n > 0 && bytes.len() < MAX_BYTES)?;
        bytes.extend_from_slice(&buffer[..n]);
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, path, headers, body: String::new() };
    let length: usize = request.header("content-length").parse().unwrap_or(0);
    while bytes.len() < head_end + 4 + length.min(MAX_BYTES) {
        let n = client.read(&mut buffer).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&buffer[..n]);
    }
    request.body = String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned();
    Some(request)
}

/// Writes an answer; `cut` after so many bytes of its body.
pub fn write(client: &mut TcpStream, answer: &Answer, cut: Option<usize>) {
    let Answer { status, body } = answer;
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let bytes = body.as_bytes();
    let _ = client.write_all(head.as_bytes());
    let _ = client.write_all(&bytes[..cut.unwrap_or(bytes.len()).min(bytes.len())]);
}

/// Asks the server behind for an EC2 action and reads until it closes. Unsigned: moto takes anything.
pub fn ask(port: u16, region: &str, form: &str) -> Option<Answer> {
    let request = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=t/20260101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n{form}",
        form.len()
    );
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    server.set_read_timeout(Some(IO_WAIT)).ok()?;
    server.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
