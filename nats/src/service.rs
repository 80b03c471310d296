//! Answering requests as a NATS service: `$SRV.PING`, `INFO` and `STATS` are answered by the client library.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::service::{Request, ServiceExt};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::bus::Bus;
use crate::crash;
use crate::error::Error;
use crate::subject::Subject;

/// How long what was written last may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The right to answer one request now.
type Slot = Result<OwnedSemaphorePermit, AcquireError>;

/// What a service is called and where it listens.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Name: letters, digits, `-` and `_`.
    pub name: String,
    /// Version `x.y.z`.
    pub version: String,
    /// One sentence for people.
    pub description: String,
    /// Where requests come.
    pub subject: Subject,
    /// Processes of one queue group share the requests.
    pub queue: String,
    /// Requests answered at the same time; the next ones wait in the subscription.
    pub concurrency: usize,
}

/// An error answer: a number and a reason the asker sees.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({code})")]
pub struct ServiceError {
    /// Like HTTP: 400 for the asker's fault, 500 for ours, 503 for later.
    pub code: u16,
    /// The reason in one phrase.
    pub reason: String,
}

/// A running service. Dropping it stops it at once; [`ServiceHandle::stop`] answers what it has taken first.
pub struct ServiceHandle {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    answered: Arc<AtomicU64>,
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle").field("handled", &self.handled()).finish_non_exhaustive()
    }
}

impl ServiceHandle {
    /// Requests answered so far.
    pub fn handled(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Takes no more requests, answers those taken, and ends.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for ServiceHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts answering. The handler gets the request's bytes; a request without a reply inbox never reaches it.
///
/// # Errors
/// AST-N040 when the client refuses the name, the version or the subject.
pub async fn serve<H, F>(bus: &Bus, spec: ServiceSpec, handler: H) -> Result<ServiceHandle, Error>
where
    H: Fn(Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<u8>, ServiceError>> + Send + 'static,
{
    let refused =
        |error: async_nats::Error| Error::Service { name: spec.name.clone(), reason: error.to_string() };
    let service = bus
        .client
        .service_builder()
        .description(&spec.description)
        .queue_group(&spec.queue)
        .start(spec.name.clone(), spec.version.clone())
        .await
        .map_err(refused)?;
    let endpoint = service.endpoint(spec.subject.as_str()).await.map_err(refused)?;
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, bus.client.flush()).await;
    let (stop_tx, stop) = oneshot::channel();
    let answered = Arc::new(AtomicU64::new(0));
    let work = Work { bus: bus.clone(), handler: Arc::new(handler), answered: Arc::clone(&answered) };
    let task = tokio::spawn(work.run(service, endpoint, spec.concurrency, stop));
    Ok(ServiceHandle { stop: Some(stop_tx), task, answered })
}

struct Work<H> {
    bus: Bus,
    handler: Arc<H>,
    answered: Arc<AtomicU64>,
}

impl<H, F> Work<H>
where
    H: Fn(Bytes) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Vec<u8>, ServiceError>> + Send + 'static,
{
    async fn run(
        self,
        service: async_nats::service::Service,
        mut endpoint: async_nats::service::endpoint::Endpoint,
        concurrency: usize,
        mut stop: oneshot::Receiver<()>,
    ) {
        let slots = Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        let mut answering = JoinSet::new();
        loop {
            let slot = tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => slot,
                _ = &mut stop => break,
            };
            let request = tokio::select! {
                request = endpoint.next() => request,
                Some(_) = answering.join_next(), if !answering.is_empty() => continue,
                _ = &mut stop => break,
            };
            let Some(request) = request else { break };
            self.answer(request, slot, &mut answering);
        }
        let _ = endpoint.stop().await;
        // What was received before the stop is answered too.
        while let Some(request) = endpoint.next().await {
            let slot = Arc::clone(&slots).acquire_owned().await;
            self.answer(request, slot, &mut answering);
        }
        while answering.join_next().await.is_some() {}
        let _ = service.stop().await;
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, self.bus.client.flush()).await;
    }

    fn answer(&self, request: Request, slot: Slot, answering: &mut JoinSet<()>) {
        let reply = request.message.reply.as_deref().unwrap_or_default();
        if self.bus.may_reply(reply).is_err() {
            return;
        }
        let answer = (self.handler)(request.message.payload.clone());
        let (answered, bus) = (Arc::clone(&self.answered), self.bus.clone());
        answering.spawn(async move {
            let answer = answer.await.map(Bytes::from).map_err(|error| async_nats::service::error::Error {
                status: error.reason.replace(['\r', '\n'], " "),
                code: usize::from(error.code),
            });
            let sent = request.respond(answer).await;
            if crash::listens() && bus.flush().await.is_ok() {
                crash::point("answer.sent");
            }
            if let Err(error) = sent {
                tracing::debug!(%error, "an answer could not be sent");
            }
            answered.fetch_add(1, Ordering::Relaxed);
            drop(slot);
        });
    }
}
