//! The agent's side of the manager interface, with the agent's own codec.

use std::sync::Arc;
use std::time::{Duration, Instant};

use asterism_agent::ami::{Action, Decoder, Item, Message, Originate, Role};
use asterism_agent::render::endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::story::CALLER;
use super::tape::{Entry, Tape};
use crate::asterisk::AMI_SECRET;

/// Longest wait until a PBX takes connections.
const START_MAX: Duration = Duration::from_secs(30);

/// A connection; what comes in goes to the tape.
pub struct Ami {
    tape: Arc<Tape>,
    writer: OwnedWriteHalf,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Ami {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Ami {
    /// Connects as soon as someone listens, and does not log in.
    pub async fn connect(port: u16, tape: Arc<Tape>) -> Self {
        let began = Instant::now();
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(error) => assert!(began.elapsed() < START_MAX, "nobody listens for ami: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
        };
        let (reader, writer) = stream.into_split();
        let reader = tokio::spawn(read(reader, Arc::clone(&tape)));
        Self { tape, writer, reader }
    }

    /// Connects and logs in; returns once the PBX is ready.
    pub async fn login(port: u16, secret: &str, tape: Arc<Tape>) -> Self {
        let mut ami = Self::connect(port, Arc::clone(&tape)).await;
        ami.send(&Action::login("login", "agent", secret).unwrap()).await;
        tape.message("fully booted", |m| m.get("Event") == Some("FullyBooted")).await;
        ami
    }

    /// Sends an action.
    pub async fn send(&mut self, action: &Action) {
        self.writer.write_all(&action.encode()).await.unwrap();
    }

    /// Sends an action and waits for its response.
    pub async fn ask(&mut self, action: &Action) -> Message {
        self.send(action).await;
        let id = action.message().get("ActionID").unwrap().to_owned();
        self.response(&id).await
    }

    /// The response to the action with this id.
    pub async fn response(&self, id: &str) -> Message {
        let wanted = |m: &Message| m.get("Event").is_none() && m.get("ActionID") == Some(id);
        self.tape.message(&format!("a response to {id}"), wanted).await
    }

    /// Originates a number as channel `id`, under the action id given, and waits for the response.
    pub async fn originate(&mut self, action_id: &str, number: &str, id: &str, timeout_ms: u32) -> Message {
        let channel = format!("PJSIP/{number}@{}", endpoint(AMI_SECRET, "trunk"));
        let originate = Originate {
            channel: &channel,
            context: "asterism",
            exten: "s",
            timeout_ms,
            channel_id: id,
            caller_id: Some(CALLER),
            variables: &[("FLOW", "demo")],
        };
        self.ask(&Action::originate(action_id, &originate).unwrap()).await
    }

    /// Lists live channels under an action id of its own; one message each.
    pub async fn list(&mut self, action_id: &str) -> Vec<Message> {
        self.send(&Action::new("CoreShowChannels", action_id).unwrap()).await;
        let of =
            |m: &Message, event: &str| m.get("Event") == Some(event) && m.get("ActionID") == Some(action_id);
        self.tape.message("the end of the list", |m| of(m, "CoreShowChannelsComplete")).await;
        self.tape.messages().into_iter().filter(|m| of(m, "CoreShowChannel")).collect()
    }

    /// Waits until a channel is at this extension of its dialplan, by asking again and again.
    pub async fn until_at(&mut self, id: &str, exten: &str) {
        let began = Instant::now();
        for turn in 0.. {
            let listed = self.list(&format!("at-{id}-{exten}-{turn}")).await;
            if listed.iter().any(|m| m.get("Uniqueid") == Some(id) && m.get("Exten") == Some(exten)) {
                return;
            }
            assert!(began.elapsed() < START_MAX, "{id} does not get to {exten}: {listed:?}");
            tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
        }
    }
}

async fn read(mut reader: OwnedReadHalf, tape: Arc<Tape>) {
    let mut decoder = Decoder::new(Role::Client);
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = reader.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            tape.push(Entry::Closed);
            return;
        }
        decoder.push(&buffer[..count]);
        while let Some(item) = decoder.next() {
            if let Item::Message(message) = item.expect("the PBX writes messages the codec reads") {
                tape.push(Entry::Ami(message));
            }
        }
    }
}
