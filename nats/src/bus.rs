//! One connection to the bus: publish, subscribe, request, respond.
//!
//! The client reconnects for ever by itself. [`Bus::connects`] counts each time it did, so that readers can look again at
//! what they believe.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, RequestErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;

use crate::connect;
use crate::error::Error;
use crate::secret::Secret;
use crate::subject::{self, Subject};

/// How long one connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent link is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Longest pause between two attempts to reconnect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Longest pause between two attempts of [`Bus::connect_waiting`].
const WAIT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a request waits for a link that is down, before it says so.
const LINK_WAIT: Duration = Duration::from_millis(250);
/// Messages a subscription holds for a slow receiver; what comes beyond is dropped and counted.
const SUBSCRIPTION_CAPACITY: usize = 16_384;
/// How long a subscribe waits until it is written to the socket.
const SUBSCRIBE_FLUSH: Duration = Duration::from_secs(1);

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// `nats://host:port` or `tls://host:port`, several separated by commas.
    pub url: String,
    /// The user, if the server asks for one.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The name the server shows for this connection.
    pub name: String,
    /// Where replies to this connection go: [`subject::node_inbox`] or [`subject::service_inbox`].
    pub inbox_prefix: String,
    /// Certificates (PEM) to trust instead of the system's; also means that plain text is refused.
    pub ca_file: Option<PathBuf>,
    /// Connect beyond this machine without TLS or credentials, said loudly.
    pub insecure: bool,
}

impl BusConfig {
    /// A server on this machine at the usual port, without credentials.
    pub fn loopback(name: &str, inbox_prefix: &str) -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: None,
            password: None,
            name: name.to_owned(),
            inbox_prefix: inbox_prefix.to_owned(),
            ca_file: None,
            insecure: false,
        }
    }
}

impl BusConfig {
    /// Checks without connecting what [`Bus::connect`] checks first.
    ///
    /// # Errors
    /// AST-N001 unprotected, AST-N004 unusable value.
    pub fn check(&self) -> Result<(), Error> {
        connect::check(self).map(|_| ())
    }

    /// Whether a server is beyond this machine: not everyone on the bus is then one of its own processes.
    ///
    /// # Errors
    /// AST-N004 unusable value.
    pub fn is_remote(&self) -> Result<bool, Error> {
        connect::is_remote(&self.url)
    }
}

/// What a connection has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusStats {
    /// Times it was connected, the first included.
    pub connects: u64,
    /// Times a subscription was full and a message was dropped.
    pub slow_consumers: u64,
    /// Requests whose reply subject was no inbox.
    pub refused_replies: u64,
    /// Errors the server sent, denied permissions among them.
    pub server_errors: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    slow_consumers: AtomicU64,
    refused_replies: AtomicU64,
    server_errors: AtomicU64,
}

/// A connection to the bus. Cheap to clone; the last clone dropped closes it.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    connects: watch::Receiver<u64>,
    connected: watch::Receiver<bool>,
    counters: Arc<Counters>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody listens there.
    #[error("nobody answers there")]
    NoResponders,
    /// The deadline passed.
    #[error("no answer within the deadline")]
    Deadline,
    /// The link is down or went down while waiting.
    #[error("the link to the nats-server is down")]
    Disconnected,
    /// A service answered with an error.
    #[error("refused ({code}): {reason}")]
    Service {
        /// The service's code.
        code: u32,
        /// Its reason.
        reason: String,
    },
    /// Anything else the client said.
    #[error("{0}")]
    Other(String),
}

/// Where an answer goes. Checked when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(String);

/// A message received.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it was sent.
    pub subject: Subject,
    /// Its bytes.
    pub payload: Bytes,
    /// Where an answer is expected, if one is.
    pub reply: Option<Reply>,
}

/// A subscription. It survives reconnects; what is sent while the link is down is not seen.
pub struct Subscription(async_nats::Subscriber);

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

impl Subscription {
    /// The next message; `None` when the connection is closed. May be dropped while it waits without losing one.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.0.next().await?;
        Some(Message {
            subject: Subject::received(&message.subject),
            payload: message.payload,
            reply: message.reply.map(|reply| Reply(reply.to_string())),
        })
    }
}

impl Bus {
    /// Connects once.
    ///
    /// # Errors
    /// AST-N001 unprotected, AST-N002 nobody there, AST-N003 refused, AST-N004 unusable value, AST-N005 TLS.
    pub async fn connect(config: &BusConfig) -> Result<Bus, Error> {
        let target = connect::check(config)?;
        let (connects_tx, connects) = watch::channel(0u64);
        let (connected_tx, mut connected) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let options = options(config, &target).event_callback({
            let counters = Arc::clone(&counters);
            let name = config.name.clone();
            move |event| {
                on_event(&event, &name, &connects_tx, &connected_tx, &counters);
                std::future::ready(())
            }
        });
        let client = options
            .connect(target.servers.as_slice())
            .await
            .map_err(|error| connect::explain(&error, &target, config))?;
        // The Connected event follows the connection by a moment; whoever counts connects starts from one.
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, connected.wait_for(|up| *up)).await;
        let jetstream =
            jetstream::context::ContextBuilder::new().timeout(CONNECT_TIMEOUT).build(client.clone());
        Ok(Bus { client, jetstream, connects, connected, counters })
    }

    /// Connects, waiting for a server that is not there yet. `on_wait` hears each failed attempt: how many, and why.
    ///
    /// # Errors
    /// As [`Bus::connect`], without AST-N002.
    pub async fn connect_waiting(
        config: &BusConfig,
        mut on_wait: impl FnMut(u32, &Error),
    ) -> Result<Bus, Error> {
        let mut attempt = 0u32;
        loop {
            match Self::connect(config).await {
                Err(error @ Error::Unreachable { .. }) => {
                    attempt = attempt.saturating_add(1);
                    on_wait(attempt, &error);
                    let pause = Duration::from_millis(100) * attempt.min(64);
                    tokio::time::sleep(pause.min(WAIT_PAUSE_MAX)).await;
                }
                other => return other,
            }
        }
    }

    /// Counts connections made; a change (from now on) means that the link is new and beliefs about the server should
    /// be checked.
    pub fn connects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    /// Whether the link is up, as far as the client knows.
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Waits until the link is up, at most this long; whether it is.
    pub async fn wait_connected(&self, at_most: Duration) -> bool {
        let mut connected = self.connected.clone();
        matches!(tokio::time::timeout(at_most, connected.wait_for(|up| *up)).await, Ok(Ok(_)))
    }

    /// The version of the nats-server connected to, as it says.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// What was counted so far.
    pub fn stats(&self) -> BusStats {
        BusStats {
            connects: *self.connects.borrow(),
            slow_consumers: self.counters.slow_consumers.load(Ordering::Relaxed),
            refused_replies: self.counters.refused_replies.load(Ordering::Relaxed),
            server_errors: self.counters.server_errors.load(Ordering::Relaxed),
        }
    }

    /// Publishes without any acknowledgement.
    pub async fn publish(&self, subject: &Subject, payload: Vec<u8>) -> Result<(), Error> {
        self.client
            .publish(subject.as_str().to_owned(), payload.into())
            .await
            .map_err(|error| client_error("publish", subject.as_str(), &error))
    }

    /// Waits until all that was sent so far is with the server's socket.
    pub async fn flush(&self) -> Result<(), Error> {
        self.client.flush().await.map_err(|error| client_error("flush", "", &error))
    }

    /// Subscribes, as one of a queue group if named. When it returns, the request is on its way to the server, before
    /// anything this connection sends later.
    pub async fn subscribe(&self, subject: &Subject, queue: Option<&str>) -> Result<Subscription, Error> {
        let text = subject.as_str().to_owned();
        let subscriber = match queue {
            Some(queue) => self.client.queue_subscribe(text, queue.to_owned()).await,
            None => self.client.subscribe(text).await,
        }
        .map_err(|error| client_error("subscribe", subject.as_str(), &error))?;
        // A link that is down flushes nothing; the client subscribes again by itself when it is back.
        let _ = tokio::time::timeout(SUBSCRIBE_FLUSH, self.client.flush()).await;
        Ok(Subscription(subscriber))
    }

    /// Answers a request. A reply subject that is no inbox is refused and counted: otherwise whoever asks could make
    /// us write into the stream in our name.
    pub async fn respond(&self, reply: Reply, payload: Vec<u8>) -> Result<(), Error> {
        self.may_reply(&reply.0)?;
        self.client
            .publish(reply.0.clone(), payload.into())
            .await
            .map_err(|error| client_error("respond", &reply.0, &error))
    }

    pub(crate) fn may_reply(&self, reply: &str) -> Result<(), Error> {
        if subject::is_inbox(reply) {
            return Ok(());
        }
        let count = self.counters.refused_replies.fetch_add(1, Ordering::Relaxed);
        if count == 0 {
            tracing::warn!(
                "a request asks for its answer on a subject that is no inbox: refused, counted from now on"
            );
        }
        Err(Error::ReplyRefused)
    }

    /// Asks and waits for one answer. While the link is down it waits a quarter of a second for it, then says so.
    pub async fn request(
        &self,
        subject: &Subject,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let message = self.ask(subject.as_str(), None, payload, deadline, deadline.min(LINK_WAIT)).await?;
        Ok(message.payload.into())
    }

    /// One request with headers; ends early when the link breaks, because its answer went with it.
    pub(crate) async fn ask(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        payload: Vec<u8>,
        deadline: Duration,
        link_wait: Duration,
    ) -> Result<async_nats::Message, RequestError> {
        if !self.is_connected() && !self.wait_connected(link_wait).await {
            return Err(RequestError::Disconnected);
        }
        let mut connected = self.connected.clone();
        let mut request = async_nats::Request::new().payload(payload.into()).timeout(Some(deadline));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let answer = tokio::select! {
            biased;
            answer = self.client.send_request(subject.to_owned(), request) => answer,
            _ = connected.wait_for(|up| !up) => return Err(RequestError::Disconnected),
        };
        match answer {
            Ok(message) => service_error(&message).map_or(Ok(message), Err),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => RequestError::NoResponders,
                RequestErrorKind::TimedOut => RequestError::Deadline,
                _ => RequestError::Other(with_source(&error)),
            }),
        }
    }

    /// Sends what is buffered, and closes the subscriptions after what they hold is taken.
    pub async fn drain(&self) {
        let _ = tokio::time::timeout(SUBSCRIBE_FLUSH, self.client.drain()).await;
    }
}

fn options(config: &BusConfig, target: &connect::Target) -> ConnectOptions {
    // Two TLS back ends in one process leave no default; ours is ring.
    if async_nats::rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    }
    let mut options = ConnectOptions::new()
        .name(&config.name)
        .custom_inbox_prefix(&config.inbox_prefix)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .require_tls(target.tls)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempts| {
            let steps = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(32);
            (Duration::from_millis(50) * steps).min(RECONNECT_PAUSE_MAX)
        });
    if !target.tls {
        // A server on loopback may tell addresses beyond it; plain text must not follow it there.
        options = options.ignore_discovered_servers();
    }
    if let Some(ca_file) = &target.ca_file {
        options = options.add_root_certificates(ca_file.clone());
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.reveal().to_owned());
    }
    options
}

fn on_event(
    event: &Event,
    name: &str,
    connects: &watch::Sender<u64>,
    connected: &watch::Sender<bool>,
    counters: &Counters,
) {
    match event {
        Event::Connected => {
            connects.send_modify(|count| *count += 1);
            connected.send_replace(true);
            tracing::info!(connection = name, connects = *connects.borrow(), "connected to nats-server");
        }
        Event::Disconnected | Event::Closed => {
            connected.send_replace(false);
            tracing::warn!(connection = name, "disconnected from nats-server");
        }
        Event::SlowConsumer(_) => {
            // Logged once: this event can come with every message of an overload.
            if counters.slow_consumers.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(connection = name, "a subscription is full and drops messages");
            }
        }
        Event::ServerError(error) => {
            counters.server_errors.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(connection = name, %error, "nats-server refused something");
        }
        Event::ClientError(error) => tracing::debug!(connection = name, %error, "nats client"),
        Event::LameDuckMode | Event::Draining => tracing::info!(connection = name, %event, "nats"),
    }
}

/// The error a service put into the headers of its answer, if it did.
fn service_error(message: &async_nats::Message) -> Option<RequestError> {
    let headers = message.headers.as_ref()?;
    let code = headers.get(async_nats::service::NATS_SERVICE_ERROR_CODE)?;
    let reason = headers.get(async_nats::service::NATS_SERVICE_ERROR).map_or("", |value| value.as_str());
    Some(RequestError::Service {
        code: code.as_str().parse().unwrap_or(0),
        reason: reason.chars().take(200).collect(),
    })
}

fn client_error(what: &'static str, subject: &str, error: &dyn std::error::Error) -> Error {
    Error::Client { what, subject: subject.to_owned(), reason: with_source(error) }
}

/// An error and its source: the client's own texts rarely say what happened without it.
pub(crate) fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
