//! Why a cloud did not do what it was asked, and what that means for the asker.

/// Stable codes of cloud failures, shown in every message.
pub mod code {
    /// The request itself is not valid; nothing was sent.
    pub const BAD_REQUEST: &str = "AST-E001";
    /// The intent was used before with other parameters.
    pub const INTENT_MISMATCH: &str = "AST-E002";
    /// The agent program is not there or not executable.
    pub const NO_AGENT: &str = "AST-E003";
    /// The folder of the local instances cannot be read or written.
    pub const FOLDER: &str = "AST-E004";
    /// The machine cannot start another process.
    pub const NO_ROOM: &str = "AST-E005";
    /// A record of a local instance is damaged.
    pub const DAMAGED: &str = "AST-E006";
    /// Another process is working on the same instance and does not finish.
    pub const BUSY: &str = "AST-E007";
    /// A process was started and cannot be identified.
    pub const UNSEEN: &str = "AST-E008";
    /// A process does not end, not even when killed.
    pub const UNKILLABLE: &str = "AST-E009";
    /// No instance of that id is visible (EC2 may show it later).
    pub const NO_SUCH_INSTANCE: &str = "AST-E010";
    /// More instances than a listing may have.
    pub const TOO_MANY: &str = "AST-E011";
    /// The region has no such machine to give, or the account may not have more.
    pub const CAPACITY: &str = "AST-E020";
    /// The account may not have more on demand; another zone does not help.
    pub const QUOTA: &str = "AST-S060";
    /// The account may not have more spot; another zone does not help.
    pub const SPOT_QUOTA: &str = "AST-S080";
    /// The account may not have more Elastic IP addresses.
    pub const ADDRESS_QUOTA: &str = "AST-S081";
    /// The account may not have more storage.
    pub const VOLUME_QUOTA: &str = "AST-S082";
    /// The subnet has no private address left.
    pub const SUBNET_FULL: &str = "AST-S083";
    /// The credentials have expired.
    pub const EXPIRED: &str = "AST-S084";
    /// The clock is off, or the credentials have expired.
    pub const CLOCK_OFF: &str = "AST-S085";
    /// The key is unknown or its secret is wrong.
    pub const BAD_KEY: &str = "AST-S086";
    /// There is no key at all; nothing was sent.
    pub const NO_KEY: &str = "AST-S087";
    /// The account is closed for this.
    pub const ACCOUNT: &str = "AST-S088";
    /// Another instance has the address.
    pub const ADDRESS_TAKEN: &str = "AST-S090";
    /// The account has no such address in this region.
    pub const NO_SUCH_ADDRESS: &str = "AST-S091";
    /// The instance is not so far that it can have an address.
    pub const NOT_RUNNING: &str = "AST-S092";
    /// An image, subnet, group or template of the configuration is not there.
    pub const NOT_THERE: &str = "AST-S089";
    /// The cloud asks us to slow down, or our own limiter does before it has to.
    pub const THROTTLED: &str = "AST-E021";
    /// No answer, or none that can be read.
    pub const UNREACHABLE: &str = "AST-E022";
    /// The cloud refuses the request for good.
    pub const REFUSED: &str = "AST-E023";
    /// The credentials are good and not allowed to do this.
    pub const DENIED: &str = "AST-E024";
    /// The instance of this intent has ended and is forgotten; make a new intent.
    pub const SPENT: &str = "AST-E025";
}

/// What a failure means for the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing happened and the same call may succeed later: repeat it with back-off.
    Transient,
    /// Nothing happened because there is no room: ask for another type or zone, under a new intent.
    Capacity,
    /// Nothing happened and the same call will never succeed: somebody has to change something.
    Permanent,
    /// It may have happened: repeat with the same intent, or find out by listing.
    UnknownOutcome,
}

/// A failed call to a cloud.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}: {why}{}", told(.next))]
pub struct CloudError {
    /// What the asker should do.
    pub kind: ErrorKind,
    /// Stable code, one of [`code`].
    pub code: &'static str,
    /// What failed: the call, the instance or the file.
    pub what: String,
    /// Why, with the cloud's own code first where there is one.
    pub why: String,
    /// What a person can do; empty where nothing is to be done.
    pub next: &'static str,
}

fn told(next: &str) -> String {
    if next.is_empty() { String::new() } else { format!("; next: {next}") }
}

impl CloudError {
    /// Puts a failure together.
    pub fn new(kind: ErrorKind, code: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { kind, code, what: what.into(), why: why.into(), next: "" }
    }

    /// Says what a person can do.
    #[must_use]
    pub fn next(mut self, next: &'static str) -> Self {
        self.next = next;
        self
    }

    /// Whether the account's quota is used up, so that another zone does not help.
    pub fn is_quota(&self) -> bool {
        [code::QUOTA, code::SPOT_QUOTA].contains(&self.code)
    }

    /// Whether it is about who asks, not about what was asked for.
    pub fn is_of_credentials(&self) -> bool {
        let codes =
            [code::DENIED, code::EXPIRED, code::CLOCK_OFF, code::BAD_KEY, code::NO_KEY, code::ACCOUNT];
        codes.contains(&self.code)
    }
}
