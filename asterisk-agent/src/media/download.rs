//! Fetching files, never more of them than was announced.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use asterism_proto::hash::Hash;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::tls::Trust;

/// How long the server may take for its connection, for the head of its answer, and for each piece after.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long all of one file may take.
const FILE_TIMEOUT: Duration = Duration::from_mins(15);
/// Longest time for a bundle; what it did not bring is fetched sound by sound.
const BUNDLE_TIMEOUT: Duration = Duration::from_hours(1);
const CHUNK_BYTES: usize = 64 * 1024;
/// How often a server that asks for patience (5xx, 429) is asked in one order, and the first pause between.
const TRIES_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long an error document is waited for, and how much of it is read.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
const REFUSAL_MAX_BYTES: usize = 4096;

/// Why a file did not come.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody vouches for the server.
    Untrusted(String),
    /// The disk has no room.
    Full,
    /// Anything else.
    Other(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

impl From<&str> for Failure {
    fn from(why: &str) -> Self {
        Self::Other(why.to_owned())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Other(error.to_string()),
        }
    }
}

type Fetched = Result<(u64, Hash), Failure>;

/// How fast bytes may come, over everything that comes at the same time.
pub(super) struct Pace {
    /// How long the server may take for one step.
    pub step_timeout: Duration,
    /// Half of the longest pause after a server's first refusal.
    pub first_pause: Duration,
    bytes_per_s: u64,
    next: Mutex<Instant>,
}

impl Pace {
    /// At most so many bytes a second; 0 is without a bound.
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self {
            step_timeout: STEP_TIMEOUT,
            first_pause: FIRST_PAUSE,
            bytes_per_s,
            next: Mutex::new(Instant::now()),
        }
    }

    /// How long a server that asks for patience is left alone: up to twice as long each time, anything up to that, so that
    /// nodes it refused together do not come back together.
    fn pause(&self, tried: u32) -> Duration {
        let longest = self.first_pause.saturating_mul(1 << tried.min(8));
        let part = getrandom::u32().unwrap_or(u32::MAX / 2); // without randomness all of them wait the same
        longest.mul_f64(f64::from(part) / f64::from(u32::MAX))
    }

    /// Waits until so many more bytes may have come.
    async fn took(&self, bytes: usize) {
        if self.bytes_per_s == 0 {
            return;
        }
        let until = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let micros = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_s;
            *next = (*next).max(Instant::now()) + Duration::from_micros(micros);
            *next
        };
        sleep_until(until).await;
    }
}

/// What comes from an address, piece by piece.
enum Source {
    Http(Incoming, Duration),
    File(tokio::fs::File),
}

impl Source {
    /// `file://`, `http://` or `https://`. A redirect is an answer like any other that is not 200: not followed.
    async fn open(url: &str, trust: &Trust, pace: &Pace) -> Result<Self, Failure> {
        if let Some(path) = url.strip_prefix("file://") {
            let file = tokio::fs::File::open(path).await;
            return Ok(Self::File(file.map_err(|error| format!("cannot read its source: {error}"))?));
        }
        let uri: Uri = url.parse().map_err(|_| "its url cannot be read")?;
        let mut tried = 0;
        loop {
            let failure = match open(&uri, trust, pace.step_timeout).await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    return Ok(Self::Http(answer.into_body(), pace.step_timeout));
                }
                Ok(answer) => {
                    let status = answer.status();
                    let code = refusal(answer.into_body()).await;
                    let why = code.map_or_else(String::new, |code| format!(" ({code})"));
                    let failure = format!("the server said {}{why}", status.as_u16()).into();
                    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                        return Err(failure);
                    }
                    failure
                }
                Err(failure) => return Err(failure),
            };
            tried += 1;
            if tried == TRIES_MAX {
                return Err(failure);
            }
            sleep(pace.pause(tried)).await;
        }
    }

    /// The next piece; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::File(file) => {
                let mut chunk = vec![0; CHUNK_BYTES];
                let count = file.read(&mut chunk).await.map_err(|error| error.to_string())?;
                chunk.truncate(count);
                Ok((count > 0).then(|| chunk.into()))
            }
            Self::Http(body, step) => loop {
                let frame =
                    timeout(*step, body.frame()).await.map_err(|_| "the server stopped in the middle")?;
                let Some(frame) = frame else { return Ok(None) };
                if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
                    return Ok(Some(data));
                }
            },
        }
    }
}

/// The code of S3's error document, like `RequestTimeTooSkewed`: a bounded look, and nothing but letters of it.
pub(crate) async fn refusal(mut body: Incoming) -> Option<String> {
    let mut text = Vec::new();
    let look = async {
        while let Some(Ok(frame)) = body.frame().await {
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if text.len() > REFUSAL_MAX_BYTES {
                break;
            }
        }
    };
    let _ = timeout(REFUSAL_TIMEOUT, look).await; // what came by then is looked at
    let text = String::from_utf8_lossy(&text);
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

/// Fetches one sound into a new file. Returns what came: size and hash. The file is not synced.
pub(super) async fn to_file(url: &str, path: &Path, size_max: u64, trust: &Trust, pace: &Pace) -> Fetched {
    let all = async {
        let mut source = Source::open(url, trust, pace).await?;
        let mut to = File::create(path)?;
        let (mut hasher, mut size) = (Sha256::new(), 0_u64);
        while let Some(data) = source.next().await? {
            size += data.len() as u64;
            if size > size_max {
                return Err("longer than announced".into());
            }
            hasher.update(&data);
            to.write_all(&data)?;
            pace.took(data.len()).await;
        }
        Ok((size, hasher.finalize().into()))
    };
    timeout(FILE_TIMEOUT, all).await.map_err(|_| "it took longer than 15 minutes")?
}

/// Fetches a short document.
pub(super) async fn document(
    url: &str,
    size_max: u64,
    trust: &Trust,
    pace: &Pace,
) -> Result<Vec<u8>, Failure> {
    let all = async {
        let mut source = Source::open(url, trust, pace).await?;
        let mut document = Vec::new();
        while let Some(data) = source.next().await? {
            if (document.len() + data.len()) as u64 > size_max {
                return Err("its document is too long".into());
            }
            document.extend_from_slice(&data);
            pace.took(data.len()).await;
        }
        Ok(document)
    };
    timeout(FILE_TIMEOUT, all).await.map_err(|_| "its document took longer than 15 minutes")?
}

/// One sound of a bundle: how long it is, and where it goes if it is wanted.
pub(super) struct Part {
    pub size_bytes: u64,
    pub to: Option<PathBuf>,
}

/// Fetches a bundle: sounds one behind the other, without anything between. Tells of each wanted one when it is written:
/// its place and its hash.
pub(super) async fn split(
    url: &str,
    parts: &[Part],
    trust: &Trust,
    pace: &Pace,
    mut written: impl FnMut(usize, Hash),
) -> Result<(), Failure> {
    let all = async {
        let mut source = Source::open(url, trust, pace).await?;
        let mut piece = Bytes::new();
        for (at, part) in parts.iter().enumerate() {
            let mut to = part.to.as_ref().map(File::create).transpose()?;
            let (mut hasher, mut left) = (Sha256::new(), part.size_bytes);
            while left > 0 {
                if piece.is_empty() {
                    piece = source.next().await?.ok_or("it is too short")?;
                    pace.took(piece.len()).await;
                }
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                let data = piece.split_to(count);
                left -= count as u64;
                if let Some(to) = &mut to {
                    hasher.update(&data);
                    to.write_all(&data)?;
                }
            }
            if to.is_some() {
                written(at, hasher.finalize().into());
            }
        }
        Ok(())
    };
    timeout(BUNDLE_TIMEOUT, all).await.map_err(|_| "it took longer than an hour")?
}

/// Size and hash of a file that should not be longer than `size_max`.
pub(super) fn hash_file(path: &Path, size_max: u64) -> Result<(u64, Hash), String> {
    let mut source = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let (mut hasher, mut size) = (Sha256::new(), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = source.read(&mut chunk).map_err(|error| error.to_string())?;
        if count == 0 {
            return Ok((size, hasher.finalize().into()));
        }
        size += count as u64;
        if size > size_max {
            return Err("longer than announced".to_owned());
        }
        hasher.update(&chunk[..count]);
    }
}

/// Connects and asks; the head of the answer.
async fn open(uri: &Uri, trust: &Trust, step: Duration) -> Result<Response<Incoming>, Failure> {
    let authority = uri.authority().ok_or("its url names no server")?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::get(target).header(HOST, authority.as_str()).body(Empty::<Bytes>::new());
    exchange(uri, request.map_err(|error| error.to_string())?, trust, (step, step)).await
}

/// Connects within one time, sends a request and waits for the head of the answer for another.
pub(crate) async fn exchange<B>(
    uri: &Uri,
    request: Request<B>,
    trust: &Trust,
    (step, answer): (Duration, Duration),
) -> Result<Response<Incoming>, Failure>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("its url is none of file://, http:// and https://".into()),
    };
    let authority = uri.authority().filter(|named| !named.as_str().contains('@'));
    let authority = authority.ok_or("its url names no server, or a user")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = timeout(step, TcpStream::connect((host, port)))
        .await
        .map_err(|_| "no connection to its server in time")?
        .map_err(|error| format!("no connection to its server: {error}"))?;
    if secure {
        let stream = timeout(step, trust.connect(host, stream))
            .await
            .map_err(|_| "no tls with its server in time")??;
        ask(stream, request, answer).await
    } else {
        ask(stream, request, answer).await
    }
}

async fn ask<S, B>(stream: S, request: Request<B>, step: Duration) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| format!("the connection to its server broke: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the answer's body; what goes wrong on it is seen there.
    tokio::spawn(async move { drop(connection.await) });
    let answer = timeout(step, sender.send_request(request));
    Ok(answer.await.map_err(|_| "the server gave no answer")?.map_err(broken)?)
}
