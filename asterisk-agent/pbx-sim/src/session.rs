//! One AMI connection: banner, login, actions in, responses and events out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use asterism_agent::ami::{Decoder, Error as AmiError, Item, Message, Role, challenge_key};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::action;
use crate::event::{MAX_SESSION_QUEUE, Outbox};
use crate::sim::Ctx;

/// Most connections at once.
const MAX_SESSIONS: usize = 32;
/// Asterisk's `authtimeout`: a connection that has not logged in by then is closed.
const LOGIN_DEADLINE: Duration = Duration::from_secs(5);
/// Asterisk waits this long before it refuses a login, in ms.
const REFUSAL_DELAY_MS: u32 = 1000;
/// How long the last bytes to a closing connection may take.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// Takes connections until aborted; those that exist end with it.
pub(crate) async fn accept(listener: TcpListener, ctx: Arc<Ctx>) {
    let places = Arc::new(Semaphore::new(MAX_SESSIONS));
    let mut sessions = JoinSet::new();
    loop {
        while sessions.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "ami connection not accepted");
                tokio::time::sleep(crate::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let ctx = Arc::clone(&ctx);
        sessions.spawn(async move {
            serve(stream, &ctx).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, ctx: &Arc<Ctx>) {
    let _ = stream.set_nodelay(true); // slower without, never wrong
    let (mut reader, writer) = stream.into_split();
    let (queue, outgoing) = mpsc::channel(MAX_SESSION_QUEUE);
    let outbox = Arc::new(Outbox { queue, closing: Notify::new() });
    let mut writing = tokio::spawn(write(writer, outgoing));
    let _ = outbox.queue.send(Bytes::from_static(b"Asterisk Call Manager/11.0.0\r\n")).await;
    let mut session = Session { ctx, outbox: Arc::clone(&outbox), challenge: None, logged_in: false };
    let deadline = tokio::time::Instant::now() + LOGIN_DEADLINE;
    let mut decoder = Decoder::new(Role::Server);
    let mut buffer = vec![0; READ_BYTES];
    'connection: loop {
        let read = tokio::select! {
            read = reader.read(&mut buffer) => read,
            () = outbox.closing.notified() => break,
            _ = &mut writing => break,
            () = tokio::time::sleep_until(deadline), if !session.logged_in => break,
        };
        let Ok(count @ 1..) = read else { break };
        decoder.push(&buffer[..count]);
        while let Some(item) = decoder.next() {
            if session.take(item).await.is_none() {
                break 'connection;
            }
        }
    }
    ctx.bus.leave(&outbox);
    drop(session);
    // Calls being originated may hold the outbox a moment longer; what is queued now still goes out.
    let _ = outbox.queue.try_send(Bytes::new());
    let _ = tokio::time::timeout(FLUSH_DEADLINE, &mut writing).await;
    writing.abort();
}

/// Writes until the queue ends or an empty message says that the session is over.
async fn write(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Bytes>) {
    let mut batch = Vec::with_capacity(READ_BYTES);
    while let Some(bytes) = outgoing.recv().await {
        let mut over = bytes.is_empty();
        batch.clear();
        batch.extend_from_slice(&bytes);
        while !over && batch.len() < READ_BYTES {
            let Ok(more) = outgoing.try_recv() else { break };
            over = more.is_empty();
            batch.extend_from_slice(&more);
        }
        if writer.write_all(&batch).await.is_err() || over {
            return;
        }
    }
}

/// One connection's state.
pub(crate) struct Session<'a> {
    pub(crate) ctx: &'a Arc<Ctx>,
    pub(crate) outbox: Arc<Outbox>,
    challenge: Option<String>,
    logged_in: bool,
}

impl Session<'_> {
    /// Takes one item; `None` ends the connection.
    async fn take(&mut self, item: Result<Item, AmiError>) -> Option<()> {
        let request = match item {
            Ok(Item::Message(message)) => message,
            Ok(Item::Banner(_)) => return None, // a server's decoder gives none
            Err(_) => {
                return self
                    .refuse(&Message::default(), "Too many lines in message or allocation failure")
                    .await;
            }
        };
        let Some(name) = request.get("Action").map(str::to_ascii_lowercase) else {
            return self.refuse(&request, "Missing action in request").await;
        };
        if self.ctx.stopping.load(Ordering::Relaxed) {
            // Not a single action is taken then, hang-ups and logins neither.
            return self.refuse(&request, "Asterisk is shutting down").await;
        }
        match name.as_str() {
            "login" => self.login(&request).await,
            "challenge" => self.challenge(&request).await,
            "logoff" => {
                let goodbye = [("Response", "Goodbye"), ("Message", "Thanks for all the fish.")];
                self.reply(&request, &goodbye).await;
                None
            }
            _ if !self.logged_in => self.refuse(&request, "Permission denied").await,
            _ => action::take(self, &name, &request).await,
        }
    }

    async fn challenge(&mut self, request: &Message) -> Option<()> {
        if !request.get("AuthType").is_some_and(|t| t.eq_ignore_ascii_case("MD5")) {
            return self.refuse(request, "Must specify AuthType").await;
        }
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).ok()?;
        let challenge = u32::from_le_bytes(bytes).to_string();
        self.reply(request, &[("Response", "Success"), ("Challenge", &challenge)]).await?;
        self.challenge = Some(challenge);
        Some(())
    }

    async fn login(&mut self, request: &Message) -> Option<()> {
        let config = &self.ctx.config;
        let user = request.get("Username").is_some_and(|u| u == config.ami_user);
        let proof = if request.get("AuthType").is_some_and(|t| t.eq_ignore_ascii_case("MD5")) {
            let expected = self.challenge.take().map(|c| challenge_key(&c, &config.ami_secret));
            expected.is_some() && request.get("Key") == expected.as_deref()
        } else {
            request.get("Secret") == Some(config.ami_secret.as_str())
        };
        if !(user && proof) {
            tokio::time::sleep(self.ctx.scaled(REFUSAL_DELAY_MS)).await;
            self.refuse(request, "Authentication failed").await?;
            return None;
        }
        self.reply(request, &[("Response", "Success"), ("Message", "Authentication accepted")]).await?;
        let up_s = self.ctx.started.elapsed().unwrap_or_default().as_secs();
        self.send(&self.ctx.events.fully_booted(up_s)).await?;
        if !self.logged_in {
            self.logged_in = true;
            self.ctx.bus.join(&self.outbox);
        }
        Some(())
    }

    /// Answers a request: the first pair, its `ActionID`, then the other pairs.
    pub(crate) async fn reply(&self, request: &Message, pairs: &[(&str, &str)]) -> Option<()> {
        self.send(&response(request.get("ActionID"), pairs)).await
    }

    /// Answers with an error.
    pub(crate) async fn refuse(&self, request: &Message, why: &str) -> Option<()> {
        self.reply(request, &[("Response", "Error"), ("Message", why)]).await
    }

    /// Queues a message; `None` if the connection is gone.
    pub(crate) async fn send(&self, message: &Message) -> Option<()> {
        self.outbox.queue.send(Bytes::from(message.encode())).await.ok()
    }
}

/// A response with its `ActionID` in second place, where Asterisk has it.
pub(crate) fn response(action_id: Option<&str>, pairs: &[(&str, &str)]) -> Message {
    let (first, rest) = pairs.split_at(1.min(pairs.len()));
    let id = action_id.filter(|id| !id.is_empty()).map(|id| ("ActionID", id));
    Message::from_pairs(first.iter().copied().chain(id).chain(rest.iter().copied()))
}
