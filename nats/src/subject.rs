//! Every subject there is, built and read in one place. No other file of the project spells one.
//!
//! The table in `nats/conf/README.md` is [`TABLE`]; a test keeps them equal.

use std::fmt;

use asterism_proto::origin::is_token;
use asterism_proto::{Origin, Role};

/// Where every subject begins: the product and the version of the subject layout.
const ROOT: &str = "ast.v1";
/// Where every inbox begins. Nothing else is answered on.
pub const INBOX_ROOT: &str = "_IN";
/// Longest subject read or written, in bytes.
pub const SUBJECT_MAX_BYTES: usize = 240;

/// A subject of the table, or a filter over them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

/// Why a subject could not be built or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// A part is no token.
    #[error("{part} {value:?} cannot stand in a subject: expected 1 to 64 of [A-Za-z0-9_-]")]
    Token {
        /// Which part.
        part: &'static str,
        /// What was given, cut to 80 characters.
        value: String,
    },
    /// The text is no subject of the table.
    #[error("not a subject of this project")]
    Unknown,
}

/// What a node can be ordered to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Dial attempts.
    Dial,
    /// Hang up attempts.
    Hangup,
    /// Take no new attempts, or take them again.
    Drain,
    /// Fetch a manifest.
    Sync,
    /// Send frames again.
    Resend,
    /// Say which manifests are there.
    Have,
    /// Have these trunks.
    Trunks,
    /// Ask a trunk's carrier whether it is there.
    Check,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 8] = [
        Verb::Dial,
        Verb::Hangup,
        Verb::Drain,
        Verb::Sync,
        Verb::Resend,
        Verb::Have,
        Verb::Trunks,
        Verb::Check,
    ];

    /// The last word of the subject.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Dial => "dial",
            Verb::Hangup => "hangup",
            Verb::Drain => "drain",
            Verb::Sync => "sync",
            Verb::Resend => "resend",
            Verb::Have => "have",
            Verb::Trunks => "trunks",
            Verb::Check => "check",
        }
    }
}

/// What a received subject says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the words of the subject table")]
pub enum Parsed {
    /// A frame into the stream.
    Event { fleet: String, origin: Origin },
    /// An order to a node.
    Command { fleet: String, node: String, verb: Verb },
    /// A command to the leader of a role.
    RoleCommand { fleet: String, role: Role },
    /// A leader or a process is asked to send frames again.
    Resend { fleet: String, origin: Origin },
    /// A node's heartbeat.
    Heartbeat { fleet: String, node: String },
    /// A node asks to be admitted.
    Registration { fleet: String },
    /// A node asks for the time.
    Time { fleet: String },
    /// A step question.
    Step { fleet: String },
    /// A question to a flow's back end.
    Backend {
        /// Its fleet.
        fleet: String,
        /// The flow's name.
        flow: String,
    },
    /// A new checkpoint.
    CheckpointNotice { fleet: String },
    /// Someone wants a checkpoint now.
    CheckpointRequest { fleet: String },
    /// Someone wants events of the log.
    RangeRequest { fleet: String },
    /// A node cosigns a checkpoint.
    Cosignature { fleet: String, node: String },
    /// A node wants proofs of the log's growth.
    GrowthRequest { fleet: String },
    /// A node wants to know where sounds may be had.
    AddressRequest { fleet: String },
}

/// One row of the subject table: subject, pattern of transport, who sends, who receives, body.
pub type Row = [&'static str; 5];

/// The subject table as the documentation shows it.
pub const TABLE: [Row; 15] = [
    ["ast.v1.ev.<fleet>.<node\\|role\\|proc>.<id>", "stream", "its origin", "every reader", "a signed frame"],
    [
        "ast.v1.cmd.<fleet>.<node>.<verb>",
        "request",
        "dialer, scaler, media-sync, ledger",
        "the node",
        "`*Order` → `OrderReply`",
    ],
    [
        "ast.v1.role.<fleet>.<role>",
        "request",
        "cli, console, services",
        "the role's leader",
        "`RoleCommand` → `RoleReply`",
    ],
    [
        "ast.v1.again.<fleet>.<role\\|proc>.<id>",
        "request",
        "ledger",
        "who holds its frames",
        "`ResendOrder` → `OrderReply`",
    ],
    ["ast.v1.hb.<fleet>.<node>", "publish", "the node", "services, the node itself", "`Heartbeat`"],
    ["ast.v1.reg.<fleet>", "request", "a new node", "scaler", "`Registration` → `RegistrationReply`"],
    ["ast.v1.time.<fleet>", "request", "nodes", "scaler", "empty → `TimeReply`"],
    [
        "ast.v1.logic.<fleet>.step",
        "request, queue group",
        "nodes",
        "logic-responder",
        "`StepQuestion` → `StepAnswer`",
    ],
    [
        "ast.v1.ask.<fleet>.<flow>",
        "request, queue group",
        "logic-responder",
        "a flow's back end",
        "the question as JSON → the answer as JSON",
    ],
    ["ast.v1.ck.<fleet>", "publish", "ledger", "everyone", "`CheckpointNotice`"],
    ["ast.v1.req.<fleet>.checkpoint", "request", "everyone", "ledger", "empty → `CheckpointNotice`"],
    ["ast.v1.cosign.<fleet>.<node>", "publish", "the node", "ledger", "`Cosignature`"],
    ["ast.v1.req.<fleet>.growth", "request", "nodes", "ledger", "`GrowthRequest` → `GrowthReply`"],
    [
        "ast.v1.req.<fleet>.media",
        "request, queue group",
        "nodes",
        "media-sync",
        "`AddressRequest` → `AddressReply`",
    ],
    ["ast.v1.req.<fleet>.range", "request", "services", "ledger", "`RangeRequest` → `RangeReply`"],
];

fn token<'a>(part: &'static str, value: &'a str) -> Result<&'a str, SubjectError> {
    if is_token(value) {
        Ok(value)
    } else {
        Err(SubjectError::Token { part, value: value.chars().take(80).collect() })
    }
}

impl Subject {
    /// A frame of this origin, into the stream.
    pub fn event(fleet: &str, origin: &Origin) -> Result<Self, SubjectError> {
        let id = origin.id();
        Ok(Self(format!("{ROOT}.ev.{}.{}.{}", token("fleet", fleet)?, origin.class(), token("origin", &id)?)))
    }

    /// All frames of a fleet: what its stream stores.
    pub fn events(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.ev.{}.>", token("fleet", fleet)?)))
    }

    /// An order to a node.
    pub fn command(fleet: &str, node: &str, verb: Verb) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.cmd.{}.{}.{}", token("fleet", fleet)?, token("node", node)?, verb.name())))
    }

    /// All orders to one node: what its agent subscribes to.
    pub fn commands(fleet: &str, node: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.cmd.{}.{}.*", token("fleet", fleet)?, token("node", node)?)))
    }

    /// Commands to the leader of a role. Only the leader subscribes.
    pub fn role(fleet: &str, role: Role) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.role.{}.{}", token("fleet", fleet)?, role.name())))
    }

    /// Any origin is asked to send frames again: a node by its order, all others by whoever holds their frames.
    pub fn resend(fleet: &str, origin: &Origin) -> Result<Self, SubjectError> {
        match origin {
            Origin::Node(node) => Self::command(fleet, node, Verb::Resend),
            Origin::Role(_) | Origin::Proc(..) => {
                let (fleet, id) = (token("fleet", fleet)?, origin.id());
                Ok(Self(format!("{ROOT}.again.{fleet}.{}.{}", origin.class(), token("origin", &id)?)))
            }
        }
    }

    /// All that ask a leader or a process to send frames again: what a holder of frames subscribes to.
    pub fn resends(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.again.{}.*.*", token("fleet", fleet)?)))
    }

    /// A node's heartbeat.
    pub fn heartbeat(fleet: &str, node: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.hb.{}.{}", token("fleet", fleet)?, token("node", node)?)))
    }

    /// The heartbeats of all nodes.
    pub fn heartbeats(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.hb.{}.*", token("fleet", fleet)?)))
    }

    /// A new node asks to be admitted.
    pub fn registration(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.reg.{}", token("fleet", fleet)?)))
    }

    /// A node asks for the fleet's time.
    pub fn time(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.time.{}", token("fleet", fleet)?)))
    }

    /// A step question of the dialplan.
    pub fn step(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.logic.{}.step", token("fleet", fleet)?)))
    }

    /// What a flow's back end on the bus is asked.
    pub fn backend(fleet: &str, flow: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.ask.{}.{}", token("fleet", fleet)?, token("flow", flow)?)))
    }

    /// A new checkpoint is told to everyone.
    pub fn checkpoint_notice(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.ck.{}", token("fleet", fleet)?)))
    }

    /// Someone wants a checkpoint now.
    pub fn checkpoint_request(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.req.{}.checkpoint", token("fleet", fleet)?)))
    }

    /// A node cosigns a checkpoint.
    pub fn cosignature(fleet: &str, node: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.cosign.{}.{}", token("fleet", fleet)?, token("node", node)?)))
    }

    /// The cosignatures of all nodes.
    pub fn cosignatures(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.cosign.{}.*", token("fleet", fleet)?)))
    }

    /// A node that missed checkpoints wants proofs of the log's growth.
    pub fn growth_request(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.req.{}.growth", token("fleet", fleet)?)))
    }

    /// A node wants to know where sounds may be had.
    pub fn address_request(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.req.{}.media", token("fleet", fleet)?)))
    }

    /// Someone wants a range of the log.
    pub fn range_request(fleet: &str) -> Result<Self, SubjectError> {
        Ok(Self(format!("{ROOT}.req.{}.range", token("fleet", fleet)?)))
    }

    /// The subject as received, if it is short and printable; [`Subject::parse`] says what it means.
    pub(crate) fn received(text: &str) -> Self {
        Self(text.chars().take(SUBJECT_MAX_BYTES).collect())
    }

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What this subject says, or that it is none of the table (a filter is none).
    pub fn parse(&self) -> Result<Parsed, SubjectError> {
        Parsed::from_text(&self.0)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Parsed {
    /// Reads a subject of the table.
    pub fn from_text(text: &str) -> Result<Self, SubjectError> {
        if text.len() > SUBJECT_MAX_BYTES {
            return Err(SubjectError::Unknown);
        }
        let rest =
            text.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('.')).ok_or(SubjectError::Unknown)?;
        let mut words = [""; 4];
        let mut count = 0;
        for word in rest.split('.') {
            if count == words.len() || !is_token(word) {
                return Err(SubjectError::Unknown);
            }
            words[count] = word;
            count += 1;
        }
        Self::from_words(&words[..count]).ok_or(SubjectError::Unknown)
    }

    fn from_words(words: &[&str]) -> Option<Self> {
        let owned = |text: &str| text.to_owned();
        Some(match *words {
            ["ev", fleet, class, id] => {
                Parsed::Event { fleet: owned(fleet), origin: format!("{class}/{id}").parse().ok()? }
            }
            ["cmd", fleet, node, verb] => Parsed::Command {
                fleet: owned(fleet),
                node: owned(node),
                verb: Verb::ALL.into_iter().find(|known| known.name() == verb)?,
            },
            ["again", fleet, class @ ("role" | "proc"), id] => {
                Parsed::Resend { fleet: owned(fleet), origin: format!("{class}/{id}").parse().ok()? }
            }
            ["role", fleet, role] => Parsed::RoleCommand { fleet: owned(fleet), role: role.parse().ok()? },
            ["hb", fleet, node] => Parsed::Heartbeat { fleet: owned(fleet), node: owned(node) },
            ["reg", fleet] => Parsed::Registration { fleet: owned(fleet) },
            ["time", fleet] => Parsed::Time { fleet: owned(fleet) },
            ["logic", fleet, "step"] => Parsed::Step { fleet: owned(fleet) },
            ["ask", fleet, flow] => Parsed::Backend { fleet: owned(fleet), flow: owned(flow) },
            ["ck", fleet] => Parsed::CheckpointNotice { fleet: owned(fleet) },
            ["req", fleet, "checkpoint"] => Parsed::CheckpointRequest { fleet: owned(fleet) },
            ["cosign", fleet, node] => Parsed::Cosignature { fleet: owned(fleet), node: owned(node) },
            ["req", fleet, "growth"] => Parsed::GrowthRequest { fleet: owned(fleet) },
            ["req", fleet, "media"] => Parsed::AddressRequest { fleet: owned(fleet) },
            ["req", fleet, "range"] => Parsed::RangeRequest { fleet: owned(fleet) },
            _ => return None,
        })
    }
}

/// The stream of a fleet.
pub fn stream_name(fleet: &str) -> Result<String, SubjectError> {
    Ok(format!("AST_{}", token("fleet", fleet)?))
}

/// The key-value bucket of a fleet's leases.
pub fn lease_bucket(fleet: &str) -> Result<String, SubjectError> {
    Ok(format!("AST_LEASE_{}", token("fleet", fleet)?))
}

/// The inbox prefix of a node's connection. A node may read no other inbox.
pub fn node_inbox(node: &str) -> Result<String, SubjectError> {
    Ok(format!("{INBOX_ROOT}.node.{}", token("node", node)?))
}

/// The inbox prefix of a service's connection; nodes may answer there.
pub fn service_inbox(process: &str) -> Result<String, SubjectError> {
    Ok(format!("{INBOX_ROOT}.svc.{}", token("process", process)?))
}

/// Whether the text is an inbox prefix: the root and one to three tokens.
pub(crate) fn is_inbox_prefix(text: &str) -> bool {
    let mut words = text.split('.');
    words.next() == Some(INBOX_ROOT)
        && (1..=3).contains(&words.clone().count())
        && text.len() <= SUBJECT_MAX_BYTES / 2
        && words.all(is_token)
}

/// Whether an answer may be sent there: an inbox below some prefix, and no wildcard.
pub(crate) fn is_inbox(text: &str) -> bool {
    let mut words = text.split('.');
    words.next() == Some(INBOX_ROOT)
        && (2..=6).contains(&words.clone().count())
        && text.len() <= SUBJECT_MAX_BYTES
        && words.all(is_token)
}

/// What a user that is no service may do, as subjects with `*` for the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects it may publish to.
    pub publish_allow: Vec<String>,
    /// Subjects it may not publish to, whatever is allowed.
    pub publish_deny: Vec<String>,
    /// Subjects it may subscribe to.
    pub subscribe_allow: Vec<String>,
}

/// The permissions of the `node` user: its class of the stream, what it asks and tells, and the inboxes of services.
pub fn node_permissions() -> Permissions {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).replace("ROOT", ROOT)).collect();
    Permissions {
        publish_allow: owned(&[
            "ROOT.ev.*.node.*",
            "ROOT.hb.*.*",
            "ROOT.reg.*",
            "ROOT.time.*",
            "ROOT.logic.*.step",
            "ROOT.req.*.checkpoint",
            "ROOT.req.*.growth",
            "ROOT.req.*.media",
            "ROOT.cosign.*.*",
            "_IN.>",
        ]),
        publish_deny: owned(&["$JS.API.>", "$SYS.>", "$KV.>", "_IN.node.>"]),
        subscribe_allow: owned(&["ROOT.cmd.*.*.*", "ROOT.ck.*", "ROOT.hb.*.*", "_IN.node.>"]),
    }
}

/// The permissions of the `web` user, a back end on the bus: it hears the questions of flows and answers services.
pub fn web_permissions() -> Permissions {
    Permissions {
        publish_allow: vec!["_IN.svc.>".to_owned()],
        publish_deny: Vec::new(),
        subscribe_allow: vec![format!("{ROOT}.ask.*.*")],
    }
}

#[cfg(test)]
#[path = "subject_tests.rs"]
mod tests;
