//! What a role's shell is handed, and the request side of a role: commands in, answers out.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::wire::Envelope;
use asterism_nats::{Bus, LeaseTiming, Message, Subject};
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_proto::{OriginKey, Role};
use prost::Message as _;
use tokio::sync::watch;

use crate::keys::{Keyring, KeyringError};
use crate::leader::{self, AskError, Decide, Desk, LeaderConfig};
use crate::log::Log;
use crate::shutdown::Shutdown;

/// Most bytes of a role command.
pub const COMMAND_MAX_BYTES: usize = 256 * 1024;
/// Longest command id.
pub const COMMAND_ID_MAX_BYTES: usize = 100;

/// What every role's shell runs on. `asterism up` hands the same to all; a service program makes its own.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The connection.
    pub bus: Bus,
    /// This process's copy of the log.
    pub log: Log,
    /// The key folder.
    pub keyring: Keyring,
    /// Names this process to people.
    pub holder: String,
    /// Times of leases; tests scale them.
    pub lease_timing: LeaseTiming,
    /// Asked to stop.
    pub shutdown: Shutdown,
}

impl Deps {
    /// Starts the role's leader loop.
    pub fn lead<C: Send + 'static>(&self, role: Role, decide: Decide<C>) -> Result<Desk<C>, KeyringError> {
        let config = LeaderConfig {
            role,
            key: self.key(role)?,
            holder: self.holder.clone(),
            timing: self.lease_timing,
        };
        Ok(leader::start(config, self.log.clone(), decide, self.shutdown.clone()))
    }

    /// A role's key.
    pub fn key(&self, role: Role) -> Result<OriginKey, KeyringError> {
        self.keyring.role(role)
    }

    /// Answers the role's command subject while this process leads the role, and only then: a second process of the
    /// role stays silent, so the asker never hears two answers.
    pub fn serve_commands<C, H, F>(&self, role: Role, desk: &Desk<C>, handler: H)
    where
        C: Send + 'static,
        H: Fn(RoleCommand) -> F + Send + Sync + 'static,
        F: Future<Output = RoleReply> + Send + 'static,
    {
        self.serve_while(role, desk.leading(), handler);
    }

    /// [`Deps::serve_commands`] for a role that leads without a desk; ends with the sender of `leading`.
    pub fn serve_while<H, F>(&self, role: Role, mut leading: watch::Receiver<Option<u64>>, handler: H)
    where
        H: Fn(RoleCommand) -> F + Send + Sync + 'static,
        F: Future<Output = RoleReply> + Send + 'static,
    {
        let (deps, handler) = (self.clone(), Arc::new(handler));
        tokio::spawn(async move {
            let mut shutdown = deps.shutdown.clone();
            loop {
                // What `wait_for` gives back is a lock: it must be gone before the next await.
                let leads = async { leading.wait_for(Option::is_some).await.is_ok() };
                tokio::select! {
                    leads = leads => if !leads { return },
                    () = shutdown.requested() => return,
                }
                let mut ended = leading.clone();
                let ended = async { ended.wait_for(Option::is_none).await.is_ok() };
                tokio::select! {
                    () = deps.answer(role, &handler) => {}
                    none = ended => if none { continue } else { return },
                    () = shutdown.requested() => return,
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }

    async fn answer<H, F>(&self, role: Role, handler: &Arc<H>)
    where
        H: Fn(RoleCommand) -> F + Send + Sync + 'static,
        F: Future<Output = RoleReply> + Send + 'static,
    {
        let Ok(subject) = Subject::role(self.log.fleet(), role) else { return };
        let mut commands = match self.bus.subscribe(&subject, None).await {
            Ok(commands) => commands,
            Err(error) => {
                tracing::warn!(%role, %error, "cannot subscribe to commands");
                return;
            }
        };
        while let Some(message) = commands.next().await {
            let (bus, handler) = (self.bus.clone(), handler.clone());
            tokio::spawn(async move {
                let Message { payload, reply, .. } = message;
                let Some(reply) = reply else { return };
                let answer = match read_command(&payload) {
                    Ok(command) => handler(command).await,
                    Err(reason) => refusal("AST-R040", reason),
                };
                if let Err(error) = bus.respond(reply, answer.encode_to_vec()).await {
                    tracing::debug!(%error, "a command's answer could not be sent");
                }
            });
        }
    }
}

fn read_command(payload: &[u8]) -> Result<RoleCommand, &'static str> {
    if payload.len() > COMMAND_MAX_BYTES {
        return Err("the command is over 256 KiB");
    }
    let command = RoleCommand::decode(payload).map_err(|_| "the command cannot be decoded")?;
    if command.command_id.len() > COMMAND_ID_MAX_BYTES || command.actor.len() > 100 {
        return Err("command id or actor is over 100 bytes");
    }
    Ok(command)
}

/// The envelope of a command's events.
pub fn envelope_of(command: &RoleCommand) -> Envelope {
    Envelope { command_id: command.command_id.clone(), actor: command.actor.clone(), ..Envelope::default() }
}

/// A reply that refuses.
pub fn refusal(code: &str, reason: impl Into<String>) -> RoleReply {
    RoleReply { code: code.to_owned(), reason: reason.into(), ..RoleReply::default() }
}

/// A reply with a position and a JSON body.
pub fn reply_json(position: u64, json: &impl serde::Serialize) -> RoleReply {
    let json = serde_json::to_vec(json).unwrap_or_default();
    RoleReply { position, json, ..RoleReply::default() }
}

/// The reply of an answered or refused command.
pub fn reply_of(answer: Result<leader::Answer, AskError>) -> RoleReply {
    match answer {
        Ok(answer) => RoleReply { position: answer.position, ..RoleReply::default() },
        Err(AskError::Rejected(rejection)) => refusal(rejection.code, rejection.reason.into_owned()),
        Err(error @ AskError::NotLeading(_)) => refusal("AST-R033", error.to_string()),
    }
}
