//! Who answers, and how: a table of habits, and for each number one of them, always the same.
//!
//! A number's habit and every duration come from a hash of the number, a seed and what the duration is for. Nothing
//! is drawn: the same number behaves the same on every node and in every run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Largest callees file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Most exact numbers in a callees file.
pub const MAX_OVERRIDES: usize = 10_000;
/// Longest script of digits.
pub const MAX_DIGITS: usize = 64;

/// What a callee does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Habit {
    /// Answers and presses 1 whenever asked.
    #[serde(rename = "press_1")]
    Press1,
    /// Answers and presses 2 whenever asked.
    #[serde(rename = "press_2")]
    Press2,
    /// Answers, presses nothing and stays until hung up on.
    PressNothing,
    /// Answers and hangs up early.
    HangUpEarly,
    /// 486 without ringing.
    Busy,
    /// Rings, then 603.
    Declined,
    /// 404.
    NotFound,
    /// 480.
    Unavailable,
    /// 503.
    Congested,
    /// Rings until the originate's timeout.
    NoAnswer,
    /// Never answers the INVITE at all.
    Silent,
    /// Is never asked: the PBX has no free port for the call's media, and sends no INVITE.
    NoPort,
    /// A machine answers, speaks, presses nothing and stays until hung up on.
    Machine,
}

impl Habit {
    /// Whether it rings before anything else.
    fn rings(self) -> bool {
        !matches!(self, Habit::Busy | Habit::NotFound | Habit::Unavailable | Habit::Congested | Habit::Silent)
    }
}

/// Every habit with its weight, in the order in which weights are laid out.
const ORDER: [Habit; 13] = [
    Habit::Press1,
    Habit::Press2,
    Habit::PressNothing,
    Habit::HangUpEarly,
    Habit::Busy,
    Habit::Declined,
    Habit::NotFound,
    Habit::Unavailable,
    Habit::Congested,
    Habit::NoAnswer,
    Habit::Silent,
    Habit::NoPort,
    Habit::Machine,
];

/// How often each habit occurs, relative to the sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // each is the habit of that name
pub struct Weights {
    pub press_1: u32,
    pub press_2: u32,
    pub press_nothing: u32,
    pub hang_up_early: u32,
    pub busy: u32,
    pub declined: u32,
    pub not_found: u32,
    pub unavailable: u32,
    pub congested: u32,
    pub no_answer: u32,
    pub silent: u32,
    pub no_port: u32,
    pub machine: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            press_1: 34,
            press_2: 16,
            press_nothing: 8,
            hang_up_early: 6,
            busy: 12,
            declined: 5,
            not_found: 4,
            unavailable: 5,
            congested: 1,
            no_answer: 8,
            silent: 1,
            no_port: 0,
            machine: 0,
        }
    }
}

impl Weights {
    fn of(&self, habit: Habit) -> u32 {
        match habit {
            Habit::Press1 => self.press_1,
            Habit::Press2 => self.press_2,
            Habit::PressNothing => self.press_nothing,
            Habit::HangUpEarly => self.hang_up_early,
            Habit::Busy => self.busy,
            Habit::Declined => self.declined,
            Habit::NotFound => self.not_found,
            Habit::Unavailable => self.unavailable,
            Habit::Congested => self.congested,
            Habit::NoAnswer => self.no_answer,
            Habit::Silent => self.silent,
            Habit::NoPort => self.no_port,
            Habit::Machine => self.machine,
        }
    }
}

/// A range of durations, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeMs {
    /// Shortest, in ms.
    pub min_ms: u32,
    /// Longest, in ms.
    pub max_ms: u32,
}

impl RangeMs {
    const fn new(min_ms: u32, max_ms: u32) -> Self {
        Self { min_ms, max_ms }
    }

    fn pick(self, hash: u64) -> u32 {
        let span = u64::from(self.max_ms.saturating_sub(self.min_ms)) + 1;
        self.min_ms + u32::try_from(hash % span).unwrap_or(0)
    }
}

/// What one exact number does, whatever the weights say.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The number as dialled; after a leading `*` only its end, so `*0186` is every number that ends so.
    pub number: String,
    /// Its habit.
    pub habit: Habit,
    /// How long it rings, in ms; 0 answers without ringing.
    pub ring_ms: Option<u32>,
    /// The digits it presses, instead of the habit's.
    pub digits: Option<String>,
    /// When it presses the first of `digits`, in ms after its answer, whatever plays then. Absent: when asked.
    pub press_at_ms: Option<u32>,
    /// When it hangs up, in ms after its answer.
    pub hang_up_at_ms: Option<u32>,
    /// Sends early media (183) instead of ringing (180).
    #[serde(default)]
    pub early_media: bool,
    /// Says why when it hangs up (`Reason: Q.850;cause=16`); most callees do not.
    #[serde(default)]
    pub says_why: bool,
}

impl Override {
    fn is_of(&self, number: &str) -> bool {
        match self.number.strip_prefix('*') {
            Some(end) => number.ends_with(end),
            None => number == self.number,
        }
    }
}

/// Hides the number.
impl std::fmt::Debug for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Override").field("habit", &self.habit).finish_non_exhaustive()
    }
}

/// The whole table. `Default` is the one built in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callees {
    /// Changes every number's habit and durations.
    pub seed: u64,
    /// Before a callee rings or refuses.
    pub setup: RangeMs,
    /// From ringing to the answer.
    pub ring: RangeMs,
    /// Length of a prompt, by its name.
    pub prompt: RangeMs,
    /// From the end of the prompts to each key press.
    pub press: RangeMs,
    /// From the answer to an early hang-up.
    pub early: RangeMs,
    /// How often each habit occurs.
    pub weights: Weights,
    /// Trunks on which every callee has one habit, whatever its number: a carrier that is down.
    pub trunks: BTreeMap<String, Habit>,
    /// Exact numbers.
    #[serde(rename = "number")]
    pub overrides: Vec<Override>,
}

impl Default for Callees {
    fn default() -> Self {
        Self {
            seed: 1,
            setup: RangeMs::new(5, 20),
            ring: RangeMs::new(300, 900),
            prompt: RangeMs::new(400, 900),
            press: RangeMs::new(200, 600),
            early: RangeMs::new(200, 900),
            weights: Weights::default(),
            trunks: BTreeMap::new(),
            overrides: Vec::new(),
        }
    }
}

/// What one callee will do.
#[derive(Clone, PartialEq, Eq)]
pub struct Callee {
    /// The habit.
    pub habit: Habit,
    /// From the dial to ringing or a refusal, in ms.
    pub setup_ms: u32,
    /// From ringing to the answer or refusal, in ms; 0 does not ring.
    pub ring_ms: u32,
    /// What it presses.
    pub presses: Presses,
    /// From the end of the prompts, or the last key, to the next key, in ms.
    pub press_after_ms: u32,
    /// When it hangs up, in ms after its answer.
    pub hang_up_at_ms: Option<u32>,
    /// Early media instead of ringing.
    pub early_media: bool,
    /// Gives cause 16 when it hangs up.
    pub says_why: bool,
}

/// The keys of a callee.
#[derive(Clone, PartialEq, Eq)]
pub enum Presses {
    /// None.
    Nothing,
    /// This key whenever it is asked.
    Always(char),
    /// These keys in order, as far as it is asked.
    Script(String),
    /// These keys from a fixed time on, in ms after the answer.
    At {
        /// The keys.
        digits: String,
        /// When.
        at_ms: u32,
    },
}

impl Callees {
    /// Reads a table from a TOML file. Unknown keys, empty ranges and weights that sum to zero are errors.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let size = std::fs::metadata(path).map_err(|source| Error::file("read", path, source))?.len();
        let bad = |why: String| Error::Callees { path: path.to_owned(), why };
        if size > MAX_FILE_BYTES {
            return Err(bad(format!("larger than {MAX_FILE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
        Self::parse(&text).map_err(bad)
    }

    /// Reads a table from TOML; the error says line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.get(..at).map_or(1, |before| before.split('\n').count());
            format!("line {line}: {}", error.message())
        })?;
        for (name, range) in [
            ("setup", table.setup),
            ("ring", table.ring),
            ("prompt", table.prompt),
            ("press", table.press),
            ("early", table.early),
        ] {
            if range.min_ms > range.max_ms {
                return Err(format!("{name}: min_ms is above max_ms"));
            }
        }
        if ORDER.iter().all(|h| table.weights.of(*h) == 0) {
            return Err("weights: all are zero".to_owned());
        }
        if table.overrides.len() > MAX_OVERRIDES {
            return Err(format!("number: more than {MAX_OVERRIDES}"));
        }
        for (index, o) in table.overrides.iter().enumerate() {
            let digits = o.digits.as_deref().unwrap_or_default();
            if digits.len() > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit() || b"*#".contains(&b))
            {
                return Err(format!("number {}: digits must be up to {MAX_DIGITS} of 0-9*#", index + 1));
            }
        }
        Ok(table)
    }

    /// The table as TOML, for a user to start from.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default() // cannot fail: plain numbers and strings
    }

    /// What the callee at `number` does when it is called over `trunk`.
    pub fn callee_on(&self, trunk: &str, number: &str) -> Callee {
        let mut callee = self.callee(number);
        if let Some(habit) = self.trunks.get(trunk) {
            (callee.habit, callee.ring_ms) = (*habit, if habit.rings() { callee.ring_ms } else { 0 });
        }
        callee
    }

    /// What the callee at `number` does.
    pub fn callee(&self, number: &str) -> Callee {
        let pick = |range: RangeMs, what: &str| range.pick(self.hash(number, what));
        let exact = self.overrides.iter().find(|o| o.is_of(number));
        let habit = exact.map_or_else(|| self.habit(number), |o| o.habit);
        let usual = || if habit.rings() { pick(self.ring, "ring") } else { 0 };
        let ring_ms = exact.and_then(|o| o.ring_ms).unwrap_or_else(usual);
        let digits = exact.and_then(|o| o.digits.clone());
        let presses = match (digits, exact.and_then(|o| o.press_at_ms), habit) {
            (Some(digits), Some(at_ms), _) => Presses::At { digits, at_ms },
            (Some(digits), None, _) => Presses::Script(digits),
            (None, _, Habit::Press1) => Presses::Always('1'),
            (None, _, Habit::Press2) => Presses::Always('2'),
            (None, ..) => Presses::Nothing,
        };
        let early = (habit == Habit::HangUpEarly).then(|| pick(self.early, "early"));
        Callee {
            habit,
            setup_ms: pick(self.setup, "setup"),
            ring_ms,
            presses,
            press_after_ms: pick(self.press, "press"),
            hang_up_at_ms: exact.and_then(|o| o.hang_up_at_ms).or(early),
            early_media: exact.is_some_and(|o| o.early_media),
            says_why: exact.is_some_and(|o| o.says_why),
        }
    }

    /// How long the prompt of this name plays, in ms.
    pub fn prompt_ms(&self, name: &str) -> u32 {
        self.prompt.pick(self.hash(name, "prompt"))
    }

    /// A number below 100 for anything else that varies from call to call.
    pub(crate) fn percent(&self, text: &str, purpose: &str) -> u64 {
        self.hash(text, purpose) % 100
    }

    fn habit(&self, number: &str) -> Habit {
        let total: u64 = ORDER.iter().map(|h| u64::from(self.weights.of(*h))).sum();
        let mut left = self.hash(number, "habit") % total.max(1);
        for habit in ORDER {
            let weight = u64::from(self.weights.of(habit));
            if left < weight {
                return habit;
            }
            left -= weight;
        }
        Habit::Silent // only where all weights are zero, which `parse` refuses
    }

    /// FNV-1a over seed, purpose and text, finished so that the low bits are usable. Fixed: results are compared
    /// between builds.
    fn hash(&self, text: &str, purpose: &str) -> u64 {
        let bytes = self.seed.to_le_bytes();
        let bytes = bytes.iter().chain(purpose.as_bytes()).chain(b"\0").chain(text.as_bytes());
        let mut h = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3));
        h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        h ^ (h >> 31)
    }
}

#[cfg(test)]
#[path = "callees_tests.rs"]
mod tests;
