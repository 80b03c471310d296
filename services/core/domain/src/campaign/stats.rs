//! What became of a campaign's attempts, kept by the reducer: what nobody could read from where its contacts stand. Every
//! table is bounded, and what does not fit is counted together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Outcome, Timestamp};

/// Hours are UTC, by the log's time.
pub const HOUR_MS: u64 = 3_600_000;
/// Hours kept one by one: two months. Those before are counted together.
pub const HOURS_KEPT: usize = 1_488;
/// Most rows of a table whose rows nodes, callees or back ends name.
pub const ROWS_KEPT: usize = 256;
/// Most trunks told apart.
const TRUNKS_KEPT: usize = 64;
/// What is counted beyond that: nothing is called so.
pub const OTHERS: &str = "(others)";
/// The same for causes and responses: none is so large.
pub const OTHER_CODES: u32 = u32::MAX;

/// Attempts that are over, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// By outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u32; Outcome::ALL.len()],
    /// Turned away by a carrier, so that another trunk was tried.
    pub turned_away: u32,
    /// Refused by a node.
    pub refused: u32,
    /// Nobody can prove how they ended.
    pub uncertain: u32,
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ended so.
    Ended(Outcome),
    /// See [`Over::turned_away`].
    TurnedAway,
    /// See [`Over::refused`].
    Refused,
    /// See [`Over::uncertain`].
    Uncertain,
}

impl Over {
    fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Ended(outcome) => self.outcomes[outcome as usize] += 1,
            Fate::TurnedAway => self.turned_away += 1,
            Fate::Refused => self.refused += 1,
            Fate::Uncertain => self.uncertain += 1,
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *sum += more;
        }
        self.turned_away += other.turned_away;
        self.refused += other.refused;
        self.uncertain += other.uncertain;
    }

    /// Those that there are, by name.
    pub fn named(&self) -> BTreeMap<String, u32> {
        let outcomes =
            Outcome::ALL.into_iter().map(|outcome| (outcome.name(), self.outcomes[outcome as usize]));
        let others =
            [("turned-away", self.turned_away), ("refused", self.refused), ("uncertain", self.uncertain)];
        let all = outcomes.chain(others).filter(|(_, count)| *count > 0);
        all.map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// All of them.
    pub fn total(&self) -> u32 {
        self.outcomes.iter().sum::<u32>() + self.turned_away + self.refused + self.uncertain
    }
}

/// What the fleet had spent, and how long attempts of all campaigns had held slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Micro-dollars; none while no price is known.
    pub micro_usd: Option<u64>,
    /// Slot time of all campaigns, ms.
    pub slots_ms: u64,
}

/// A campaign's attempts in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Attempts by the hour in which their end came into the log, hours since 1970. At most [`HOURS_KEPT`].
    pub hours: BTreeMap<u64, Over>,
    /// Those of hours before these.
    pub earlier: Over,
    /// Those without an answer, by trunk and Q.850 cause.
    pub causes: BTreeMap<String, BTreeMap<u32, u32>>,
    /// The same by final SIP response; 0 = none was heard.
    pub responses: BTreeMap<String, BTreeMap<u32, u32>>,
    /// Answered ones by the last state of the flow.
    pub flow_states: BTreeMap<String, u32>,
    /// Answered ones that are over.
    pub ended_calls: u32,
    /// Time its attempts held slots, ms; those that do still are not in it.
    pub slots_ms: u64,
    /// When it was started first.
    pub at_start: Used,
    /// When it ended, and its own slot time by then.
    pub at_end: Option<(Used, u64)>,
}

impl Stats {
    /// An attempt is over.
    pub(crate) fn over(&mut self, fate: Fate, at: Timestamp) {
        let hour = at / HOUR_MS;
        self.hours.entry(hour).or_default().count(fate);
        if self.hours.len() > HOURS_KEPT
            && let Some((_, oldest)) = self.hours.pop_first()
        {
            self.earlier.add(&oldest);
        }
    }

    /// An attempt ended without an answer.
    pub(crate) fn dropped(&mut self, trunk: &str, cause: u32, sip_status: u32) {
        for (table, code) in [(&mut self.causes, cause), (&mut self.responses, sip_status)] {
            let known = table.len() < TRUNKS_KEPT || table.contains_key(trunk);
            let of_trunk = table.entry(if known { trunk } else { OTHERS }.to_owned()).or_default();
            count(of_trunk, code, OTHER_CODES);
        }
    }

    /// A call is over.
    pub(crate) fn called(&mut self, path: &str) {
        self.ended_calls += 1;
        count(&mut self.flow_states, path.to_owned(), OTHERS.to_owned());
    }
}

/// Counts a row, or, where a table is full, those that have none.
pub(crate) fn count<K: Ord>(table: &mut BTreeMap<K, u32>, row: K, others: K) {
    let known = table.len() < ROWS_KEPT || table.contains_key(&row);
    *table.entry(if known { row } else { others }).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_name_is_bounded_and_nothing_is_lost() {
        let mut stats = Stats::default();
        for n in 0..1_000u32 {
            stats.called(&format!("s{n}"));
            stats.dropped(&format!("t{n}"), n, 0);
        }
        stats.called("s7");
        assert_eq!((stats.flow_states.len(), stats.flow_states.get(OTHERS)), (ROWS_KEPT + 1, Some(&744)));
        assert_eq!((stats.flow_states.get("s7"), stats.flow_states.values().sum::<u32>()), (Some(&2), 1_001));
        assert_eq!(stats.causes.len(), TRUNKS_KEPT + 1);
        assert_eq!(stats.causes.values().flat_map(BTreeMap::values).sum::<u32>(), 1_000);
        for n in 0..1_000 {
            stats.dropped("t0", n, n);
        }
        assert_eq!(stats.responses["t0"].len(), ROWS_KEPT + 1);
    }

    #[test]
    fn hours_beyond_two_months_are_counted_together() {
        let mut stats = Stats::default();
        for hour in 0..2_000 {
            stats.over(Fate::Ended(Outcome::Busy), hour * HOUR_MS + 5);
        }
        stats.over(Fate::Refused, 3); // long ago
        let kept: u32 = stats.hours.values().map(Over::total).sum();
        assert_eq!((stats.hours.len(), kept + stats.earlier.total()), (HOURS_KEPT, 2_001));
        assert_eq!(
            (stats.earlier.refused, stats.hours.first_key_value().map(|(hour, _)| *hour)),
            (1, Some(512))
        );
    }
}
