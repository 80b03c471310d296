//! One file to one address: by PUT, or, where the store is a folder of this machine, beside its place and then there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use asterism_nats::crash;
use asterism_proto::v1;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{Request, Uri};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::send::Unsent;
use super::{CHUNK_BYTES, seal};
use crate::machine::Made;
use crate::media::{self, Trust};

/// How long the server may take for its connection, and for its answer once all is sent.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long all of one file may take.
const FILE_TIMEOUT: Duration = Duration::from_mins(15);
const CHANGED: &str = "its file is no longer what was recorded";

/// Sends the file if it still is what the log was told.
pub(super) async fn put(
    place: &v1::RecordingPlace,
    path: &Path,
    made: &Made,
    trust: &Trust,
) -> Result<(), Unsent> {
    check(path, made).await?;
    let sent = async {
        match place.url.strip_prefix("file://") {
            Some(to) => to_folder(&folder_place(to, path, made)?, path).await,
            None => to_server(place, path, made, trust).await,
        }
    };
    timeout(FILE_TIMEOUT, sent).await.map_err(|_| "it took longer than 15 minutes")?
}

/// Nothing but a recording's own place is ever written, whoever named it.
fn folder_place(url: &str, path: &Path, made: &Made) -> Result<PathBuf, Unsent> {
    let to = media::path_of_url(url).ok_or("its address cannot be read")?;
    let name = path.file_name().and_then(|file| file.to_str()).and_then(seal::name_of).unwrap_or_default();
    let own = format!("{name}-{}.wav", hex::encode(&made.sha256[..8]));
    let straight = to.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    let named = to.file_name().and_then(|file| file.to_str()) == Some(own.as_str());
    let among = to.components().any(|part| part.as_os_str() == "recordings");
    if straight && named && among && to.is_absolute() {
        Ok(to)
    } else {
        Err("its address is no recording's".into())
    }
}

async fn check(path: &Path, made: &Made) -> Result<(), Unsent> {
    let mut file = open(path).await?;
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        let count = file.read(&mut chunk).await.map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        hasher.update(&chunk[..count]);
    }
    if hasher.finalize().as_slice() == made.sha256 { Ok(()) } else { Err(Unsent::Gone(CHANGED.to_owned())) }
}

async fn open(path: &Path) -> Result<File, Unsent> {
    File::open(path).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unsent::Gone("its file is gone".to_owned()),
        _ => Unsent::Later(format!("its file cannot be read: {error}")),
    })
}

/// The store is a folder: whole or absent, and synced, as its own writer does it.
async fn to_folder(to: &Path, path: &Path) -> Result<(), Unsent> {
    let failed = |error: std::io::Error| Unsent::Later(format!("the store's folder: {error}"));
    let parent = to.parent().ok_or("its address has no folder")?;
    tokio::fs::create_dir_all(parent).await.map_err(failed)?;
    let mut beside = PathBuf::from(to);
    beside.set_extension("part");
    let mut file = File::create(&beside).await.map_err(failed)?;
    let mut from = open(path).await?;
    tokio::io::copy(&mut from, &mut file).await.map_err(failed)?;
    file.flush().await.map_err(failed)?;
    file.sync_all().await.map_err(failed)?;
    crash::point("recording.half");
    tokio::fs::rename(&beside, to).await.map_err(failed)?;
    let parent = File::open(parent).await.map_err(failed)?;
    parent.sync_all().await.map_err(failed)
}

async fn to_server(
    place: &v1::RecordingPlace,
    path: &Path,
    made: &Made,
    trust: &Trust,
) -> Result<(), Unsent> {
    let uri: Uri = place.url.parse().map_err(|_| "its address cannot be read")?;
    let authority = uri.authority().ok_or("its address names no server")?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::put(target).header(HOST, authority.as_str());
    for header in place.headers.iter().filter(|header| !is_ours(&header.name)) {
        request = request.header(header.name.as_str(), header.value.as_str());
    }
    let file = open(path).await?;
    let body = StreamBody::new(stream::try_unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk).await?;
        chunk.truncate(count);
        crash::point("recording.half");
        Ok::<_, std::io::Error>((count > 0).then(|| (Frame::data(Bytes::from(chunk)), file)))
    }));
    let request = request.header(CONTENT_LENGTH, made.size_bytes).body(Box::pin(body));
    let request = request.map_err(|error| error.to_string())?;
    let answer = media::exchange(&uri, request, trust, (STEP_TIMEOUT, FILE_TIMEOUT)).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let code = media::refusal(answer.into_body()).await;
    let why = code.map_or_else(String::new, |code| format!(" ({code})"));
    Err(format!("the store said {}{why}", status.as_u16()).into())
}

/// Headers that follow from the request itself.
fn is_ours(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case("content-length")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_but_a_recordings_own_place_is_written() {
        let made = Made { sha256: [0xab; 32], size_bytes: 1, duration_ms: 0 };
        let place = |url: &str| folder_place(url, Path::new("/spool/c-0-1-2.wav"), &made);
        let good = "/store%20one/recordings/demo-1/c/c-0-1-2-abababababababab.wav";
        assert_eq!(place(good).unwrap(), Path::new(&good.replace("%20", " ")));
        for bad in [
            "/etc/passwd",
            "/store/recordings/c-0-1-3-abababababababab.wav",
            "/store/recordings/../../c-0-1-2-abababababababab.wav",
            "recordings/c-0-1-2-abababababababab.wav",
            "/store/c-0-1-2-abababababababab.wav",
            "/store/recordings/c-0-1-2-abababababababab.wav%2",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
