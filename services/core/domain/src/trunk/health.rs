//! How a trunk does: a circuit breaker on the mix of its causes, and a pace that gives way to congestion.
//!
//! ```text
//! closed ──half of the last ends were trouble──▶ open ──its time is over──▶ half open ──probes carried──▶ closed
//!                                                  ▲                           │
//!                                                  └────────probes failed──────┘ (twice as long as before)
//! ```
//! The reducer remembers the ends; the dialer's tick decides, and its event names what it rests on.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Trunk, TrunkSettings};
use crate::event::Event;
use crate::ids::{Outcome, Timestamp};

/// Ends remembered of a trunk.
pub const ENDS_KEPT: usize = 64;
/// Ends older than this say nothing any more.
pub const WINDOW_MS: u64 = 60_000;
/// Fewest ends the breaker opens on.
pub const ENDS_LEAST: u32 = 10;
/// Attempts let through while half open.
pub const PROBES: u32 = 4;
/// Of these, carried ones that close it, and others that open it again.
const CARRIED_TO_CLOSE: u32 = 3;
const TROUBLE_TO_OPEN: u32 = 2;
/// How long it stays open at first; each time in a row twice as long.
pub const OPEN_MS: u64 = 30_000;
const DOUBLINGS_MAX: u32 = 5;
/// The pace looks at ends of the last so many ms, and changes not more often than each.
const SLOW_LOOK_MS: u64 = 10_000;
const SLOWER_EVERY_MS: u64 = 1_000;
const FASTER_EVERY_MS: u64 = 5_000;
/// Rejections that slow it down: at least so many, and one in so many ends.
const REJECTED_LEAST: u32 = 5;
const REJECTED_ONE_IN: u32 = 10;
/// The slowest pace: a call every two seconds finds out whether there is room again.
pub const SLOWEST_PER_1000_S: u32 = 500;
/// Final responses by which a carrier says that it has no room, or was asked too often.
const NO_ROOM: [u32; 2] = [503, 429];

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// The trunk is used.
    #[default]
    Closed,
    /// It is not.
    Open,
    /// A few attempts find out.
    HalfOpen,
}

/// A circuit breaker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Where it stands.
    pub state: BreakerState,
    /// Open: until then.
    pub until_ms: Timestamp,
    /// Times it opened without closing between.
    pub opened: u32,
    /// When it came to stand so.
    pub since_ms: Timestamp,
    /// Half open: attempts let through, and what became of them.
    pub probes: u32,
    /// Probes in flight.
    pub probes_up: u32,
    /// Probes the carrier carried.
    pub carried: u32,
    /// Probes it did not.
    pub failed: u32,
    /// Why it stands so.
    pub reason: String,
}

impl Breaker {
    /// Whether an attempt that was intended then finds out how the trunk does: while it rested there were none.
    pub(crate) fn is_probe(&self, intended_at: Timestamp) -> bool {
        self.state == BreakerState::HalfOpen && intended_at >= self.since_ms
    }
}

/// How an attempt on it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// The carrier's final response; 0 = none.
    pub sip_status: u32,
    /// The carrier did not carry it.
    pub trouble: bool,
    /// It had no room.
    pub rejected: bool,
}

/// How a trunk does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The newest ends.
    pub ends: VecDeque<End>,
    /// The breaker.
    pub breaker: Breaker,
    /// Attempts in 1,000 s while it is slowed down; 0 = its full pace.
    pub per_1000_s: u32,
    /// Where it is full again.
    pub full_per_1000_s: u32,
    /// When its pace was changed last.
    pub paced_at: Timestamp,
}

/// What was heard of an attempt before its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// Something may have been missed.
    #[default]
    Unknown,
    /// A final response and nothing before it: nobody can have been rung.
    OnlyTheEnd,
    /// Ringing or early media.
    Ringing,
    /// Nothing at all.
    Silence,
}

impl End {
    /// What an end says of the trunk. `none` if it says nothing: the attempt never got that far.
    pub fn of(
        settings: &TrunkSettings,
        outcome: Outcome,
        sip_status: u32,
        heard: Heard,
        at: Timestamp,
    ) -> Self {
        let rejected = outcome == Outcome::Congestion || NO_ROOM.contains(&sip_status);
        let refused = settings.failover.contains(&sip_status) && heard != Heard::Ringing;
        let trouble = outcome != Outcome::Answered && (rejected || refused || heard == Heard::Silence);
        // What the PBX says of silence is no response.
        let sip_status = if heard == Heard::Silence { 0 } else { sip_status };
        Self { at, sip_status, trouble, rejected: rejected && outcome != Outcome::Answered }
    }

    fn name(&self) -> String {
        if self.sip_status == 0 { "no response".to_owned() } else { self.sip_status.to_string() }
    }
}

impl Health {
    /// Takes note of the end of an attempt that was intended then.
    pub(crate) fn ended(&mut self, end: End, intended_at: Timestamp) {
        if self.ends.len() == ENDS_KEPT {
            self.ends.pop_front();
        }
        self.ends.push_back(end);
        if self.breaker.is_probe(intended_at) {
            let one = if end.trouble { &mut self.breaker.failed } else { &mut self.breaker.carried };
            *one += 1;
        }
    }

    /// Attempts that may be put on it still, for all the breaker says; `None` = any number.
    pub fn probes_left(&self) -> Option<u32> {
        match self.breaker.state {
            BreakerState::Closed => None,
            BreakerState::Open => Some(0),
            BreakerState::HalfOpen => Some(PROBES.saturating_sub(self.breaker.probes)),
        }
    }

    fn since(&self, at: Timestamp, ms: u64) -> impl Iterator<Item = &End> {
        let from = at.saturating_sub(ms);
        self.ends.iter().filter(move |end| end.at >= from)
    }
}

/// What the dialer's tick decides about a trunk's health.
pub(crate) fn decide(name: &str, trunk: &Trunk, at: Timestamp) -> impl Iterator<Item = Event> {
    breaker(name, trunk, at).into_iter().chain(pace(name, trunk, at))
}

fn breaker(name: &str, trunk: &Trunk, at: Timestamp) -> Option<Event> {
    trunk.usable()?;
    let now = &trunk.health.breaker;
    let recent: Vec<&End> = trunk.health.since(at, WINDOW_MS).collect();
    let trouble = recent.iter().filter(|end| end.trouble).count() as u32;
    let ends = recent.len() as u32;
    let (state, reason) = match now.state {
        BreakerState::Closed if ends >= ENDS_LEAST && trouble * 2 >= ends => {
            (BreakerState::Open, format!("{trouble} of its last {ends} attempts were not carried"))
        }
        BreakerState::Open if at >= now.until_ms => {
            (BreakerState::HalfOpen, format!("its rest is over: {PROBES} attempts find out"))
        }
        BreakerState::HalfOpen => probed(now)?,
        BreakerState::Closed | BreakerState::Open => return None,
    };
    let rest_ms = OPEN_MS << now.opened.min(DOUBLINGS_MAX);
    let until_ms = if state == BreakerState::Open { at + rest_ms } else { 0 };
    let causes = causes(&recent);
    Some(Event::TrunkBreaker { trunk: name.to_owned(), state, until_ms, ends, trouble, causes, reason })
}

fn probed(now: &Breaker) -> Option<(BreakerState, String)> {
    let said = format!("{} of {} probes were carried", now.carried, now.probes);
    // Probes whose end nobody can tell say neither.
    let all_in = now.probes >= PROBES && now.probes_up == 0;
    if now.carried >= CARRIED_TO_CLOSE || (all_in && now.carried > now.failed) {
        return Some((BreakerState::Closed, said));
    }
    (now.failed >= TROUBLE_TO_OPEN || all_in).then_some((BreakerState::Open, said))
}

/// The most frequent first, then by name.
fn causes(ends: &[&End]) -> Vec<String> {
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    for end in ends.iter().filter(|end| end.trouble) {
        *counted.entry(end.name()).or_default() += 1;
    }
    let mut counted: Vec<(String, u32)> = counted.into_iter().collect();
    counted.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    counted.into_iter().take(8).map(|(name, times)| format!("{name} x {times}")).collect()
}

/// Half as fast where it has no room, then a tenth of the full pace faster every five seconds.
fn pace(name: &str, trunk: &Trunk, at: Timestamp) -> Option<Event> {
    trunk.usable()?;
    let health = &trunk.health;
    let since_change = at.saturating_sub(health.paced_at);
    let recent: Vec<&End> = health.since(at, SLOW_LOOK_MS.min(since_change)).collect();
    let (ends, rejected) = (recent.len() as u32, recent.iter().filter(|end| end.rejected).count() as u32);
    let crowded = rejected >= REJECTED_LEAST && rejected * REJECTED_ONE_IN >= ends;
    let before = health.per_1000_s;
    let (after, reason) = if crowded && since_change >= SLOWER_EVERY_MS {
        // Without a pace of its own: from what it was asked in that time.
        let oldest = recent.first().map_or(at, |end| end.at);
        let span_ms = u32::try_from(at.saturating_sub(oldest).max(1_000)).unwrap_or(u32::MAX);
        let asked = || ends.saturating_mul(1_000_000) / span_ms;
        let from = if trunk.per_1000_s() > 0 { trunk.per_1000_s() } else { asked() };
        let after = (from / 2).max(SLOWEST_PER_1000_S);
        if after == before {
            return None; // as slow as it gets
        }
        (after, format!("it had no room for {rejected} of {ends} attempts"))
    } else if before > 0 && rejected == 0 && since_change >= FASTER_EVERY_MS {
        let full = health.full_per_1000_s.max(SLOWEST_PER_1000_S);
        let faster = before.saturating_add((full / 10).max(SLOWEST_PER_1000_S));
        let after = if faster >= full { 0 } else { faster };
        (after, format!("it had room for all of {ends} attempts"))
    } else {
        return None;
    };
    let (per_1000_s, before_per_1000_s) = (after, before);
    Some(Event::TrunkPaced { trunk: name.to_owned(), per_1000_s, before_per_1000_s, ends, rejected, reason })
}
