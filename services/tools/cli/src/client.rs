//! Asking a role: a command with an id that stays the same on every retry, so that asking again does nothing twice.

use std::fmt;
use std::time::{Duration, Instant};

use asterism_nats::{Bus, RequestError, Subject};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::config::Config;
use asterism_runtime::keys::random;
use asterism_runtime::role::COMMAND_MAX_BYTES;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::CliError;

/// How long a command is repeated before the role counts as absent.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long one try waits. A leader that died answers nothing; its successor answers the repeat.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// The ledger makes a checkpoint before it answers some commands.
const LEDGER_TRY_TIMEOUT: Duration = Duration::from_secs(15);
/// First pause between two tries; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A process that does not lead (any more): repeat.
const NOT_LEADING: &str = "AST-R033";
/// Longest actor of a command.
const ACTOR_MAX_BYTES: usize = 64;

/// Asks the roles of one fleet.
#[derive(Clone)]
pub struct Client {
    bus: Bus,
    fleet: String,
    actor: String,
    patience: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

impl Client {
    /// A client on a connection that is there.
    pub fn new(bus: Bus, fleet: &str) -> Self {
        Self { bus, fleet: fleet.to_owned(), actor: actor(), patience: PATIENCE }
    }

    /// Connects as the configuration says.
    ///
    /// # Errors
    /// AST-Nxxx: no server, refused, unprotected.
    pub async fn connect(config: &Config) -> Result<Self, CliError> {
        let name = format!("cli-{}", hex::encode(random::<6>()?));
        let bus = Bus::connect(&config.bus_for_service(&name)?).await?;
        Ok(Self::new(bus, &config.fleet))
    }

    /// Another time to repeat a command than [`PATIENCE`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The connection.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The fleet.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Asks a role.
    ///
    /// # Errors
    /// The role's refusal with its code; AST-U001 no answer for [`PATIENCE`].
    pub async fn role(&self, role: Role, verb: &str, args: &impl Serialize) -> Result<RoleReply, CliError> {
        let id = format!("cli-{}", hex::encode(random::<12>()?));
        self.role_as(role, verb, args, &id).await
    }

    /// [`Client::role`] with the JSON body of the answer.
    ///
    /// # Errors
    /// As [`Client::role`]; AST-U003 the answer has another form.
    pub async fn role_json<T: DeserializeOwned>(
        &self,
        role: Role,
        verb: &str,
        args: &impl Serialize,
    ) -> Result<T, CliError> {
        let reply = self.role(role, verb, args).await?;
        serde_json::from_slice(&reply.json).map_err(|error| {
            let what = format!("the answer of the {role} to {verb} cannot be read");
            CliError::new("AST-U003", what, error.to_string()).next("asterism --version")
        })
    }

    /// [`Client::role`] under a given command id: whoever repeats it with the same id gets the first answer again.
    ///
    /// # Errors
    /// As [`Client::role`].
    pub async fn role_as(
        &self,
        role: Role,
        verb: &str,
        args: &impl Serialize,
        command_id: &str,
    ) -> Result<RoleReply, CliError> {
        let subject = Subject::role(&self.fleet, role)?;
        let payload = self.command(verb, args, command_id)?;
        let deadline = Instant::now() + self.patience;
        let mut pause = PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let one_try = if role == Role::Ledger { LEDGER_TRY_TIMEOUT } else { TRY_TIMEOUT };
            let why = match self.bus.request(&subject, payload.clone(), one_try.min(left)).await {
                Ok(reply) => match read_reply(role, verb, &reply)? {
                    reply if reply.code == NOT_LEADING => reply.reason,
                    reply => return Ok(reply),
                },
                Err(
                    error
                    @ (RequestError::NoResponders | RequestError::Deadline | RequestError::Disconnected),
                ) => error.to_string(),
                Err(error) => {
                    return Err(CliError::new(
                        "AST-U002",
                        format!("{verb} could not be sent"),
                        error.to_string(),
                    ));
                }
            };
            if Instant::now() + pause >= deadline {
                let what = format!("no {role} answered within {} s", self.patience.as_secs());
                let why = format!("{why}; is it running?");
                return Err(CliError::new("AST-U001", what, why).next("asterism doctor"));
            }
            tracing::debug!(%role, verb, why, "asking again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn command(&self, verb: &str, args: &impl Serialize, command_id: &str) -> Result<Vec<u8>, CliError> {
        let failed = |why: String| CliError::new("AST-U002", format!("{verb} could not be sent"), why);
        let json = serde_json::to_vec(args).map_err(|error| failed(error.to_string()))?;
        let payload = RoleCommand {
            command_id: command_id.to_owned(),
            verb: verb.to_owned(),
            json,
            actor: self.actor.clone(),
        }
        .encode_to_vec();
        if payload.len() > COMMAND_MAX_BYTES {
            return Err(failed(format!("it has {} bytes, at most {COMMAND_MAX_BYTES} go", payload.len())));
        }
        Ok(payload)
    }
}

/// A reply that is no refusal, or the one refusal that asks for a repeat.
fn read_reply(role: Role, verb: &str, bytes: &[u8]) -> Result<RoleReply, CliError> {
    let reply = RoleReply::decode(bytes).map_err(|error| {
        let what = format!("the answer of the {role} to {verb} cannot be read");
        CliError::new("AST-U003", what, error.to_string()).next("asterism --version")
    })?;
    if reply.code.is_empty() || reply.code == NOT_LEADING {
        return Ok(reply);
    }
    let what = format!("the {role} refused {verb}");
    Err(CliError::new(&reply.code, what, reply.reason).next(reply.next))
}

/// Who asks, for the log: the user of this machine.
fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let user: String = user.chars().filter(plain).take(ACTOR_MAX_BYTES - 4).collect();
    if user.is_empty() { "cli".to_owned() } else { format!("cli:{user}") }
}
