//! Verbs: what a call does in one step, written `verb|A1|A2|A3|A4|A5` as the dialplan splits it.
//!
//! One grammar for flows, back ends, the agent and the simulator. The alphabet `A-Za-z0-9|_/.&*#+-` holds nothing the
//! dialplan could interpret, lengths are bounded and prompts are names only. What [`Verb::parse`] accepts,
//! [`Verb::encode`] writes back byte for byte, less empty arguments at the end.

use std::fmt;

use super::{
    MAX_ATTEMPTS, MAX_CAUSE, MAX_DIGITS, MAX_PAUSE_S, MAX_RECORD_S, MAX_RING_S, MAX_TALK_S, MAX_TIMEOUT_S,
};

/// Arguments a verb has at most.
pub const VERB_ARGS: usize = 5;
/// Longest verb with its arguments, in bytes: the manifest goes before each prompt, and the dialplan takes 1,000 bytes.
pub const MAX_VERB_BYTES: usize = 900;
/// Most prompts or parts of speech in one verb on the wire.
pub const MAX_PARTS: usize = 32;

/// Longest address of somebody who is dialled, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 64;

const NO_KEY: &str = "none";

/// The verb a call ran last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LastVerb {
    /// None yet.
    #[default]
    Start,
    /// `play`.
    Play,
    /// `gather`.
    Gather,
    /// `say`.
    Say,
    /// `pause`.
    Pause,
    /// `hangup`.
    Hangup,
    /// `optout`.
    Optout,
    /// `dial`.
    Dial,
    /// `record`.
    Record,
}

impl LastVerb {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Play,
        Self::Gather,
        Self::Say,
        Self::Pause,
        Self::Hangup,
        Self::Optout,
        Self::Dial,
        Self::Record,
    ];

    /// Its word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Play => "play",
            Self::Gather => "gather",
            Self::Say => "say",
            Self::Pause => "pause",
            Self::Hangup => "hangup",
            Self::Optout => "optout",
            Self::Dial => "dial",
            Self::Record => "record",
        }
    }

    /// The verb of a word on the wire.
    pub fn parse(word: &str) -> Result<Self, VerbError> {
        let known = Self::ALL.into_iter().find(|verb| verb.as_str() == word);
        known.ok_or_else(|| VerbError::unknown(word))
    }

    /// Whether its result is digits that someone pressed.
    pub const fn has_digits(self) -> bool {
        matches!(self, Self::Play | Self::Gather | Self::Say)
    }
}

/// Which keys end a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finish {
    /// `#`.
    #[default]
    Hash,
    /// `*`.
    Star,
    /// Any key.
    Any,
    /// None.
    None,
}

impl Finish {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hash, Self::Star, Self::Any, Self::None];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "#",
            Self::Star => "*",
            Self::Any => "any",
            Self::None => NO_KEY,
        }
    }

    /// Reads what is written.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|finish| finish.as_str() == text)
    }
}

/// What a call does in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Plays prompts one after the other.
    Play {
        /// Names of prompts, at least one.
        prompts: Vec<String>,
        /// Whether a digit stops them.
        barge: bool,
    },
    /// Plays prompts and takes digits; a digit stops the prompts.
    Gather {
        /// Names of prompts, may be empty.
        prompts: Vec<String>,
        /// How many digits end it, 1 to [`MAX_DIGITS`].
        max_digits: u32,
        /// How long to wait for each digit, in seconds, 1 to [`MAX_TIMEOUT_S`].
        timeout_s: u32,
        /// How often to play and wait while nothing is pressed, 1 to [`MAX_ATTEMPTS`].
        attempts: u32,
        /// The key that ends it early: one of `0-9*#`.
        finish_key: Option<char>,
    },
    /// Says a value by recorded parts.
    Say {
        /// Names of sounds, `language/path`, at least one: of the PBX's own, not of the campaign's manifest.
        parts: Vec<String>,
        /// Whether a digit stops them.
        barge: bool,
    },
    /// Silence.
    Pause {
        /// How long, in seconds, 0 to [`MAX_PAUSE_S`].
        seconds: u32,
    },
    /// Ends the call.
    Hangup {
        /// The Q.850 cause, 1 to [`MAX_CAUSE`]; 16 is a normal end.
        cause: u32,
    },
    /// Records what the callee says, until silence, a key or the time is up.
    Record {
        /// The longest, in seconds, 1 to [`MAX_RECORD_S`].
        max_s: u32,
        /// Silence that ends it, in seconds, up to [`MAX_TIMEOUT_S`]; 0 = none does.
        silence_s: u32,
        /// The keys that end it.
        finish: Finish,
    },
    /// The callee will never be called again: plays a goodbye and ends the call.
    Optout {
        /// Names of prompts, may be empty.
        prompts: Vec<String>,
    },
    /// Calls somebody else and joins the two, until one hangs up or the time is over.
    Dial {
        /// In a flow the name of one of its destinations; on the way to the dialplan its address.
        to: Address,
        /// How long it may ring, in seconds, 1 to [`MAX_RING_S`].
        ring_s: u32,
        /// How long they may talk, in seconds, 1 to [`MAX_TALK_S`].
        talk_s: u32,
        /// The number shown; none in a flow, and for the channel's own.
        caller_id: Option<Address>,
        /// What the leg leaves by: none in a flow, where it is the call's own trunk.
        by: Option<Address>,
    },
}

/// What can be wrong with a verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerbError {
    /// Longer than [`MAX_VERB_BYTES`].
    #[error("the verb is longer than {MAX_VERB_BYTES} bytes")]
    TooLong,
    /// A character outside `A-Za-z0-9|_/.&*#+-`.
    #[error("the verb has a character outside its alphabet")]
    BadAlphabet,
    /// More than [`VERB_ARGS`] arguments.
    #[error("the verb has more than {VERB_ARGS} arguments")]
    TooManyArguments,
    /// A verb this build does not know; it is shown cut to 16 characters.
    #[error("unknown verb {0}")]
    Unknown(String),
    /// An argument is missing, out of range or not of its kind.
    #[error("argument {0} is missing or out of range")]
    BadArgument(&'static str),
}

impl VerbError {
    /// For a verb nobody knows, with at most 16 harmless characters of it.
    fn unknown(word: &str) -> Self {
        Self::Unknown(word.chars().filter(char::is_ascii_alphanumeric).take(16).collect())
    }
}

impl Verb {
    /// Its word on the wire and in the next question.
    pub const fn name(&self) -> LastVerb {
        match self {
            Self::Play { .. } => LastVerb::Play,
            Self::Gather { .. } => LastVerb::Gather,
            Self::Say { .. } => LastVerb::Say,
            Self::Pause { .. } => LastVerb::Pause,
            Self::Hangup { .. } => LastVerb::Hangup,
            Self::Optout { .. } => LastVerb::Optout,
            Self::Dial { .. } => LastVerb::Dial,
            Self::Record { .. } => LastVerb::Record,
        }
    }

    /// Reads a verb with its arguments; those at the end may be left out.
    pub fn parse(text: &str) -> Result<Self, VerbError> {
        if text.len() > MAX_VERB_BYTES {
            return Err(VerbError::TooLong);
        }
        if !is_wire(text) {
            return Err(VerbError::BadAlphabet);
        }
        let mut fields = text.split('|');
        let word = fields.next().unwrap_or_default();
        let mut args = [""; VERB_ARGS];
        for (index, field) in fields.enumerate() {
            *args.get_mut(index).ok_or(VerbError::TooManyArguments)? = field;
        }
        Self::of(word, args)
    }

    /// Reads a verb whose arguments are split already.
    pub fn of(word: &str, args: [&str; VERB_ARGS]) -> Result<Self, VerbError> {
        let (verb, used) = match LastVerb::parse(word)? {
            LastVerb::Start => return Err(VerbError::unknown(word)),
            LastVerb::Play => (Self::Play { prompts: names(args[0], 1)?, barge: flag(args[1])? }, 2),
            LastVerb::Say => (Self::Say { parts: names(args[0], 1)?, barge: flag(args[1])? }, 2),
            LastVerb::Gather => {
                let gather = Self::Gather {
                    prompts: names(args[0], 0)?,
                    max_digits: number(args[1], 1, MAX_DIGITS, "max_digits")?,
                    timeout_s: number(args[2], 1, MAX_TIMEOUT_S, "timeout")?,
                    attempts: number(args[3], 1, MAX_ATTEMPTS, "attempts")?,
                    finish_key: finish_key(args[4])?,
                };
                (gather, 5)
            }
            LastVerb::Pause => (Self::Pause { seconds: number(args[0], 0, MAX_PAUSE_S, "seconds")? }, 1),
            LastVerb::Hangup => (Self::Hangup { cause: number(args[0], 1, MAX_CAUSE, "cause")? }, 1),
            LastVerb::Optout => (Self::Optout { prompts: names(args[0], 0)? }, 1),
            LastVerb::Dial => {
                let dial = Self::Dial {
                    to: Address::parse(args[0]).ok_or(VerbError::BadArgument("to"))?,
                    ring_s: number(args[1], 1, MAX_RING_S, "ring")?,
                    talk_s: number(args[2], 1, MAX_TALK_S, "talk")?,
                    caller_id: maybe(args[3], "caller_id")?,
                    by: maybe(args[4], "by")?,
                };
                (dial, 5)
            }
            LastVerb::Record => {
                let record = Self::Record {
                    max_s: number(args[0], 1, MAX_RECORD_S, "max_s")?,
                    silence_s: number(args[1], 0, MAX_TIMEOUT_S, "silence")?,
                    finish: Finish::parse(args[2]).ok_or(VerbError::BadArgument("finish"))?,
                };
                (record, 3)
            }
        };
        if args[used..].iter().any(|arg| !arg.is_empty()) {
            return Err(VerbError::BadArgument("unused"));
        }
        Ok(verb)
    }

    /// Its arguments; unused ones are empty.
    pub fn args(&self) -> [String; VERB_ARGS] {
        let mut args: [String; VERB_ARGS] = Default::default();
        match self {
            Self::Play { prompts: names, barge } | Self::Say { parts: names, barge } => {
                args[0] = names.join("&");
                args[1] = u8::from(*barge).to_string();
            }
            Self::Gather { prompts, max_digits, timeout_s, attempts, finish_key } => {
                args[0] = prompts.join("&");
                args[1] = max_digits.to_string();
                args[2] = timeout_s.to_string();
                args[3] = attempts.to_string();
                args[4] = finish_key.map_or_else(|| NO_KEY.to_owned(), String::from);
            }
            Self::Pause { seconds } => args[0] = seconds.to_string(),
            Self::Hangup { cause } => args[0] = cause.to_string(),
            Self::Optout { prompts } => args[0] = prompts.join("&"),
            Self::Dial { to, ring_s, talk_s, caller_id, by } => {
                let text = |address: &Option<Address>| address.as_ref().map(|address| address.0.clone());
                args = [
                    to.0.clone(),
                    ring_s.to_string(),
                    talk_s.to_string(),
                    text(caller_id).unwrap_or_default(),
                    text(by).unwrap_or_default(),
                ];
            }
            Self::Record { max_s, silence_s, finish } => {
                args[0] = max_s.to_string();
                args[1] = silence_s.to_string();
                finish.as_str().clone_into(&mut args[2]);
            }
        }
        args
    }

    /// The verb as it is written, checked against the whole grammar: a value built by hand that breaks it is an error.
    pub fn encode(&self) -> Result<String, VerbError> {
        let text = format!("{}|{}", self.name().as_str(), self.args().join("|"));
        let text = text.trim_end_matches('|').to_owned();
        if Self::parse(&text)? == *self { Ok(text) } else { Err(VerbError::BadArgument("prompts")) }
    }

    /// Puts a folder before each prompt of the campaign's; `say` names sounds of the PBX's own.
    pub fn within(&mut self, folder: &str) {
        let (Self::Play { prompts, .. } | Self::Gather { prompts, .. } | Self::Optout { prompts }) = self
        else {
            return;
        };
        if !folder.is_empty() {
            for prompt in prompts {
                *prompt = format!("{folder}/{prompt}");
            }
        }
    }

    /// The campaign's prompts it plays.
    pub fn prompts(&self) -> &[String] {
        match self {
            Self::Play { prompts, .. } | Self::Gather { prompts, .. } | Self::Optout { prompts } => prompts,
            Self::Say { .. }
            | Self::Pause { .. }
            | Self::Hangup { .. }
            | Self::Dial { .. }
            | Self::Record { .. } => &[],
        }
    }

    /// Whether it waits for the caller or the clock, so that a loop through it is no busy loop.
    pub const fn waits(&self) -> bool {
        matches!(self, Self::Gather { .. } | Self::Pause { .. } | Self::Record { .. })
    }

    /// Whether the call ends with it.
    pub const fn ends(&self) -> bool {
        matches!(self, Self::Hangup { .. } | Self::Optout { .. })
    }
}

/// Whether `name` can name a prompt: `A-Za-z0-9_/.-`, segments that are not empty and do not begin with a dot.
pub fn is_prompt_name(name: &str) -> bool {
    name.len() <= MAX_VERB_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/.-".contains(&byte))
        && name.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.'))
}

/// What somebody is dialled by: a number or a name, of letters, digits, `_` and `-`, a `+` before them. `Debug` masks numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// 1 to [`MAX_ADDRESS_BYTES`] of its alphabet.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix('+').unwrap_or(text);
        let fits = (1..=MAX_ADDRESS_BYTES).contains(&text.len())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = self.0.len().saturating_sub(3);
        if self.0.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            write!(f, "{}", self.0)
        } else {
            write!(f, "•••{}", self.0.get(tail..).unwrap_or_default())
        }
    }
}

fn maybe(text: &str, what: &'static str) -> Result<Option<Address>, VerbError> {
    match text {
        "" => Ok(None),
        text => Address::parse(text).map(Some).ok_or(VerbError::BadArgument(what)),
    }
}

/// How a bridged leg ended, as a flow and a back end tell it apart, by the PBX's own word.
pub fn leg_outcome(status: &str) -> &'static str {
    match status {
        "ANSWER" => "answered",
        "BUSY" => "busy",
        "NOANSWER" => "no-answer",
        _ => "failed",
    }
}

/// Every outcome of a bridged leg.
pub const LEG_OUTCOMES: [&str; 4] = ["answered", "busy", "no-answer", "failed"];

fn is_wire(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"|_/.&*#+-".contains(&byte))
}

fn names(list: &str, min: usize) -> Result<Vec<String>, VerbError> {
    let names: Vec<String> =
        if list.is_empty() { Vec::new() } else { list.split('&').map(str::to_owned).collect() };
    let fits = (min..=MAX_PARTS).contains(&names.len()) && names.iter().all(|name| is_prompt_name(name));
    if fits { Ok(names) } else { Err(VerbError::BadArgument("prompts")) }
}

fn flag(text: &str) -> Result<bool, VerbError> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(VerbError::BadArgument("barge")),
    }
}

/// A number in its one canonical form: no sign, no leading zero.
fn number(text: &str, min: u32, max: u32, name: &'static str) -> Result<u32, VerbError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text.len() == 1 || !text.starts_with('0'));
    let value = text.parse().ok().filter(|value| canonical && (min..=max).contains(value));
    value.ok_or(VerbError::BadArgument(name))
}

fn finish_key(text: &str) -> Result<Option<char>, VerbError> {
    let mut keys = text.chars();
    match (keys.next(), keys.next()) {
        _ if text == NO_KEY => Ok(None),
        (Some(key), None) if key.is_ascii_digit() || matches!(key, '*' | '#') => Ok(Some(key)),
        _ => Err(VerbError::BadArgument("finish_key")),
    }
}
