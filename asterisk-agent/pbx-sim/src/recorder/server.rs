//! The recorder itself: many connections, one writer that syncs a group of rings at a time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::file::{Ring, RingCount, RingsFile};
use super::{MAX_CONNECTIONS, MAX_GROUP, MAX_LINE_BYTES, Request};
use crate::Error;

/// How a recorder runs.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The rings file, created if absent, appended otherwise.
    pub out: PathBuf,
}

/// A running recorder. Dropping it stops listening; what was answered `OK` is on disk.
pub struct Recorder {
    addr: SocketAddr,
    count: Arc<Mutex<RingCount>>,
    accept: tokio::task::JoinHandle<()>,
}

type Job = (Ring, oneshot::Sender<bool>);

impl Recorder {
    /// Opens the file and starts listening, on the runtime that calls.
    pub async fn start(config: &RecorderConfig) -> Result<Self, Error> {
        let file = RingsFile::open(&config.out)?;
        let count = Arc::new(Mutex::new(file.counter.count()));
        let listener = TcpListener::bind(config.listen).await.map_err(|source| Error::Listen {
            what: "carrier recorder",
            addr: config.listen,
            source,
        })?;
        let addr = listener.local_addr().map_err(Error::Socket)?;
        let (jobs, queue) = mpsc::channel(MAX_GROUP);
        let writer_count = Arc::clone(&count);
        std::thread::Builder::new()
            .name("rings".into())
            .spawn(move || write_groups(file, queue, &writer_count))
            .map_err(Error::Socket)?;
        let accept = tokio::spawn(accept(listener, jobs, Arc::clone(&count)));
        Ok(Self { addr, count, accept })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What is on disk.
    pub fn count(&self) -> RingCount {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// Takes whatever waits, writes it with one sync, then answers each.
fn write_groups(mut file: RingsFile, mut queue: mpsc::Receiver<Job>, count: &Mutex<RingCount>) {
    while let Some((ring, answer)) = queue.blocking_recv() {
        let (mut rings, mut answers) = (vec![ring], vec![answer]);
        while rings.len() < MAX_GROUP {
            let Ok((ring, answer)) = queue.try_recv() else { break };
            rings.push(ring);
            answers.push(answer);
        }
        let written = file.append(&rings);
        if let Err(error) = &written {
            tracing::error!(%error, rings = rings.len(), "rings refused");
        }
        *count.lock().unwrap_or_else(PoisonError::into_inner) = file.counter.count();
        for answer in answers {
            let _ = answer.send(written.is_ok()); // the connection may be gone
        }
    }
}

async fn accept(listener: TcpListener, jobs: mpsc::Sender<Job>, count: Arc<Mutex<RingCount>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new(); // dropped with this task: no connection outlives the recorder
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(crate::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (jobs, count) = (jobs.clone(), Arc::clone(&count));
        connections.spawn(async move {
            if let Err(error) = serve(stream, &jobs, &count).await {
                tracing::debug!(%error, "connection to the recorder ended");
            }
            drop(place);
        });
    }
}

/// Reads requests and answers them in order; a reader never waits for a sync before it takes the next ring.
async fn serve(stream: TcpStream, jobs: &mpsc::Sender<Job>, count: &Mutex<RingCount>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let (answers, mut promised) = mpsc::channel::<Answer>(MAX_GROUP);
    let reading = read_requests(BufReader::with_capacity(1024, reader), jobs, &answers);
    let writing = async {
        while let Some(answer) = promised.recv().await {
            let text = match answer {
                Answer::Ring(done) => match done.await {
                    Ok(true) => "OK\n".to_owned(),
                    _ => "ERR not written\n".to_owned(),
                },
                Answer::Count => {
                    let c = *count.lock().unwrap_or_else(PoisonError::into_inner);
                    format!("{} {} {}\n", c.rings, c.attempts, c.double_rings)
                }
                Answer::Bad => "ERR not a request\n".to_owned(),
            };
            writer.write_all(text.as_bytes()).await?;
        }
        Ok(())
    };
    tokio::pin!(writing);
    tokio::select! {
        result = &mut writing => return result,
        result = reading => result?,
    }
    drop(answers);
    writing.await
}

enum Answer {
    Ring(oneshot::Receiver<bool>),
    Count,
    Bad,
}

async fn read_requests(
    mut reader: BufReader<tokio::net::tcp::OwnedReadHalf>,
    jobs: &mpsc::Sender<Job>,
    answers: &mpsc::Sender<Answer>,
) -> std::io::Result<()> {
    let mut line = Vec::with_capacity(MAX_LINE_BYTES);
    loop {
        line.clear();
        (&mut reader).take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line).await?;
        let Some(text) = line.strip_suffix(b"\n") else {
            if !line.is_empty() {
                let _ = answers.send(Answer::Bad).await; // too long or cut off: this peer speaks something else
            }
            return Ok(());
        };
        let answer = match std::str::from_utf8(text).map(str::trim_end).map(Request::parse) {
            Ok(Ok(Request::Count)) => Answer::Count,
            Ok(Ok(Request::Ring { attempt_id, number, node })) => {
                let (done, written) = oneshot::channel();
                let ring = Ring { unix_ms: unix_ms(), attempt_id, number, node };
                if jobs.send((ring, done)).await.is_err() {
                    return Ok(());
                }
                Answer::Ring(written)
            }
            _ => Answer::Bad,
        };
        if answers.send(answer).await.is_err() {
            return Ok(());
        }
    }
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
