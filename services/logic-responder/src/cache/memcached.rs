//! memcached: connections that stay, short deadlines, and a rest after each failure.
//!
//! Two commands of its meta protocol are all that is spoken: `mg` with value and time left, `ms` with a time to live. A
//! connection whose request did not come to its end is never used again: what is left on it would answer another.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::shared::{Away, MAX_ENTRY_BYTES, Shared, Value};

/// How long a server that failed is left alone.
const REST: Duration = Duration::from_secs(1);
/// Connections kept to one server.
const MAX_IDLE: usize = 32;
/// Longest line of an answer, in bytes.
const MAX_LINE: u64 = 512;

/// Servers, each with its share of the names.
#[derive(Debug)]
pub struct Memcached {
    servers: Vec<Server>,
    /// Longest wait, connecting included: a caller waits for it.
    limit: Duration,
}

struct Server {
    /// `HOST:PORT` or `unix:///PATH`.
    address: String,
    idle: Mutex<Vec<Connection>>,
    rests_until: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.address).finish()
    }
}

impl Memcached {
    /// Servers as they are configured: `HOST:PORT` or `unix:///PATH`. None is connected to yet.
    pub fn new(servers: &[String], limit: Duration) -> Self {
        let server = |address: &String| Server {
            address: address.clone(),
            idle: Mutex::default(),
            rests_until: Mutex::default(),
        };
        Self { servers: servers.iter().map(server).collect(), limit }
    }

    /// Whose name it is: the same at every replica, and one server less moves only that server's names.
    fn server(&self, name: &str) -> Option<&Server> {
        let weight =
            |server: &Server| Sha256::new().chain_update(&server.address).chain_update(name).finalize();
        self.servers.iter().max_by_key(|server| weight(server))
    }
}

/// What is asked of a server.
#[derive(Clone, Copy)]
enum Request<'a> {
    Get { name: &'a str },
    Set { name: &'a str, value: &'a [u8], for_s: u32 },
}

#[async_trait]
impl Shared for Memcached {
    async fn get(&self, name: &str) -> Result<Option<Value>, Away> {
        self.server(name).ok_or(Away)?.run(self.limit, Request::Get { name }).await
    }

    async fn set(&self, name: &str, value: Vec<u8>, for_s: u32) -> Result<(), Away> {
        if value.len() > MAX_ENTRY_BYTES {
            return Ok(());
        }
        let request = Request::Set { name, value: &value, for_s };
        self.server(name).ok_or(Away)?.run(self.limit, request).await.map(drop)
    }
}

/// A connection.
struct Connection(BufReader<Box<dyn Stream>>);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Connection {
    async fn to(address: &str) -> io::Result<Self> {
        let stream: Box<dyn Stream> = if let Some(path) = address.strip_prefix("unix://") {
            Box::new(UnixStream::connect(path).await?)
        } else {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        };
        Ok(Self(BufReader::new(stream)))
    }

    /// One request and its answer; what was found of what was looked for.
    async fn ask(&mut self, request: Request<'_>) -> io::Result<Option<Value>> {
        let mut bytes = Vec::new();
        match request {
            Request::Get { name } => bytes.extend_from_slice(format!("mg {name} v t\r\n").as_bytes()),
            Request::Set { name, value, for_s } => {
                bytes.extend_from_slice(format!("ms {name} {} T{for_s}\r\n", value.len()).as_bytes());
                bytes.extend_from_slice(value);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.0.write_all(&bytes).await?;
        self.0.flush().await?;
        let mut line = Vec::new();
        (&mut self.0).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        let line = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n"));
        let words: Vec<&str> = line.ok_or_else(|| strange("no line"))?.split(' ').collect();
        match (words.as_slice(), request) {
            // Stored, or there was no room: no harm done.
            (["HD" | "NS" | "SERVER_ERROR", ..], Request::Set { .. }) | (["EN"], Request::Get { .. }) => {
                Ok(None)
            }
            (["VA", size, flags @ ..], Request::Get { .. }) => {
                let size: Option<usize> = size.parse().ok().filter(|size| *size <= MAX_ENTRY_BYTES);
                let mut value = vec![0; size.ok_or_else(|| strange("an entry of no size of ours"))? + 2];
                self.0.read_exact(&mut value).await?;
                if !value.ends_with(b"\r\n") {
                    return Err(strange("an entry without an end"));
                }
                value.truncate(value.len() - 2);
                // -1 stays for ever: none of ours.
                let left = flags.iter().find_map(|flag| flag.strip_prefix('t'));
                Ok(left.and_then(|left| left.parse().ok()).map(|left_s| Value { value, left_s }))
            }
            _ => Err(strange("an answer to something else")),
        }
    }
}

fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Server {
    /// One request in the time there is.
    async fn run(&self, limit: Duration, request: Request<'_>) -> Result<Option<Value>, Away> {
        if self.rests_until().is_some_and(|until| Instant::now() < until) {
            return Err(Away);
        }
        match tokio::time::timeout(limit, self.connected(request)).await {
            Ok(Ok((connection, found))) => {
                self.put(connection);
                return Ok(found);
            }
            Ok(Err(error)) => self.rest(&error.to_string()),
            Err(_) => self.rest(&format!("no answer within {} ms", limit.as_millis())),
        }
        Err(Away)
    }

    /// On a connection that was kept, or a new one. One that was kept and is closed costs one more try: a server that was
    /// started anew has closed them all.
    async fn connected(&self, request: Request<'_>) -> io::Result<(Connection, Option<Value>)> {
        if let Some(mut kept) = self.take() {
            match kept.ask(request).await {
                Ok(found) => return Ok((kept, found)),
                Err(_) => self.forget(),
            }
        }
        let mut connection = Connection::to(&self.address).await?;
        let found = connection.ask(request).await?;
        Ok((connection, found))
    }

    fn rests_until(&self) -> Option<Instant> {
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self, why: &str) {
        let mut rests = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + REST;
        if rests.replace(until).is_none_or(|before| before < Instant::now()) {
            tracing::warn!(server = self.address, why, "memcached does not serve; steps go on without it");
        }
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
