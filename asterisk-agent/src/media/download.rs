//! Fetching one file, never more of it than was announced.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use asterism_proto::hash::Hash;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::StatusCode;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::{Digest, Sha256};

/// How long the server may take for the head of its answer, and for each piece after.
const HTTP_TIMEOUT: Duration = Duration::from_secs(20);
const CHUNK_BYTES: usize = 64 * 1024;

/// Fetches `file://` or `http://` into a new file, synced. Returns what came: size and hash.
pub(super) async fn to_file(url: &str, path: &Path, size_max: u64) -> Result<(u64, Hash), String> {
    if let Some(source) = url.strip_prefix("file://") {
        let (source, path) = (Path::new(source).to_owned(), path.to_owned());
        return tokio::task::spawn_blocking(move || copy(&source, &path, size_max))
            .await
            .map_err(|error| error.to_string())?;
    }
    if url.starts_with("http://") {
        return download(url, path, size_max).await;
    }
    Err("its url is neither file:// nor http://".to_owned())
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

async fn download(url: &str, path: &Path, size_max: u64) -> Result<(u64, Hash), String> {
    let uri = url.parse().map_err(|_| "its url cannot be read".to_owned())?;
    let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(HTTP_TIMEOUT, client.get(uri))
        .await
        .map_err(|_| "the server gave no answer".to_owned())?
        .map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the server said {}", answer.status().as_u16()));
    }
    let mut to = File::create(path).map_err(|error| error.to_string())?;
    let mut body = answer.into_body();
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    loop {
        let frame = tokio::time::timeout(HTTP_TIMEOUT, body.frame())
            .await
            .map_err(|_| "the server stopped in the middle".to_owned())?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        size += data.len() as u64;
        if size > size_max {
            return Err("longer than announced".to_owned());
        }
        hasher.update(&data);
        to.write_all(&data).map_err(|error| error.to_string())?;
    }
    to.sync_all().map_err(|error| error.to_string())?;
    Ok((size, hasher.finalize().into()))
}
