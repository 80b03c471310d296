//! A node's side of the recorder: one connection, rings sent without waiting for one another's sync.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::MAX_GROUP;
use crate::Error;

/// How long a ring may take from being sent to its `OK`.
const RING_DEADLINE: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 128;

type Job = (String, oneshot::Sender<bool>);

/// Reports rings to the recorder; cheap to clone. Connects on the first ring and again after a failure.
#[derive(Debug, Clone)]
pub struct RecorderClient {
    jobs: mpsc::Sender<Job>,
}

impl RecorderClient {
    /// A client on the runtime that calls; it ends when the last clone is dropped.
    pub fn new(addr: SocketAddr) -> Self {
        let (jobs, queue) = mpsc::channel(MAX_GROUP);
        tokio::spawn(run(addr, queue));
        Self { jobs }
    }

    /// Reports a ring and returns once it is on the recorder's disk.
    ///
    /// [`Error::NotRecorded`] means the ring may or may not be recorded: it must not happen.
    pub async fn ring(&self, attempt_id: &str, number: &str, node: &str) -> Result<(), Error> {
        let (done, recorded) = oneshot::channel();
        let line = format!("RING {attempt_id} {number} {node}\n");
        let answer = tokio::time::timeout(RING_DEADLINE, async {
            self.jobs.send((line, done)).await.ok()?;
            recorded.await.ok()
        });
        match answer.await {
            Ok(Some(true)) => Ok(()),
            _ => Err(Error::NotRecorded),
        }
    }
}

/// One connection after the other; a ring that was on a broken one fails and is never sent again.
async fn run(addr: SocketAddr, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.recv().await {
        let connected = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(addr)).await;
        let Ok(Ok(stream)) = connected else {
            tracing::warn!(%addr, "carrier recorder not reachable, ring refused");
            continue; // dropping the ring's channel tells the caller
        };
        if let Err(error) = converse(stream, first, &mut queue).await {
            tracing::warn!(%addr, %error, "connection to the carrier recorder lost");
        }
    }
}

async fn converse(stream: TcpStream, first: Job, queue: &mut mpsc::Receiver<Job>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(256, reader);
    let mut waiting: VecDeque<oneshot::Sender<bool>> = VecDeque::new();
    let mut answer = Vec::new();
    let mut next = Some(first);
    loop {
        if let Some((line, done)) = next.take() {
            writer.write_all(line.as_bytes()).await?;
            waiting.push_back(done);
        }
        let mut limited = (&mut reader).take(MAX_ANSWER_BYTES - answer.len() as u64);
        tokio::select! {
            job = queue.recv(), if waiting.len() < MAX_GROUP => match job {
                Some(job) => next = Some(job),
                None => return Ok(()), // no caller is left, so nobody waits for an answer
            },
            // read_until keeps what it read in `answer` when it is cancelled here
            read = limited.read_until(b'\n', &mut answer) => {
                read?;
                if answer.last() != Some(&b'\n') {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                let Some(done) = waiting.pop_front() else {
                    return Err(std::io::ErrorKind::InvalidData.into());
                };
                let _ = done.send(answer == b"OK\n"); // the caller may have given up
                answer.clear();
            }
        }
    }
}
