//! What an outcome leads to: another attempt after a while, or the end of the contact.

use serde::{Deserialize, Serialize};

use super::CampaignRules;
use crate::ids::{Outcome, Timestamp};

/// What a campaign does about congestion unless it says otherwise: the network had no room, so the contact is put back
/// and pays nothing, but not for ever.
pub const CONGESTION: RetryRule =
    RetryRule { outcome: Outcome::Congestion, delay_ms: 5_000, max: 5, doubling: true, another_trunk: false };
/// Times a delay doubles at most.
const DOUBLINGS_MAX: u32 = 10;

/// What one outcome leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRule {
    /// The outcome.
    pub outcome: Outcome,
    /// Least time until the next attempt.
    pub delay_ms: u64,
    /// Attempts after this outcome at most, per contact; 0 = it is final.
    pub max: u32,
    /// Each further delay is twice the one before.
    #[serde(default)]
    pub doubling: bool,
    /// The retry takes another of the campaign's trunks than the attempt before it.
    #[serde(default)]
    pub another_trunk: bool,
}

/// What follows an attempt that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The contact is done, with this outcome.
    Final,
    /// It waits for another attempt, not before this time.
    Again(Timestamp),
}

/// What a contact has behind it, the attempt that just ended included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Attempts that count against the budget.
    pub counted: u32,
    /// Attempts that ended with this outcome.
    pub same: u32,
}

/// Whether attempts that end so leave a contact's budget alone: the callee is no nearer to being bothered, and the
/// contact not to being reached.
pub fn is_free(rules: &CampaignRules, outcome: Outcome) -> bool {
    outcome == Outcome::Congestion && rules.retry(outcome).is_some()
}

/// What follows `outcome` at `at`.
pub fn after(
    rules: &CampaignRules,
    max_attempts: u32,
    outcome: Outcome,
    behind: Behind,
    at: Timestamp,
) -> Next {
    let used_up = behind.counted >= max_attempts && !is_free(rules, outcome);
    if outcome == Outcome::Answered || used_up {
        return Next::Final;
    }
    let Some(rule) = rules.retry(outcome) else {
        // Somebody's machine has the call: ringing there again is asked for, or not done.
        if outcome == Outcome::Machine {
            return Next::Final;
        }
        // No rules at all: the budget alone decides. With rules, what none names is final.
        let none = rules.retries.iter().all(|rule| rule.outcome == Outcome::Congestion);
        return if none { Next::Again(0) } else { Next::Final };
    };
    let doublings = if rule.doubling { behind.same.saturating_sub(1).min(DOUBLINGS_MAX) } else { 0 };
    let delay_ms = rule.delay_ms << doublings;
    match () {
        () if behind.same > rule.max => Next::Final,
        () if delay_ms == 0 => Next::Again(0),
        () => Next::Again(at + delay_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(retries: &[RetryRule]) -> CampaignRules {
        CampaignRules { retries: retries.to_vec(), ..CampaignRules::default() }
    }

    fn next(rules: &CampaignRules, outcome: Outcome, counted: u32, same: u32) -> Next {
        after(rules, 3, outcome, Behind { counted, same }, 1_000)
    }

    #[test]
    fn without_rules_the_budget_alone_decides() {
        let none = rules(&[]);
        assert_eq!(next(&none, Outcome::Busy, 2, 2), Next::Again(0));
        assert_eq!(next(&none, Outcome::Busy, 3, 3), Next::Final);
        assert_eq!(next(&none, Outcome::Answered, 1, 1), Next::Final);
    }

    #[test]
    fn with_rules_each_outcome_has_its_delay_and_limit_and_what_none_names_is_final() {
        let some = rules(&[
            RetryRule {
                outcome: Outcome::Busy,
                delay_ms: 60_000,
                max: 1,
                doubling: false,
                another_trunk: false,
            },
            RetryRule {
                outcome: Outcome::NoAnswer,
                delay_ms: 3_600_000,
                max: 5,
                doubling: false,
                another_trunk: false,
            },
        ]);
        assert_eq!(next(&some, Outcome::Busy, 1, 1), Next::Again(61_000));
        assert_eq!(next(&some, Outcome::Busy, 2, 2), Next::Final, "one retry after busy");
        assert_eq!(next(&some, Outcome::NoAnswer, 2, 2), Next::Again(3_601_000));
        assert_eq!(next(&some, Outcome::NoAnswer, 3, 3), Next::Final, "one budget for all of them");
        assert_eq!(next(&some, Outcome::Declined, 1, 1), Next::Final);
    }

    #[test]
    fn congestion_puts_the_contact_back_and_burns_nothing() {
        let usual = rules(&[CONGESTION]);
        assert_eq!(
            next(&usual, Outcome::Congestion, 3, 1),
            Next::Again(6_000),
            "its budget is used up already"
        );
        assert_eq!(next(&usual, Outcome::Congestion, 0, 3), Next::Again(21_000));
        assert_eq!(next(&usual, Outcome::Congestion, 0, 6), Next::Final);
        assert_eq!(next(&usual, Outcome::Busy, 2, 2), Next::Again(0), "others go by the budget");
        let never = rules(&[RetryRule { max: 0, ..CONGESTION }]);
        assert_eq!(next(&never, Outcome::Congestion, 0, 1), Next::Final);
    }
}
