//! One AMI connection, from the banner to its end.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use asterism_nats::crash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::reload::{Reload, Step};
use super::{PbxCommand, PbxConfig};
use crate::ami::{self, Action, Decoder, Event, Item, Kind, Message, Role, Status};
use crate::input::{Input, Inputs};
use crate::machine::{Originate, PbxEvent, PbxUp};

/// How long the PBX may take for each answer while a connection is set up. A refused login takes 1 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the PBX may take to boot after it took the login.
const BOOT_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a silent connection is asked for a sign of life; silence for two of these ends it.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Bytes read at once.
const READ_BYTES: usize = 8 * 1024;
/// Q.850 cause of a hang-up by order: normal clearing.
const HANGUP_CAUSE: u8 = 16;

const LIST_ID: &str = "list";
const STATE_RINGING: u32 = 5;
const STATE_UP: u32 = 6;

pub(super) enum End {
    LoopGone,
    Failed { error: String, was_up: bool },
}

struct Connection<'a> {
    stream: TcpStream,
    decoder: Decoder,
    inputs: &'a Inputs,
    config: &'a PbxConfig,
    /// The AMI secret; the names of the trunks' endpoints follow from it.
    secret: String,
    /// A list being received.
    list: Option<BTreeMap<String, bool>>,
    /// A reload of the trunks under way.
    reload: Option<Reload>,
}

type Failure = String;

pub(super) async fn run(
    config: &PbxConfig,
    inputs: &Inputs,
    commands: &mut mpsc::UnboundedReceiver<PbxCommand>,
) -> End {
    let failed = |error: Failure, was_up| End::Failed { error, was_up };
    let mut connection = match Connection::open(config, inputs).await {
        Ok(connection) => connection,
        Err(error) => return failed(error, false),
    };
    let up = match connection.log_in().await {
        Ok(up) => up,
        Err(error) => return failed(error, false),
    };
    tracing::info!(pbx = %up.version, boot_id = %up.boot_id, channels = up.channels.len(), "the pbx is up");
    if inputs.send(Input::PbxUp(up)).await.is_err() {
        return End::LoopGone;
    }
    match connection.serve(commands).await {
        Ok(()) => End::LoopGone,
        Err(error) => failed(error, true),
    }
}

impl<'a> Connection<'a> {
    async fn open(config: &'a PbxConfig, inputs: &'a Inputs) -> Result<Self, Failure> {
        let connect = TcpStream::connect((Ipv4Addr::LOCALHOST, config.ami_port));
        let stream = timeout(ANSWER_TIMEOUT, connect)
            .await
            .map_err(|_| "no connection to ami within 5 s".to_owned())?
            .map_err(|error| format!("no connection to ami: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let secret = crate::files::read_secret(&config.ami_secret_file).map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            decoder: Decoder::new(Role::Client),
            inputs,
            config,
            secret,
            list: None,
            reload: None,
        })
    }

    async fn log_in(&mut self) -> Result<PbxUp, Failure> {
        let challenge = self.ask(&Action::challenge("challenge"), "challenge").await?;
        let challenge = challenge.get("Challenge").unwrap_or_default().to_owned();
        let login = Action::login_md5("login", &self.config.ami_user, &self.secret, &challenge);
        self.ask(&login, "login").await.map_err(|why| format!("ami login refused: {why}"))?;
        self.wait_booted().await?;
        let settings = self.ask(&Action::new("CoreSettings", "settings"), "settings").await?;
        let status = self.ask(&Action::new("CoreStatus", "status"), "status").await?;
        let text = |message: &Message, name: &str| message.get(name).unwrap_or_default().to_owned();
        let boot_id = format!("{}T{}", text(&status, "CoreStartupDate"), text(&status, "CoreStartupTime"));
        self.write(&Action::new("CoreShowChannels", LIST_ID)).await?;
        self.list = Some(BTreeMap::new());
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let message = self.next(deadline, "a list of channels").await?;
            if let Some(channels) = self.take(&message).await? {
                let version = printable(&text(&settings, "AsteriskVersion"));
                let name = if version.contains("pbx-sim") { "pbx-sim" } else { "Asterisk" };
                return Ok(PbxUp {
                    boot_id: printable(&boot_id),
                    version: format!("{name} {version}"),
                    channels,
                    journal: Vec::new(),
                });
            }
        }
    }

    /// `FullyBooted` comes after each login, at once or when the PBX is done starting.
    async fn wait_booted(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + BOOT_TIMEOUT;
        loop {
            let message = self.next(deadline, "the end of its start").await?;
            if matches!(message.kind(), Kind::Event(Event::FullyBooted { .. })) {
                return Ok(());
            }
        }
    }

    /// Sends an action and waits for its response; events that come meanwhile are handed on.
    async fn ask(&mut self, action: &Result<Action, ami::Error>, id: &str) -> Result<Message, Failure> {
        self.write(action).await?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let message = self.next(deadline, id).await?;
            match message.kind() {
                Kind::Response { status, action_id: Some(answered), message: said } if answered == id => {
                    return if status == Status::Success { Ok(message) } else { Err(printable(said)) };
                }
                _ => drop(self.take(&message).await?),
            }
        }
    }

    async fn serve(&mut self, commands: &mut mpsc::UnboundedReceiver<PbxCommand>) -> Result<(), Failure> {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut bytes = vec![0; READ_BYTES];
        loop {
            while let Some(message) = self.decoded()? {
                if let Some(channels) = self.take(&message).await? {
                    self.hand_on(Input::Channels(channels)).await?;
                }
            }
            tokio::select! {
                biased;
                read = self.stream.read(&mut bytes) => {
                    let count = read.map_err(|error| format!("ami broke: {error}"))?;
                    if count == 0 {
                        return Err("ami was closed".to_owned());
                    }
                    heard = Instant::now();
                    self.decoder.push(&bytes[..count]);
                }
                command = commands.recv() => match command {
                    None => return Ok(()),
                    Some(command) => self.command(command).await?,
                },
                _ = ping.tick() => {
                    if heard.elapsed() > PING_EVERY * 2 {
                        return Err("ami is silent".to_owned());
                    }
                    self.write(&Action::new("Ping", "ping")).await?;
                }
            }
        }
    }

    async fn command(&mut self, command: PbxCommand) -> Result<(), Failure> {
        match command {
            PbxCommand::Originate(originate) => match self.originate(&originate) {
                Ok(action) => {
                    crash::point("originate.unsent");
                    self.write(&Ok(action)).await?;
                    crash::point("originate.sent");
                    Ok(())
                }
                Err(error) => {
                    tracing::error!(attempt = originate.attempt, %error, "an originate could not be written");
                    self.hand_on(Input::Pbx(PbxEvent::NotSent { attempt: originate.attempt })).await
                }
            },
            PbxCommand::Hangup { attempt } => {
                self.write(&Action::hangup(&format!("hangup-{attempt}"), &attempt, HANGUP_CAUSE)).await
            }
            PbxCommand::List if self.list.is_none() => {
                self.list = Some(BTreeMap::new());
                self.write(&Action::new("CoreShowChannels", LIST_ID)).await
            }
            PbxCommand::List => Ok(()),
            PbxCommand::Reload { endpoints, answer } => {
                let (reload, action) = Reload::begin(endpoints, answer);
                self.reload = Some(reload); // one that waits still is answered by its end
                self.write(&action).await
            }
        }
    }

    fn originate(&self, originate: &Originate) -> Result<Action, ami::Error> {
        let target = self.config.trunks.target(&self.secret, &originate.trunk, &originate.attempt);
        let (endpoint, server) = target.map_err(ami::Error::Target)?;
        let number = self.config.trunks.written(&originate.trunk, &originate.number.0);
        let technology = &self.config.technology;
        let channel = match &server {
            None => format!("{technology}/{number}@{endpoint}"),
            Some(server) => format!("{technology}/{endpoint}/sip:{}@{server}", number.replace('#', "%23")),
        };
        Action::originate(
            &originate.attempt,
            &ami::Originate {
                channel: &channel,
                context: "asterism",
                exten: "s",
                timeout_ms: originate.ring_timeout_ms,
                channel_id: &originate.attempt,
                caller_id: Some(originate.caller_id.0.as_str()).filter(|id| !id.is_empty()),
                variables: &[
                    ("FLOW", &originate.flow),
                    ("AST_C", &originate.campaign),
                    ("DETECT", if originate.detect_machine { "1" } else { "" }),
                    ("PIN", server.as_deref().unwrap_or_default()),
                ],
            },
        )
    }

    /// Hands an event on; the finished list, if this message ended one.
    async fn take(&mut self, message: &Message) -> Result<Option<BTreeMap<String, bool>>, Failure> {
        if let Some(next) = self.reload.as_mut().and_then(|reload| reload.take(message)) {
            match next {
                Step::Ask(action) => self.write(&action).await?,
                Step::Wait => {}
                Step::Done => self.reload = None,
            }
            return Ok(None);
        }
        let event = match message.kind() {
            Kind::Response { status: Status::Error, action_id: Some(id), .. } => {
                // Only an originate has an attempt's id; others that fail need no answer.
                Some(PbxEvent::NotSent { attempt: id.to_owned() })
            }
            Kind::Event(event) => match event {
                Event::OriginateResponse { action_id, answered, reason, .. } => {
                    crash::point("originate.answered");
                    Some(PbxEvent::Originated { attempt: action_id.to_owned(), answered, reason })
                }
                Event::Newchannel { unique_id, .. } => {
                    Some(PbxEvent::Channel { attempt: unique_id.to_owned() })
                }
                Event::DialBegin { unique_id } => {
                    crash::point("ring.begun");
                    Some(PbxEvent::Dialled { attempt: unique_id.to_owned() })
                }
                Event::Newstate { unique_id, state: STATE_RINGING }
                | Event::DialState { unique_id, status: "RINGING" | "PROGRESS" } => {
                    Some(PbxEvent::Rings { attempt: unique_id.to_owned() })
                }
                Event::Newstate { unique_id, state: STATE_UP }
                | Event::DialEnd { unique_id, status: "ANSWER" } => {
                    Some(PbxEvent::Up { attempt: unique_id.to_owned() })
                }
                Event::Hangup { unique_id, cause, tech_cause } => {
                    let (attempt, sip_status) = (unique_id.to_owned(), tech_cause);
                    Some(PbxEvent::Hangup { attempt, cause, sip_status })
                }
                Event::CoreShowChannel { unique_id, state, .. } => {
                    if let Some(list) = &mut self.list {
                        list.insert(unique_id.to_owned(), state == STATE_UP);
                    }
                    None
                }
                Event::CoreShowChannelsComplete { .. } => return Ok(self.list.take()),
                Event::Shutdown => return Err("the pbx stops".to_owned()),
                _ => None,
            },
            _ => None,
        };
        if let Some(event) = event {
            self.hand_on(Input::Pbx(event)).await?;
        }
        Ok(None)
    }

    async fn hand_on(&self, input: Input) -> Result<(), Failure> {
        self.inputs.send(input).await.map_err(|_| "the agent is stopping".to_owned())
    }

    async fn write(&mut self, action: &Result<Action, ami::Error>) -> Result<(), Failure> {
        let action = action.as_ref().map_err(ToString::to_string)?;
        timeout(ANSWER_TIMEOUT, self.stream.write_all(&action.encode()))
            .await
            .map_err(|_| "ami takes nothing".to_owned())?
            .map_err(|error| format!("ami broke: {error}"))
    }

    /// The next whole message, waiting for it until the deadline.
    async fn next(&mut self, deadline: Instant, what: &str) -> Result<Message, Failure> {
        let mut bytes = vec![0; READ_BYTES];
        loop {
            if let Some(message) = self.decoded()? {
                return Ok(message);
            }
            let read = tokio::time::timeout_at(deadline, self.stream.read(&mut bytes));
            match read.await {
                Err(_) => return Err(format!("ami gave no answer to {what}")),
                Ok(Err(error)) => return Err(format!("ami broke: {error}")),
                Ok(Ok(0)) => return Err("ami was closed".to_owned()),
                Ok(Ok(count)) => self.decoder.push(&bytes[..count]),
            }
        }
    }

    fn decoded(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            match self.decoder.next() {
                None => return Ok(None),
                Some(Ok(Item::Message(message))) => return Ok(Some(message)),
                Some(Ok(Item::Banner(_))) => {}
                Some(Err(ami::Error::NoBanner)) => return Err(ami::Error::NoBanner.to_string()),
                Some(Err(error)) => tracing::warn!(%error, "an ami message was dropped"),
            }
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(64).collect()
}
