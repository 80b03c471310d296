//! Origins: who may write frames, spelt as in the subject and in the frame header.

use std::fmt;
use std::str::FromStr;

/// Longest spelt origin, in bytes.
pub const ORIGIN_MAX_BYTES: usize = 80;

/// A service role. Each has one key in `LogCreated`; the leading ones have one leader at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Writes frame 1 and nothing else.
    Fleet,
    /// Campaigns, contacts and attempts.
    Dialer,
    /// Instances and nodes.
    Scaler,
    /// Manifests and flows.
    MediaSync,
    /// Checkpoints.
    Ledger,
    /// Step decisions; many processes, none leads.
    LogicResponder,
}

impl Role {
    /// Every role, in the order `LogCreated` lists them.
    pub const ALL: [Role; 6] =
        [Role::Fleet, Role::Dialer, Role::Scaler, Role::MediaSync, Role::Ledger, Role::LogicResponder];

    /// The role's name in subjects, keys and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Fleet => "fleet",
            Role::Dialer => "dialer",
            Role::Scaler => "scaler",
            Role::MediaSync => "media-sync",
            Role::Ledger => "ledger",
            Role::LogicResponder => "logic-responder",
        }
    }

    /// Whether the role has a leader made by `LeaderElected`.
    pub const fn leads(self) -> bool {
        matches!(self, Role::Dialer | Role::Scaler | Role::MediaSync | Role::Ledger)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = OriginError;
    fn from_str(text: &str) -> Result<Self, OriginError> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or(OriginError)
    }
}

/// The text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an origin: expected node/<id>, role/<role> or proc/<role>-<id> of [A-Za-z0-9_-]")]
pub struct OriginError;

/// Who wrote a frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A node, by its instance id.
    Node(String),
    /// The leader of a role.
    Role(Role),
    /// A process of a role that does not lead: role and process id.
    Proc(Role, String),
}

impl Origin {
    /// The class word of the subject: `node`, `role` or `proc`.
    pub const fn class(&self) -> &'static str {
        match self {
            Origin::Node(_) => "node",
            Origin::Role(_) => "role",
            Origin::Proc(..) => "proc",
        }
    }

    /// The last word of the subject.
    pub fn id(&self) -> String {
        match self {
            Origin::Node(id) => id.clone(),
            Origin::Role(role) => role.name().to_owned(),
            Origin::Proc(role, id) => format!("{role}-{id}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.class(), self.id())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text.len() > ORIGIN_MAX_BYTES {
            return Err(OriginError);
        }
        let (class, id) = text.split_once('/').ok_or(OriginError)?;
        if !is_token(id) {
            return Err(OriginError);
        }
        match class {
            "node" => Ok(Origin::Node(id.to_owned())),
            "role" => Ok(Origin::Role(id.parse()?)),
            "proc" => Role::ALL
                .into_iter()
                .find_map(|role| {
                    let rest = id.strip_prefix(role.name())?.strip_prefix('-')?;
                    is_token(rest).then(|| Origin::Proc(role, rest.to_owned()))
                })
                .ok_or(OriginError),
            _ => Err(OriginError),
        }
    }
}

/// Whether the text can stand as one token of a subject, a file name and a channel id: `[A-Za-z0-9_-]{1,64}`.
pub fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_origin_reads_back_as_it_was_written() {
        for text in ["node/i-0abc", "role/media-sync", "role/dialer", "proc/logic-responder-x1_y"] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_leave_its_subject_token_is_refused() {
        for text in ["node/", "node/a.b", "node/*", "role/king", "proc/dialer", "x/y", "node/a b", "node"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
