//! Fetching one file, never more of it than was announced.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use asterism_proto::hash::Hash;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls::Trust;

/// How long the server may take for its connection, for the head of its answer, and for each piece after.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long all of one file may take.
const FILE_TIMEOUT: Duration = Duration::from_mins(15);
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a file did not come.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody vouches for the server.
    Untrusted(String),
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

type Fetched = Result<(u64, Hash), Failure>;

/// Fetches `file://`, `http://` or `https://` into a new file, synced. Returns what came: size and hash. A redirect is
/// an answer like any other that is not 200: not followed.
pub(super) async fn to_file(url: &str, path: &Path, size_max: u64, trust: &Trust) -> Fetched {
    if let Some(source) = url.strip_prefix("file://") {
        let (source, path) = (Path::new(source).to_owned(), path.to_owned());
        let copied = tokio::task::spawn_blocking(move || copy(&source, &path, size_max)).await;
        return Ok(copied.map_err(|error| error.to_string())??);
    }
    let uri: Uri = url.parse().map_err(|_| "its url cannot be read")?;
    timeout(FILE_TIMEOUT, download(&uri, path, size_max, trust))
        .await
        .map_err(|_| "it took longer than 15 minutes")?
}

/// Size and hash of a file that should not be longer than `size_max`.
pub(super) fn hash_file(path: &Path, size_max: u64) -> Result<(u64, Hash), String> {
    let mut source = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    pump(&mut source, None, size_max)
}

fn copy(source: &Path, path: &Path, size_max: u64) -> Result<(u64, Hash), String> {
    let mut from = File::open(source).map_err(|error| format!("cannot read its source: {error}"))?;
    let mut to = File::create(path).map_err(|error| error.to_string())?;
    let done = pump(&mut from, Some(&mut to), size_max)?;
    to.sync_all().map_err(|error| error.to_string())?;
    Ok(done)
}

fn pump(from: &mut File, mut to: Option<&mut File>, size_max: u64) -> Result<(u64, Hash), String> {
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk).map_err(|error| error.to_string())?;
        if count == 0 {
            return Ok((size, hasher.finalize().into()));
        }
        size += count as u64;
        if size > size_max {
            return Err("longer than announced".to_owned());
        }
        hasher.update(&chunk[..count]);
        if let Some(to) = &mut to {
            to.write_all(&chunk[..count]).map_err(|error| error.to_string())?;
        }
    }
}

async fn download(uri: &Uri, path: &Path, size_max: u64, trust: &Trust) -> Fetched {
    let answer = open(uri, trust).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the server said {}", answer.status().as_u16()).into());
    }
    let mut to = File::create(path).map_err(|error| error.to_string())?;
    let mut body = answer.into_body();
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    loop {
        let frame =
            timeout(STEP_TIMEOUT, body.frame()).await.map_err(|_| "the server stopped in the middle")?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        size += data.len() as u64;
        if size > size_max {
            return Err("longer than announced".into());
        }
        hasher.update(&data);
        to.write_all(&data).map_err(|error| error.to_string())?;
    }
    to.sync_all().map_err(|error| error.to_string())?;
    Ok((size, hasher.finalize().into()))
}

/// Connects and asks; the head of the answer.
async fn open(uri: &Uri, trust: &Trust) -> Result<Response<Incoming>, Failure> {
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("its url is none of file://, http:// and https://".into()),
    };
    let authority = uri.authority().filter(|named| !named.as_str().contains('@'));
    let authority = authority.ok_or("its url names no server, or a user")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = timeout(STEP_TIMEOUT, TcpStream::connect((host, port)))
        .await
        .map_err(|_| "no connection to its server within 20 s")?
        .map_err(|error| format!("no connection to its server: {error}"))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::get(target).header(HOST, authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    if secure {
        let stream = timeout(STEP_TIMEOUT, trust.connect(host, stream))
            .await
            .map_err(|_| "no tls with its server within 20 s")??;
        ask(stream, request).await
    } else {
        ask(stream, request).await
    }
}

async fn ask<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("the connection to its server broke: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the answer's body; what goes wrong on it is seen there.
    tokio::spawn(async move { drop(connection.await) });
    let answer = timeout(STEP_TIMEOUT, sender.send_request(request));
    Ok(answer.await.map_err(|_| "the server gave no answer")?.map_err(broken)?)
}
