//! What is remembered of a number, by its keyed hash, over all campaigns: when it rang, and what its caps say.
//!
//! It outlives the contact: an erased person is not rung again because nobody remembers.

use serde::{Deserialize, Serialize};

use super::CampaignRules;
use crate::ids::Timestamp;

/// Rings of a number whose time is remembered; a cap with a period asks for at most as many.
pub const RINGS_KEPT: usize = 32;

/// Most rings of one number in a period, over all campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptCap {
    /// The period, counted back from now; 0 = for ever.
    pub period_ms: u64,
    /// Rings at most.
    pub max: u32,
}

/// A number that was dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberUse {
    /// Attempts that may have rung, ever.
    pub rings: u32,
    /// When the newest of them were, in seconds since 1970, oldest first.
    pub times_s: Vec<u32>,
    /// An attempt for it is in flight.
    pub in_flight: bool,
}

/// Why a number may not ring now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// An attempt for it is in flight: its end says more.
    InFlight,
    /// A cap or the least gap, until this time.
    Until(Timestamp, &'static str),
    /// The cap for ever.
    Ever(&'static str),
}

impl NumberUse {
    /// It may have rung at `at`.
    pub fn rang(&mut self, at: Timestamp) {
        self.rings = self.rings.saturating_add(1);
        if self.times_s.len() == RINGS_KEPT {
            self.times_s.remove(0);
        }
        // Rounded up: a cap is never over a part of a second too early.
        self.times_s.push(u32::try_from(at.div_ceil(1000)).unwrap_or(u32::MAX));
    }

    /// Why it may not ring at `at`, if it may not. The longest wait counts.
    pub fn block(&self, rules: &CampaignRules, at: Timestamp) -> Option<Block> {
        if self.in_flight {
            return Some(Block::InFlight);
        }
        let ever = rules.caps.iter().find(|cap| cap.period_ms == 0 && self.rings >= cap.max);
        if ever.is_some() {
            return Some(Block::Ever("cap-ever"));
        }
        let gap = || self.ring_ms(0).map(|last| (last + rules.min_gap_ms, "min-gap"));
        let capped = rules.caps.iter().filter(|cap| cap.period_ms > 0).filter_map(|cap| {
            // Free again when the ring that is `max` back has left the period.
            let back = (cap.max as usize).checked_sub(1)?;
            self.ring_ms(back).map(|ring| (ring + cap.period_ms, "cap"))
        });
        let (until, rule) = capped.chain(gap()).max_by_key(|(until, _)| *until)?;
        (until > at).then_some(Block::Until(until, rule))
    }

    /// The ring that is `back` before the newest.
    fn ring_ms(&self, back: usize) -> Option<Timestamp> {
        let index = self.times_s.len().checked_sub(back + 1)?;
        self.times_s.get(index).map(|second| u64::from(*second) * 1000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn rules(min_gap_ms: u64, caps: &[(u64, u32)]) -> CampaignRules {
        let caps =
            caps.iter().map(|(period_ms, max)| AttemptCap { period_ms: *period_ms, max: *max }).collect();
        CampaignRules { caps, min_gap_ms, ..CampaignRules::default() }
    }

    fn rung(hours: &[u64]) -> NumberUse {
        let mut number = NumberUse::default();
        for hour in hours {
            number.rang(hour * HOUR);
        }
        number
    }

    #[test]
    fn a_cap_is_over_when_its_oldest_ring_has_left_the_period() {
        let two_a_day = rules(0, &[(24 * HOUR, 2)]);
        assert_eq!(rung(&[0]).block(&two_a_day, HOUR), None);
        assert_eq!(rung(&[0, 5]).block(&two_a_day, 6 * HOUR), Some(Block::Until(24 * HOUR, "cap")));
        assert_eq!(rung(&[0, 5]).block(&two_a_day, 24 * HOUR), None);
        assert_eq!(rung(&[0, 5, 24]).block(&two_a_day, 25 * HOUR), Some(Block::Until(29 * HOUR, "cap")));
    }

    #[test]
    fn the_longest_wait_counts_and_for_ever_is_for_ever() {
        let both = rules(4 * HOUR, &[(24 * HOUR, 1), (0, 3)]);
        assert_eq!(rung(&[10]).block(&both, 11 * HOUR), Some(Block::Until(34 * HOUR, "cap")));
        assert_eq!(
            rung(&[10]).block(&rules(30 * HOUR, &[(HOUR, 1)]), 11 * HOUR),
            Some(Block::Until(40 * HOUR, "min-gap"))
        );
        assert_eq!(rung(&[0, 100, 200]).block(&both, 900 * HOUR), Some(Block::Ever("cap-ever")));
        assert_eq!(NumberUse::default().block(&both, 0), None);
        let flying = NumberUse { in_flight: true, ..NumberUse::default() };
        assert_eq!(flying.block(&rules(0, &[]), 0), Some(Block::InFlight));
    }

    proptest! {
        /// Whatever is asked when: a number never rings more often in any period than its caps allow, nor sooner.
        #[test]
        fn no_period_ever_holds_more_rings_than_its_cap(
            gap in 0u64..100_000, caps in proptest::collection::vec((1u64..400_000, 1u32..6), 0..4),
            steps in proptest::collection::vec(1u64..60_000, 1..80),
        ) {
            let rules = rules(gap, &caps);
            let (mut number, mut at, mut rings) = (NumberUse::default(), 1_000_000, Vec::new());
            for step in steps {
                at += step;
                match number.block(&rules, at) {
                    None => { number.rang(at); rings.push(at); }
                    Some(Block::Until(until, _)) => {
                        prop_assert!(until > at);
                        prop_assert_eq!(number.block(&rules, until), None, "what it waits for has come");
                    }
                    Some(_) => prop_assert!(false),
                }
            }
            for (index, ring) in rings.iter().enumerate() {
                for (period, max) in &caps {
                    let within = rings[..=index].iter().filter(|other| *other + period > *ring).count();
                    prop_assert!(within <= *max as usize);
                }
                prop_assert!(index == 0 || ring - rings[index - 1] >= gap);
            }
        }
    }
}
