//! Rules that cannot be meant: every problem at once, before a campaign exists.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::number::RINGS_KEPT;
use super::window::{self, DAY_MINUTES, Opening};
use super::{CampaignRules, GLOBAL_LIST};
use crate::ids::{Outcome, Timestamp};

/// Most windows, do-not-call lists, caps: what people write, times four.
pub const WINDOWS_MAX: usize = 28;
/// Most holidays.
pub const HOLIDAYS_MAX: usize = 400;
/// Most do-not-call lists beside the global one.
pub const LISTS_MAX: usize = 16;
/// Most caps.
pub const CAPS_MAX: usize = 8;
/// Longest delay, gap or period: what is meant for ever has a word of its own.
pub const LONGEST_MS: u64 = 400 * 86_400_000;
/// Most retries after one outcome.
pub const RETRIES_MAX: u32 = 100;
/// Largest weight and priority.
pub const SHARE_MAX: u32 = 1_000;

/// One thing wrong with the rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct RuleProblem {
    /// Where, as it is written: `windows[0]`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl RuleProblem {
    /// Stable code, by the rule it is about.
    pub fn code(&self) -> &'static str {
        let rule = self.field.split(['.', '[']).next().unwrap_or_default();
        match rule {
            "windows" => "AST-D070",
            "holidays" => "AST-D071",
            "default_zone" => "AST-D072",
            "caps" => "AST-D073",
            "min_gap" => "AST-D074",
            "do_not_call" => "AST-D075",
            "retries" => "AST-D076",
            "starts_at" | "ends_at" | "deadline" => "AST-D077",
            "budget" | "price" => "AST-D080",
            "weight" | "priority" => "AST-D078",
            _ => "AST-D079",
        }
    }
}

struct Problems(Vec<RuleProblem>);

impl Problems {
    fn unless(&mut self, right: bool, field: impl Into<String>, why: impl Into<String>) {
        if !right {
            self.0.push(RuleProblem { field: field.into(), why: why.into() });
        }
    }
}

/// Everything wrong with the rules of a campaign that is created at `at`.
pub fn check(rules: &CampaignRules, at: Timestamp) -> Vec<RuleProblem> {
    let mut found = Problems(Vec::new());
    check_windows(rules, at, &mut found);
    check_numbers(rules, &mut found);
    check_retries(rules, &mut found);
    found.unless(rules.weight <= SHARE_MAX, "weight", format!("at most {SHARE_MAX}"));
    found.unless(rules.priority <= SHARE_MAX, "priority", format!("at most {SHARE_MAX}"));
    let (starts, ends) = (rules.starts_at_ms, rules.ends_at_ms);
    found.unless(ends == 0 || ends > starts, "ends_at", "it ends before it starts");
    found.unless(ends == 0 || ends > at, "ends_at", "it is over already");
    let deadline = rules.deadline_ms;
    found.unless(deadline == 0 || deadline > at, "deadline", "it has passed already");
    found.unless(deadline == 0 || deadline > starts, "deadline", "it is before the campaign starts");
    found.unless(deadline == 0 || ends == 0, "deadline", "name a deadline or ends_at: both end the campaign");
    let price = &rules.price;
    let priced = rules.budget.cost_micro == 0 || price.is_known();
    found.unless(priced, "budget.cost", "nobody knows what a call costs: say it with price");
    let letters = price.currency.len() == 3 && price.currency.bytes().all(|b| b.is_ascii_uppercase());
    found.unless(letters || !price.is_known(), "price.currency", "three capital letters, like USD");
    found.unless(rules.profile.len() <= 64, "profile", "at most 64 bytes");
    found.0
}

fn check_windows(rules: &CampaignRules, at: Timestamp, found: &mut Problems) {
    found.unless(rules.windows.len() <= WINDOWS_MAX, "windows", format!("at most {WINDOWS_MAX}"));
    for (index, window) in rules.windows.iter().enumerate() {
        let field = || format!("windows[{index}]");
        found.unless((1..128).contains(&window.weekdays), field(), "names no weekday, so it never opens");
        let hours = window.from_minute < window.to_minute && window.to_minute <= DAY_MINUTES;
        found.unless(hours, field(), "ends before it begins; hours past midnight are a second window");
    }
    found.unless(rules.holidays.len() <= HOLIDAYS_MAX, "holidays", format!("at most {HOLIDAYS_MAX}"));
    for day in &rules.holidays {
        let date = NaiveDate::from_ymd_opt((day / 10_000).cast_signed(), day / 100 % 100, day % 100);
        found.unless(date.is_some(), "holidays", format!("{day} is no day, write 20261225"));
    }
    let zones = if rules.default_zone.is_empty() { None } else { window::zones(&rules.default_zone) };
    let known = zones.is_some() || rules.default_zone.is_empty();
    found.unless(known, "default_zone", "not an IANA time zone, like America/New_York");
    if found.0.is_empty() && !(rules.windows.is_empty() && rules.holidays.is_empty()) {
        let opening = Opening { windows: &rules.windows, holidays: &rules.holidays };
        let from = at.max(rules.starts_at_ms);
        let opens = opening.opens_at(&zones.unwrap_or_else(|| vec![chrono_tz::UTC]), from);
        found.unless(opens.is_some(), "windows", "never open within a year");
        let in_time = |opens| rules.ends_at_ms == 0 || opens < rules.ends_at_ms;
        // Zones are up to a day apart: only what no zone can make true is a contradiction.
        let in_time = opens.is_none_or(|opens: Timestamp| in_time(opens.saturating_sub(86_400_000)));
        found.unless(in_time, "ends_at", "the campaign ends before its windows open for the first time");
    }
}

fn check_numbers(rules: &CampaignRules, found: &mut Problems) {
    found.unless(rules.caps.len() <= CAPS_MAX, "caps", format!("at most {CAPS_MAX}"));
    for (index, cap) in rules.caps.iter().enumerate() {
        let field = || format!("caps[{index}]");
        found.unless(cap.max > 0, field(), "a cap of 0 dials nobody; leave the campaign paused instead");
        let kept = cap.period_ms == 0 || cap.max as usize <= RINGS_KEPT;
        found.unless(kept, field(), format!("at most {RINGS_KEPT} rings in a period"));
        found.unless(cap.period_ms <= LONGEST_MS, field(), "at most 400 days; 0 means for ever");
    }
    found.unless(rules.min_gap_ms <= LONGEST_MS, "min_gap", "at most 400 days");
    found.unless(rules.do_not_call.len() <= LISTS_MAX, "do_not_call", format!("at most {LISTS_MAX} lists"));
    for list in &rules.do_not_call {
        let token = asterism_proto::origin::is_token(list) && list.len() <= 64;
        found.unless(token, "do_not_call", "a list's name is 1 to 64 of [A-Za-z0-9_-]");
        found.unless(list != GLOBAL_LIST, "do_not_call", "the global list is obeyed without being named");
    }
}

fn check_retries(rules: &CampaignRules, found: &mut Problems) {
    let mut seen = BTreeSet::new();
    for rule in &rules.retries {
        let field = || format!("retries.{}", rule.outcome.name());
        found.unless(rule.outcome != Outcome::Answered, field(), "an answered contact is done");
        found.unless(seen.insert(rule.outcome), field(), "is there twice");
        found.unless(rule.max <= RETRIES_MAX, field(), format!("at most {RETRIES_MAX} retries"));
        found.unless(rule.delay_ms <= LONGEST_MS, field(), "at most 400 days");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{AttemptCap, CallingWindow, RetryRule};

    const NOW: Timestamp = 1_796_000_000_000; // 30 November 2026

    fn fields(rules: &CampaignRules) -> Vec<String> {
        check(rules, NOW).into_iter().map(|problem| problem.field).collect()
    }

    fn window(weekdays: u32, from_minute: u32, to_minute: u32) -> CallingWindow {
        CallingWindow { weekdays, from_minute, to_minute }
    }

    #[test]
    fn rules_that_can_be_meant_pass() {
        assert_eq!(check(&CampaignRules::default(), NOW), []);
        let full = CampaignRules {
            windows: vec![window(0b1_1111, 540, 1_260), window(0b110_0000, 600, 1_440)],
            holidays: vec![20_261_225],
            default_zone: "Europe/London".into(),
            caps: vec![AttemptCap { period_ms: 86_400_000, max: 3 }, AttemptCap { period_ms: 0, max: 50 }],
            min_gap_ms: 3_600_000,
            do_not_call: vec!["uk-tps".into()],
            retries: vec![RetryRule {
                outcome: Outcome::Busy,
                delay_ms: 300_000,
                max: 3,
                doubling: true,
                another_trunk: false,
            }],
            ends_at_ms: NOW + 7 * 86_400_000,
            ..CampaignRules::default()
        };
        assert_eq!(check(&full, NOW), []);
    }

    #[test]
    fn every_problem_is_listed_at_once() {
        let bad = CampaignRules {
            windows: vec![window(0, 540, 1_260), window(1, 600, 600)],
            holidays: vec![20_261_301],
            default_zone: "Mars/Olympus".into(),
            caps: vec![AttemptCap { period_ms: 0, max: 0 }, AttemptCap { period_ms: 1_000, max: 33 }],
            do_not_call: vec!["a b".into(), "global".into()],
            retries: vec![
                RetryRule {
                    outcome: Outcome::Answered,
                    delay_ms: 0,
                    max: 1,
                    doubling: false,
                    another_trunk: false,
                },
                RetryRule {
                    outcome: Outcome::Busy,
                    delay_ms: 0,
                    max: 1,
                    doubling: false,
                    another_trunk: false,
                },
                RetryRule {
                    outcome: Outcome::Busy,
                    delay_ms: 0,
                    max: 1,
                    doubling: false,
                    another_trunk: false,
                },
            ],
            starts_at_ms: NOW - 1,
            ends_at_ms: NOW - 2,
            ..CampaignRules::default()
        };
        assert_eq!(
            fields(&bad),
            [
                "windows[0]",
                "windows[1]",
                "holidays",
                "default_zone",
                "caps[0]",
                "caps[1]",
                "do_not_call",
                "do_not_call",
                "retries.answered",
                "retries.busy",
                "ends_at",
                "ends_at"
            ]
        );
    }

    #[test]
    fn windows_and_end_that_exclude_each_other_are_a_contradiction() {
        // A campaign of Mondays (NOW is one) that ends on Thursday, and has that Monday off.
        let never = CampaignRules {
            windows: vec![window(1, 540, 600)],
            holidays: vec![20_261_130],
            ends_at_ms: NOW + 3 * 86_400_000,
            ..CampaignRules::default()
        };
        assert_eq!(fields(&never), ["ends_at"]);
        assert_eq!(fields(&CampaignRules { holidays: vec![], ..never }), Vec::<String>::new());
    }
}
