//! Windows of several zones, by example and minute by minute.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const WEEKDAYS: u32 = 0b001_1111;
const EVERY_DAY: u32 = 0b111_1111;

fn hours(weekdays: u32, from: u32, to: u32) -> CallingWindow {
    CallingWindow { weekdays, from_minute: from * 60, to_minute: to * 60 }
}

fn ms(text: &str) -> Timestamp {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis().cast_unsigned()
}

fn text(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "closed".to_owned(), |at| utc(at).unwrap().format("%a %m-%d %H:%M").to_string())
}

fn opening(windows: &[CallingWindow]) -> Opening<'_> {
    Opening { windows, holidays: &[] }
}

fn closing(windows: &[CallingWindow], zone: &str, at: &str) -> String {
    text(opening(windows).closes_at(&zones(zone).unwrap(), ms(at)))
}

#[test]
fn a_window_is_the_callees_own_hours() {
    let day = [hours(WEEKDAYS, 9, 17)];
    // Tuesday, 1 December 2026.
    assert_eq!(closing(&day, "America/New_York", "2026-12-01T13:59:59Z"), "closed");
    assert_eq!(closing(&day, "America/New_York", "2026-12-01T14:00:00Z"), "Tue 12-01 22:00");
    assert_eq!(closing(&day, "America/New_York", "2026-12-01T21:59:59.999Z"), "Tue 12-01 22:00");
    assert_eq!(closing(&day, "America/New_York", "2026-12-01T22:00:00Z"), "closed");
    assert_eq!(closing(&day, "Asia/Kolkata", "2026-12-01T03:30:00Z"), "Tue 12-01 11:30");
    // Saturday in Sydney while it is Friday in Berlin.
    assert_eq!(closing(&day, "Australia/Sydney", "2026-12-04T23:00:00Z"), "closed");
    assert_eq!(closing(&day, "Europe/Berlin", "2026-12-04T15:00:00Z"), "Fri 12-04 16:00");
}

#[test]
fn all_zones_of_a_callee_that_may_be_in_any_must_be_open() {
    let day = [hours(EVERY_DAY, 8, 21)];
    let both = "America/New_York,America/Los_Angeles";
    assert_eq!(closing(&day, both, "2026-12-01T15:00:00Z"), "closed", "7 in the morning in Los Angeles");
    assert_eq!(closing(&day, both, "2026-12-01T16:00:00Z"), "Wed 12-02 02:00", "21 in New York comes first");
    let opens = opening(&day).opens_at(&zones(both).unwrap(), ms("2026-12-02T02:00:00Z"));
    assert_eq!(text(opens), "Wed 12-02 16:00");
    assert!(opening(&day).closes_at(&[], ms("2026-12-01T16:00:00Z")).is_none(), "no zone is never open");
    assert!(zones("America/New_York,Nowhere/Else").is_none());
    assert!(zones("").is_none());
}

#[test]
fn windows_that_follow_one_another_are_one() {
    let night = [hours(EVERY_DAY, 22, 24), hours(EVERY_DAY, 0, 2)];
    assert_eq!(closing(&night, "UTC", "2026-12-01T22:30:00Z"), "Wed 12-02 02:00");
    let overlapping = [hours(EVERY_DAY, 9, 12), hours(EVERY_DAY, 11, 15)];
    assert_eq!(closing(&overlapping, "UTC", "2026-12-01T09:30:00Z"), "Tue 12-01 15:00");
    let always = [hours(EVERY_DAY, 0, 24)];
    assert_eq!(closing(&always, "UTC", "2026-12-01T09:30:00Z"), "Fri 12-18 00:00", "asked again then");
}

#[test]
fn a_clock_put_back_gives_an_hour_twice() {
    // New York, 1 November 2026: 02:00 EDT (06:00 UTC) becomes 01:00 EST.
    let early = [CallingWindow { weekdays: EVERY_DAY, from_minute: 60, to_minute: 90 }];
    let at = |at: &str| closing(&early, "America/New_York", at);
    assert_eq!(at("2026-11-01T05:15:00Z"), "Sun 11-01 05:30", "the first 01:15");
    assert_eq!(at("2026-11-01T05:45:00Z"), "closed");
    assert_eq!(at("2026-11-01T06:15:00Z"), "Sun 11-01 06:30", "the second 01:15");
    let over = [hours(EVERY_DAY, 0, 2)];
    assert_eq!(closing(&over, "America/New_York", "2026-11-01T05:45:00Z"), "Sun 11-01 07:00");
}

#[test]
fn a_clock_put_forward_closes_when_its_hands_jump_over_the_end() {
    // New York, 8 March 2026: 02:00 EST (07:00 UTC) becomes 03:00 EDT.
    let early = [CallingWindow { weekdays: EVERY_DAY, from_minute: 60, to_minute: 150 }];
    assert_eq!(closing(&early, "America/New_York", "2026-03-08T06:30:00Z"), "Sun 03-08 07:00");
    assert_eq!(closing(&early, "America/New_York", "2026-03-08T07:00:00Z"), "closed");
    let gone = [CallingWindow { weekdays: EVERY_DAY, from_minute: 120, to_minute: 180 }];
    let opens = opening(&gone).opens_at(&zones("America/New_York").unwrap(), ms("2026-03-08T06:00:00Z"));
    assert_eq!(text(opens), "Mon 03-09 06:00", "there is no 02:00 on that Sunday");
}

#[test]
fn a_holiday_has_no_calls_in_the_callees_own_day() {
    let day = [hours(EVERY_DAY, 8, 21)];
    let christmas = Opening { windows: &day, holidays: &[20_261_225] };
    let tokyo = zones("Asia/Tokyo").unwrap();
    assert_eq!(text(christmas.closes_at(&tokyo, ms("2026-12-24T23:30:00Z"))), "closed", "already the 25th");
    assert_eq!(text(christmas.opens_at(&tokyo, ms("2026-12-24T23:30:00Z"))), "Fri 12-25 23:00");
    let any_time = Opening { windows: &[], holidays: &[20_261_225] };
    assert_eq!(text(any_time.closes_at(&tokyo, ms("2026-12-24T14:30:00Z"))), "Thu 12-24 15:00");
    assert_eq!(text(any_time.closes_at(&tokyo, ms("2026-12-24T15:00:00Z"))), "closed");
}

#[test]
fn windows_that_never_open_say_so() {
    let never = [hours(0, 9, 17)];
    assert_eq!(opening(&never).opens_at(&zones("UTC").unwrap(), ms("2026-12-01T00:00:00Z")), None);
}

fn any_window() -> impl Strategy<Value = CallingWindow> {
    (0u32..128, 0..DAY_MINUTES, 1..=DAY_MINUTES).prop_map(|(weekdays, a, b)| CallingWindow {
        weekdays,
        from_minute: a.min(b - 1),
        to_minute: b.max(a + 1),
    })
}

/// The rule itself, minute by minute: the slow truth.
fn is_open(windows: &[CallingWindow], zone: Tz, at: Timestamp) -> bool {
    let local = local(zone, at).unwrap();
    windows.iter().any(|window| {
        window.weekdays >> weekday(local.date()) & 1 == 1
            && (window.from_minute..window.to_minute).contains(&minute_of_day(local))
    })
}

proptest! {
    /// A closing time is right to the minute around every change of the clocks, and so is the next opening.
    #[test]
    fn closing_and_opening_agree_with_the_rule_minute_by_minute(
        windows in proptest::collection::vec(any_window(), 1..3),
        zone in prop_oneof![
            Just("America/New_York"), Just("Europe/London"), Just("Australia/Lord_Howe"), Just("Africa/Casablanca"),
            Just("Asia/Kathmandu"), Just("America/St_Johns"), Just("Pacific/Apia"),
        ],
        // Within two days of a change in New York, London, Lord Howe or Casablanca.
        around in prop_oneof![
            Just("2026-03-08T07:00:00Z"), Just("2026-11-01T06:00:00Z"), Just("2026-03-29T01:00:00Z"),
            Just("2026-10-03T15:30:00Z"), Just("2026-04-04T15:00:00Z"), Just("2026-02-15T02:00:00Z"),
        ],
        minutes in -2_880i64..2_880,
        ms_more in 0u64..60_000,
    ) {
        let zone: Tz = zone.parse().unwrap();
        let at = ms(around).saturating_add_signed(minutes * 60_000) + ms_more;
        let opening = opening(&windows);
        let closes = opening.closes_at(&[zone], at);
        prop_assert_eq!(closes.is_some(), is_open(&windows, zone, at));
        if let Some(closes) = closes {
            prop_assert!(closes > at);
            let mut minute = at;
            while minute < closes.min(at + 3 * 86_400_000) {
                prop_assert!(is_open(&windows, zone, minute), "{} is not open", text(Some(minute)));
                minute = (minute / 60_000 + 1) * 60_000;
            }
            let joined = closes >= at + 86_400_000;
            prop_assert!(joined || !is_open(&windows, zone, closes), "open at {}", text(Some(closes)));
        } else if let Some(opens) = opening.opens_at(&[zone], at) {
            prop_assert!(is_open(&windows, zone, opens));
            let mut minute = (at / 60_000 + 1) * 60_000;
            while minute < opens.min(at + 3 * 86_400_000) {
                prop_assert!(!is_open(&windows, zone, minute), "open before, at {}", text(Some(minute)));
                minute += 60_000;
            }
        }
    }
}
