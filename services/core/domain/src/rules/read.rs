//! A rules file: what people write, and every problem of it at once. `data/profiles/` has dated examples of
//! jurisdictions in the same form; a file may begin from one.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use serde::Deserialize;

use super::check::{RuleProblem, check};
use super::window::DAY_MINUTES;
use super::{AttemptCap, Budget, CallingWindow, CampaignRules, Price, RetryRule};
use crate::ids::{Outcome, Timestamp};

/// Longest document.
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Profiles that come with the program: name, document.
pub const PROFILES: [(&str, &str); 2] = [
    ("us-2026-12-01", include_str!("../../data/profiles/us.toml")),
    ("uk-2026-12-01", include_str!("../../data/profiles/uk.toml")),
];

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Rules as they are written, in TOML or any other form that serde reads.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    profile: Option<String>,
    windows: Option<Vec<Window>>,
    holidays: Option<Vec<String>>,
    default_zone: Option<String>,
    caps: Option<Vec<Cap>>,
    min_gap: Option<String>,
    consent_required: Option<bool>,
    do_not_call: Option<Vec<String>>,
    retries: Option<BTreeMap<String, Retry>>,
    weight: Option<u32>,
    priority: Option<u32>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    deadline: Option<String>,
    budget: Option<DocumentBudget>,
    price: Option<DocumentPrice>,
    detect_machines: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentBudget {
    answered: Option<u32>,
    talk: Option<String>,
    cost: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentPrice {
    call: Option<String>,
    minute: Option<String>,
    currency: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    days: String,
    from: String,
    to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cap {
    per: String,
    max: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    after: String,
    max: u32,
    #[serde(default)]
    doubling: bool,
    #[serde(default)]
    another_trunk: bool,
}

/// Reads a rules file for a campaign that is created at `at`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(text: &str, at: Timestamp) -> Result<CampaignRules, Vec<RuleProblem>> {
    understood(document(text).map_err(|problem| vec![problem])?, at)
}

/// [`read`] of a document in another form than TOML.
///
/// # Errors
/// Everything that is wrong with it.
pub fn understood(document: Document, at: Timestamp) -> Result<CampaignRules, Vec<RuleProblem>> {
    let mut problems = Vec::new();
    let mut rules = CampaignRules::default();
    if let Some(name) = &document.profile {
        match PROFILES.iter().find(|(known, _)| known == name) {
            Some((_, text)) => match self::document(text) {
                Ok(base) => fill(&mut rules, base, &mut problems),
                Err(problem) => problems.push(problem),
            },
            None => problems.push(RuleProblem {
                field: "profile".into(),
                why: format!("there is no `{name}`; there are {}", PROFILES.map(|(name, _)| name).join(", ")),
            }),
        }
        rules.profile.clone_from(name);
    }
    fill(&mut rules, document, &mut problems);
    problems.extend(check(&rules, at));
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

fn document(text: &str) -> Result<Document, RuleProblem> {
    let problem = |why: String| RuleProblem { field: "document".into(), why };
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(problem(format!("longer than {MAX_DOCUMENT_BYTES} bytes")));
    }
    toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        problem(format!("line {line}: {}", error.message()))
    })
}

/// Puts what the document says over what the rules say.
fn fill(rules: &mut CampaignRules, document: Document, problems: &mut Vec<RuleProblem>) {
    let mut read = Reading { problems };
    if let Some(windows) = document.windows {
        let indexed = windows.iter().enumerate();
        rules.windows = indexed.filter_map(|(index, window)| read.window(index, window)).collect();
    }
    if let Some(days) = document.holidays {
        rules.holidays = days.iter().filter_map(|day| read.day(day)).collect();
    }
    if let Some(caps) = document.caps {
        let indexed = caps.iter().enumerate();
        rules.caps = indexed.filter_map(|(index, cap)| read.cap(index, cap)).collect();
    }
    if let Some(retries) = document.retries {
        rules.retries = retries.iter().filter_map(|(name, retry)| read.retry(name, retry)).collect();
    }
    if let Some(gap) = document.min_gap {
        rules.min_gap_ms = read.length("min_gap", &gap).unwrap_or_default();
    }
    if let Some(text) = document.starts_at {
        rules.starts_at_ms = read.moment("starts_at", &text).unwrap_or_default();
    }
    if let Some(text) = document.ends_at {
        rules.ends_at_ms = read.moment("ends_at", &text).unwrap_or_default();
    }
    if let Some(text) = document.deadline {
        rules.deadline_ms = read.moment("deadline", &text).unwrap_or_default();
    }
    if let Some(budget) = document.budget {
        let talk = budget.talk.and_then(|text| read.length("budget.talk", &text));
        let cost = budget.cost.and_then(|text| read.money("budget.cost", &text));
        rules.budget = Budget {
            answered: budget.answered.unwrap_or_default(),
            talk_ms: talk.unwrap_or_default(),
            cost_micro: cost.unwrap_or_default(),
        };
        if rules.budget == Budget::default() {
            read.refuse::<()>(
                "budget".into(),
                "a budget of nothing dials nobody; name answered, talk or cost",
            );
        }
    }
    if let Some(price) = document.price {
        let call = price.call.and_then(|text| read.money("price.call", &text));
        let minute = price.minute.and_then(|text| read.money("price.minute", &text));
        let (call_micro, minute_micro) = (call.unwrap_or_default(), minute.unwrap_or_default());
        rules.price = Price { call_micro, minute_micro, currency: price.currency };
    }
    rules.default_zone = document.default_zone.unwrap_or(std::mem::take(&mut rules.default_zone));
    rules.do_not_call = document.do_not_call.unwrap_or(std::mem::take(&mut rules.do_not_call));
    rules.detect_machines = document.detect_machines.unwrap_or(rules.detect_machines);
    rules.consent_required = document.consent_required.unwrap_or(rules.consent_required);
    rules.weight = document.weight.unwrap_or(rules.weight);
    rules.priority = document.priority.unwrap_or(rules.priority);
}

struct Reading<'a> {
    problems: &'a mut Vec<RuleProblem>,
}

impl Reading<'_> {
    fn refuse<T>(&mut self, field: String, why: impl Into<String>) -> Option<T> {
        self.problems.push(RuleProblem { field, why: why.into() });
        None
    }

    fn window(&mut self, index: usize, window: &Window) -> Option<CallingWindow> {
        let field = || format!("windows[{index}]");
        let Some(weekdays) = weekdays(&window.days) else {
            return self
                .refuse(field(), format!("`{}` names no days: mon-fri, sat,sun or daily", window.days));
        };
        let (Some(from_minute), Some(to_minute)) = (minute(&window.from), minute(&window.to)) else {
            return self.refuse(field(), "hours are written 08:00, from 00:00 to 24:00");
        };
        Some(CallingWindow { weekdays, from_minute, to_minute })
    }

    fn day(&mut self, day: &str) -> Option<u32> {
        let date = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok().filter(|_| day.len() == 10);
        match date.and_then(|date| date.to_string().replace('-', "").parse().ok()) {
            Some(number) => Some(number),
            None => self.refuse("holidays".into(), format!("`{day}` is no day, write 2026-12-25")),
        }
    }

    fn cap(&mut self, index: usize, cap: &Cap) -> Option<AttemptCap> {
        if cap.per == "ever" {
            return Some(AttemptCap { period_ms: 0, max: cap.max });
        }
        let period_ms = self.length(&format!("caps[{index}].per"), &cap.per)?;
        if period_ms == 0 {
            return self.refuse(format!("caps[{index}].per"), "a period of nothing; write 24h, 7d or ever");
        }
        Some(AttemptCap { period_ms, max: cap.max })
    }

    fn retry(&mut self, name: &str, retry: &Retry) -> Option<RetryRule> {
        let field = format!("retries.{name}");
        let Some(outcome) = Outcome::ALL.into_iter().find(|outcome| outcome.name() == name) else {
            let known = Outcome::ALL.map(Outcome::name).join(", ");
            return self.refuse(field, format!("no such outcome; there are {known}"));
        };
        let delay_ms = self.length(&format!("{field}.after"), &retry.after)?;
        let Retry { max, doubling, another_trunk, .. } = *retry;
        Some(RetryRule { outcome, delay_ms, max, doubling, another_trunk })
    }

    fn length(&mut self, field: &str, text: &str) -> Option<u64> {
        match length_ms(text) {
            Some(length) => Some(length),
            None => self.refuse(field.to_owned(), format!("`{text}` is no time, write 30s, 10m, 4h or 7d")),
        }
    }

    fn money(&mut self, field: &str, text: &str) -> Option<u64> {
        match micro(text) {
            Some(amount) => Some(amount),
            None => self.refuse(field.to_owned(), format!("`{text}` is no amount, write 12.50 or 0.0042")),
        }
    }

    fn moment(&mut self, field: &str, text: &str) -> Option<Timestamp> {
        let moment = DateTime::parse_from_rfc3339(text).ok();
        match moment.and_then(|moment| u64::try_from(moment.timestamp_millis()).ok()) {
            Some(at) => Some(at),
            None => self.refuse(field.to_owned(), format!("`{text}` is no time, write 2026-12-01T09:00:00Z")),
        }
    }
}

/// `daily`, `mon-fri`, `sat,sun`, `fri-mon`.
fn weekdays(text: &str) -> Option<u32> {
    if text == "daily" {
        return Some(0b111_1111);
    }
    let day = |name: &str| DAYS.iter().position(|day| *day == name.trim());
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days |= 1 << at;
        while at != last {
            at = (at + 1) % DAYS.len();
            days |= 1 << at;
        }
    }
    Some(days)
}

/// `08:30`; `24:00` is the end of the day.
fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let part = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = (part(hours)?, part(minutes)?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

/// `12.50` in millionths: at most six digits behind the point, never a float.
fn micro(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

/// `500ms`, `30s`, `10m`, `4h`, `7d`.
fn length_ms(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = 1_796_083_200_000; // 1 December 2026

    fn problems(text: &str) -> String {
        let lines = read(text, NOW).unwrap_err();
        lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_file_says_what_people_mean() {
        let rules = read(
            r#"
            windows = [{ days = "mon-fri", from = "09:00", to = "20:30" }, { days = "sat,sun", from = "10:00", to = "24:00" }]
            holidays = ["2026-12-25"]
            default_zone = "Europe/Berlin"
            caps = [{ per = "7d", max = 4 }, { per = "ever", max = 12 }]
            min_gap = "4h"
            do_not_call = ["robinson"]
            weight = 3
            ends_at = "2026-12-24T12:00:00+01:00"
            budget = { answered = 500, talk = "40h", cost = "120.5" }
            price = { call = "0.01", minute = "0.0042", currency = "EUR" }
            [retries]
            busy = { after = "10m", max = 3 }
            congestion = { after = "5s", max = 5, doubling = true }
            "#,
            NOW,
        )
        .unwrap();
        assert_eq!(
            rules.windows[0],
            CallingWindow { weekdays: 0b001_1111, from_minute: 540, to_minute: 1_230 }
        );
        assert_eq!(
            rules.windows[1],
            CallingWindow { weekdays: 0b110_0000, from_minute: 600, to_minute: 1_440 }
        );
        assert_eq!(rules.holidays, [20_261_225]);
        assert_eq!(rules.caps[0], AttemptCap { period_ms: 7 * 86_400_000, max: 4 });
        assert_eq!((rules.caps[1].period_ms, rules.min_gap_ms), (0, 4 * 3_600_000));
        assert_eq!(
            rules.retries[0],
            RetryRule {
                outcome: Outcome::Busy,
                delay_ms: 600_000,
                max: 3,
                doubling: false,
                another_trunk: false
            }
        );
        assert_eq!(rules.ends_at_ms, 1_798_110_000_000);
        assert_eq!(rules.budget, Budget { answered: 500, talk_ms: 144_000_000, cost_micro: 120_500_000 });
        assert_eq!((rules.price.call_micro, rules.price.minute_micro), (10_000, 4_200));
        let deadline = |text: &str| read(text, NOW).map(|rules| rules.deadline_ms);
        assert_eq!(deadline("deadline = \"2026-12-02T00:00:00Z\""), Ok(NOW + 86_400_000));
        let both = "deadline = \"2026-12-02T00:00:00Z\"\nends_at = \"2026-12-02T00:00:00Z\"";
        assert!(problems(both).starts_with("deadline: name a deadline or ends_at"));
        for (text, said) in [
            ("budget = { cost = \"1e3\" }", "budget.cost: `1e3` is no amount"),
            ("budget = {}", "budget: a budget of nothing"),
            ("budget = { cost = \"1\" }", "budget.cost: nobody knows what a call costs"),
            ("price = { call = \"1\", currency = \"euro\" }", "price.currency: three capital letters"),
            ("deadline = \"2020-01-01T00:00:00Z\"", "deadline: it has passed already"),
        ] {
            assert!(problems(text).starts_with(said), "{text}: {}", problems(text));
        }
        assert_eq!(read("", NOW).unwrap(), CampaignRules::default());
    }

    #[test]
    fn a_file_begins_from_a_profile_and_says_more_or_else() {
        for (name, _) in PROFILES {
            let rules = read(&format!("profile = \"{name}\""), NOW).unwrap();
            assert!(!rules.windows.is_empty() && rules.consent_required && rules.profile == name);
        }
        let rules = read("profile = \"uk-2026-12-01\"\nmin_gap = \"6h\"\nholidays = []", NOW).unwrap();
        assert_eq!((rules.windows.len(), rules.min_gap_ms, rules.holidays.len()), (2, 6 * 3_600_000, 0));
    }

    #[test]
    fn every_problem_is_named_with_its_place() {
        assert_eq!(
            problems(
                r#"
                profile = "fr"
                windows = [{ days = "montag", from = "09:00", to = "20:00" }, { days = "mon", from = "9", to = "25:00" }]
                holidays = ["25.12.2026"]
                caps = [{ per = "0h", max = 1 }, { per = "day", max = 1 }]
                min_gap = "soon"
                starts_at = "tomorrow"
                default_zone = "Berlin"
                [retries]
                angry = { after = "1m", max = 1 }
                "#
            ),
            "profile: there is no `fr`; there are us-2026-12-01, uk-2026-12-01\n\
             windows[0]: `montag` names no days: mon-fri, sat,sun or daily\n\
             windows[1]: hours are written 08:00, from 00:00 to 24:00\n\
             holidays: `25.12.2026` is no day, write 2026-12-25\n\
             caps[0].per: a period of nothing; write 24h, 7d or ever\n\
             caps[1].per: `day` is no time, write 30s, 10m, 4h or 7d\n\
             retries.angry: no such outcome; there are answered, busy, declined, no-answer, invalid-number, \
             unavailable, congestion, failed, machine, no-input\n\
             min_gap: `soon` is no time, write 30s, 10m, 4h or 7d\n\
             starts_at: `tomorrow` is no time, write 2026-12-01T09:00:00Z\n\
             default_zone: not an IANA time zone, like America/New_York"
        );
        assert!(problems("\n\nwindow = 3").starts_with("document: line 3: unknown field `window`"));
        assert!(problems("min_gap = ").starts_with("document: line 1:"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,200}", value in "[0-9a-z:,-]{0,9}") {
            let _ = read(&text, NOW);
            let written = format!(
                "min_gap = {value:?}\nholidays = [{value:?}]\nwindows = [{{ days = {value:?}, from = {value:?}, to = \"24:00\" }}]"
            );
            let _ = read(&written, NOW);
            let _ = (weekdays(&value), minute(&value), length_ms(&value));
        }
    }
}
