//! A program that asks the dialer by HTTP, as little as is needed: one request, one answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// Where calls are taken, and the token that lets one in.
#[derive(Debug, Clone)]
pub struct Api {
    /// The port of loopback.
    pub port: u16,
    /// The token.
    pub token: String,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The JSON of the body; null if it has none.
    pub json: Value,
}

impl Api {
    /// A whole request.
    ///
    /// # Panics
    /// Nothing answers there, or no HTTP.
    pub fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (headers, length) = (headers.concat(), body.len());
        let request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        // A server that has refused may close before the body is all there.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}"));
        Answered {
            status: status.parse().unwrap(),
            head: head.to_ascii_lowercase(),
            json: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    /// `POST /calls` with the token.
    pub fn post(&self, key: &str, body: &Value) -> Answered {
        let token = format!("Bearer {}", self.token);
        self.ask("POST /calls", &[("authorization", &token), ("idempotency-key", key)], &body.to_string())
    }
}
