//! What the log taught about calls and boots: how long a slot is held, how long a node boots, and whether calls go
//! through. Folded with the fleet, so that every reader of the log plans alike.

use serde::{Deserialize, Serialize};

use super::staffing::Holding;
use crate::ids::{Outcome, Timestamp};

/// Boots remembered, about.
const BOOTS: u64 = 8;
/// A boot counts for so much at most: a node that was held up by people teaches nothing.
const BOOT_MOST_MS: u64 = 1_800_000;
/// One, in millionths.
const ONE_PPM: u64 = 1_000_000;
/// Attempts that "lately" means for the share that failed, for the share answered, and in the long run.
const FAILED_OVER: u64 = 50;
const ANSWERED_OVER: u64 = 200;
const USUAL_OVER: u64 = 5_000;
/// Fewer attempts than these say nothing about failures, or about answers.
const FAILED_LEAST: u64 = 20;
const ANSWERED_LEAST: u64 = 400;

/// A share of attempts, by the last so many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    ppm: u64,
}

impl Share {
    /// Takes note of one more; `seen` were seen, this one included.
    fn note(&mut self, is: bool, seen: u64, over: u64) {
        let weight = seen.clamp(1, over);
        let target = if is { ONE_PPM } else { 0 };
        self.ppm = (self.ppm * (weight - 1) + target + weight / 2) / weight;
    }
}

/// What calls and boots have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    holding: Holding,
    faded_at: Timestamp,
    boot_ms: u64,
    boots: u64,
    attempts: u64,
    failed: Share,
    answered: Share,
    usually_answered: Share,
}

impl Learnt {
    /// What would have been learnt of many calls and boots that took so long: for a plan before there are any.
    pub fn assumed(holding_ms: u64, boot_ms: u64) -> Self {
        let mut learnt = Self { boot_ms: boot_ms.min(BOOT_MOST_MS), boots: BOOTS, ..Self::default() };
        // Ten thousand calls: what is assumed before any call weighs little against them.
        learnt.holding.add(10_000, holding_ms.saturating_mul(10_000));
        learnt
    }

    /// How long calls hold their slots.
    pub fn holding(&self) -> &Holding {
        &self.holding
    }

    /// What a boot takes, from the launch to the first readiness; 0 if none was seen.
    pub fn boot_ms(&self) -> u64 {
        self.boot_ms
    }

    /// A node became ready for the first time.
    pub(super) fn booted(&mut self, took_ms: u64) {
        self.boots = self.boots.saturating_add(1);
        let weight = self.boots.min(BOOTS);
        self.boot_ms = (self.boot_ms * (weight - 1) + took_ms.min(BOOT_MOST_MS)) / weight;
    }

    /// An attempt that was sent to a PBX has ended. One that the carrier or the PBX failed says nothing about how long
    /// people hold a slot: if all fail at once, no fleet is too large.
    pub(crate) fn ended(&mut self, at: Timestamp, held_ms: u64, outcome: Outcome, never_rang: bool) {
        let failed = never_rang || matches!(outcome, Outcome::Congestion | Outcome::Failed);
        self.attempts = self.attempts.saturating_add(1);
        self.failed.note(failed, self.attempts, FAILED_OVER);
        if failed {
            return;
        }
        let answered = outcome == Outcome::Answered;
        self.answered.note(answered, self.attempts, ANSWERED_OVER);
        self.usually_answered.note(answered, self.attempts, USUAL_OVER);
        let elapsed = at.saturating_sub(self.faded_at);
        if elapsed >= 1_000 {
            self.holding.fade(elapsed);
            self.faded_at = at;
        }
        self.holding.add(1, held_ms);
    }

    /// Why a low load may come from something broken, if it may: with its numbers.
    pub fn trouble(&self) -> Option<String> {
        let percent = |share: Share| share.ppm / 10_000;
        if self.attempts >= FAILED_LEAST && self.failed.ppm > ONE_PPM / 2 {
            return Some(format!("{} % of the last attempts failed", percent(self.failed)));
        }
        let collapsed = self.answered.ppm < self.usually_answered.ppm / 4;
        // Of rare answers chance alone could make none.
        let is_usual = self.usually_answered.ppm >= ONE_PPM / 20;
        (self.attempts >= ANSWERED_LEAST && is_usual && collapsed).then(|| {
            format!(
                "{} % of the last attempts were answered, {} % are as a rule",
                percent(self.answered),
                percent(self.usually_answered)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(attempts: &[(u32, Outcome)]) -> Learnt {
        let mut learnt = Learnt::default();
        for (times, outcome) in attempts {
            for index in 0..*times {
                learnt.ended(u64::from(index) * 100, 60_000, *outcome, false);
            }
        }
        learnt
    }

    #[test]
    fn failures_of_the_network_are_trouble_and_teach_nothing_about_calls() {
        let well = after(&[(400, Outcome::Answered)]);
        assert_eq!(well.trouble(), None);
        let broken = after(&[(400, Outcome::Answered), (40, Outcome::Congestion)]);
        assert_eq!(broken.trouble().as_deref(), Some("55 % of the last attempts failed"));
        assert_eq!(broken.holding(), well.holding());
        let few = after(&[(FAILED_LEAST as u32 - 1, Outcome::Failed)]);
        assert_eq!(few.trouble(), None, "too few to say");
        let healed = after(&[(400, Outcome::Answered), (40, Outcome::Congestion), (60, Outcome::Busy)]);
        assert_eq!(healed.trouble(), None);
    }

    #[test]
    fn answers_that_collapse_are_trouble_and_a_list_that_answers_rarely_is_not() {
        let fallen = after(&[(1_000, Outcome::Answered), (400, Outcome::NoAnswer)]);
        assert!(fallen.trouble().is_some_and(|why| why.contains("were answered")), "{fallen:?}");
        let rare = after(&[(3, Outcome::Answered), (1_000, Outcome::NoAnswer)]);
        assert_eq!(rare.trouble(), None);
    }

    #[test]
    fn boots_are_learnt_and_absurd_ones_bounded() {
        let mut learnt = Learnt::default();
        (0..40).for_each(|_| learnt.booted(90_000));
        assert_eq!(learnt.boot_ms(), 90_000);
        learnt.booted(u64::MAX);
        assert_eq!(learnt.boot_ms(), (90_000 * 7 + BOOT_MOST_MS) / 8);
    }
}
