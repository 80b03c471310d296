//! An S3 server in this process, on a folder and on loopback only: what `asterism up` offers its own S3 client, so
//! that one machine runs the path a fleet runs.
//!
//! The server is `s3s` on `s3s-fs`, and gives less than S3 does. What we add: a write has the folder for itself, since
//! theirs looks first and writes then, in two files, so that of two that create an object both would win, and a reader
//! could see new bytes with the old hash; and it is answered only when its file and folders are synced. What is still
//! lacking: an object's name is there before its bytes are synced. After a power cut such an object can be short; whoever
//! reads it by its hash finds out ([`crate::Error::WrongContent`]).

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::IF_NONE_MATCH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, HttpResponse};
use s3s_fs::FileSystem;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{RwLock, Semaphore};
use tokio::task::{AbortHandle, JoinSet};

use crate::Error;
use crate::location::is_bucket;

/// Connections served at once; others wait.
const MAX_CONNECTIONS: usize = 256;
/// How long after a connection that could not be taken the next is asked for.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a write may take, its body included: it keeps everybody else waiting.
const WRITE_TIMEOUT: Duration = Duration::from_mins(2);
/// What the signatures name as region.
const REGION: &str = "local";

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub struct FolderServer {
    port: u16,
    bucket: String,
    accepting: AbortHandle,
}

/// What every connection shares.
struct Shared {
    service: S3Service,
    root: PathBuf,
    files: RwLock<()>,
}

impl FolderServer {
    /// Serves the bucket `bucket`, the folder of that name below `root` (made when missing), to whoever signs with the
    /// key `id` and `secret`, on a free port of loopback.
    ///
    /// # Errors
    /// `BadUrl` for a name no bucket has, `Io` when the folder cannot be made or read, or no port is free.
    pub async fn start(root: &Path, bucket: &str, id: &str, secret: &str) -> Result<Self, Error> {
        if !is_bucket(bucket) {
            let why = "the bucket's name is not 3-63 of a-z, 0-9, '.' and '-'".to_owned();
            return Err(Error::BadUrl { url: format!("s3://{bucket}"), why });
        }
        let failed = |action: &'static str| {
            let what = root.display().to_string();
            move |source| Error::Io { action, what, source }
        };
        tokio::fs::create_dir_all(root.join(bucket)).await.map_err(failed("making the bucket below"))?;
        let files = FileSystem::new(root)
            .map_err(|error| failed("opening the folder")(io::Error::other(format!("{error:?}"))))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(id, secret));
        let shared =
            Arc::new(Shared { service: builder.build(), root: root.to_owned(), files: RwLock::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed("listening for"))?;
        let port = listener.local_addr().map_err(failed("listening for"))?.port();
        let accepting = tokio::spawn(accept(listener, shared)).abort_handle();
        Ok(Self { port, bucket: bucket.to_owned(), accepting })
    }

    /// The bucket's address for [`crate::open_with`].
    pub fn url(&self) -> String {
        format!("s3://{}?region={REGION}&endpoint=http://127.0.0.1:{}", self.bucket, self.port)
    }
}

impl Drop for FolderServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes connections until it is aborted; they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: asking again at once would only burn the processor.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            serve(stream, shared).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let answer = service_fn(move |request| answer(Arc::clone(&shared), request));
    // How a client's connection ends is the client's to know.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        // A body that is sent later is that of the file opened here.
        let _whole = shared.files.read().await;
        let asked = plain(request.uri().path());
        let answer = shared.service.call(request.map(s3s::Body::from)).await?;
        // The server takes a folder for an object that it cannot read, and clients ask on for minutes after a 500.
        let is_folder = asked.components().count() > 1 && shared.root.join(asked).is_dir();
        let failed = answer.status() == StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(if failed && is_folder { absent() } else { answer });
    }
    let patience = tokio::time::timeout(WRITE_TIMEOUT, write(&shared, request)).await;
    patience.unwrap_or_else(|_| Err(HttpError::new("the body of a write did not arrive in time".into())))
}

async fn write(shared: &Shared, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
    let written = shared.root.join(plain(request.uri().path()));
    let _one_at_a_time = shared.files.write().await;
    if request.headers().contains_key(IF_NONE_MATCH) && written.is_file() {
        return Ok(exists()); // the server forgets to look when an object comes in parts
    }
    let answer = shared.service.call(request.map(s3s::Body::from)).await?;
    if answer.status().is_success() {
        let root = shared.root.clone();
        let synced = tokio::task::spawn_blocking(move || sync(&root, &written)).await;
        synced.map_err(io::Error::other).flatten().map_err(|error| HttpError::new(Box::new(error)))?;
    }
    Ok(answer)
}

fn exists() -> HttpResponse {
    let body =
        "<Error><Code>PreconditionFailed</Code><Message>The object exists.</Message></Error>".to_owned();
    let mut answer = HttpResponse::new(s3s::Body::from(body));
    *answer.status_mut() = StatusCode::PRECONDITION_FAILED;
    answer
}

fn absent() -> HttpResponse {
    let body = "<Error><Code>NoSuchKey</Code><Message>There is no such object.</Message></Error>".to_owned();
    let mut answer = HttpResponse::new(s3s::Body::from(body));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

/// The path as a path below the root, without steps that lead out of it. Names of ours need no percent signs.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Syncs what was written, where it is a file, and the folders that lead to it.
fn sync(root: &Path, written: &Path) -> io::Result<()> {
    for path in written.ancestors().take_while(|path| path.starts_with(root)) {
        match std::fs::File::open(path) {
            Ok(file) => file.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
