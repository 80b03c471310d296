//! Calling windows: hours of the week in the callee's own zone, daylight saving and holidays included.
//!
//! Everything is computed from UTC to local time, never back: a local time can exist twice or not at all.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;

/// Minutes of a day.
pub const DAY_MINUTES: u32 = 24 * 60;
/// Days looked ahead for an opening: a year of holidays and windows, and some.
const OPENING_MAX_DAYS: u32 = 400;
/// Windows that may follow one another without a pause before a closing time is given; it is then asked again.
const JOINED_MAX: usize = 16;

/// Hours of some weekdays. One past midnight is written as two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallingWindow {
    /// Bit 0 = Monday … bit 6 = Sunday.
    pub weekdays: u32,
    /// First minute of the day that is inside, 0 to 1,439.
    pub from_minute: u32,
    /// First minute that is outside again, 1 to 1,440.
    pub to_minute: u32,
}

/// When callees may be rung.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The windows; none = always open but for holidays.
    pub windows: &'a [CallingWindow],
    /// Days without calls, `yyyymmdd`.
    pub holidays: &'a [u32],
}

/// Reads the zones of a contact: one IANA name, or several with `,` between that must all be open. `None` if one is
/// unknown, or there is none.
pub fn zones(text: &str) -> Option<Vec<Tz>> {
    text.split(',').map(|name| name.parse().ok()).collect()
}

impl Opening<'_> {
    /// Until when all of `zones` are open without a pause, if they are at `at`. No zone is never open.
    pub fn closes_at(&self, zones: &[Tz], at: Timestamp) -> Option<Timestamp> {
        let closings: Option<Vec<Timestamp>> = zones.iter().map(|zone| self.closes(*zone, at)).collect();
        closings?.into_iter().min()
    }

    /// When all of `zones` are open next, `at` included. `None` if that is not within a year.
    pub fn opens_at(&self, zones: &[Tz], at: Timestamp) -> Option<Timestamp> {
        let mut at = at;
        let end = at.saturating_add(u64::from(OPENING_MAX_DAYS) * 86_400_000);
        while at < end {
            if self.closes_at(zones, at).is_some() {
                return Some(at);
            }
            // One of them is closed; nothing is open before the latest of their next openings.
            let next: Option<Vec<Timestamp>> = zones.iter().map(|zone| self.opens(*zone, at)).collect();
            let next = next?.into_iter().max()?;
            at = if next > at { next } else { at + 60_000 };
        }
        None
    }

    fn closes(&self, zone: Tz, at: Timestamp) -> Option<Timestamp> {
        let mut closing = self.end_of_window(zone, at)?;
        for _ in 0..JOINED_MAX {
            match self.end_of_window(zone, closing) {
                Some(later) => closing = later,
                None => break,
            }
        }
        Some(closing)
    }

    /// End of the window, or of the day where there are only holidays, that `at` is in: or the next change of the
    /// zone's offset, if that comes first.
    fn end_of_window(&self, zone: Tz, at: Timestamp) -> Option<Timestamp> {
        let local = local(zone, at)?;
        if self.is_holiday(local.date()) {
            return None;
        }
        let minute = minute_of_day(local);
        let end_minute = if self.windows.is_empty() {
            DAY_MINUTES
        } else {
            let today = |window: &&CallingWindow| window.weekdays >> weekday(local.date()) & 1 == 1;
            let inside = |window: &&CallingWindow| (window.from_minute..window.to_minute).contains(&minute);
            self.windows.iter().filter(today).filter(inside).map(|window| window.to_minute).max()?
        };
        let into_minute = u64::from(local.second()) * 1000 + at % 1000;
        let end = at - into_minute + u64::from(end_minute - minute) * 60_000;
        Some(change_before(zone, at, end).unwrap_or(end))
    }

    /// A moment after `at`, not behind the next one that is open.
    fn opens(&self, zone: Tz, at: Timestamp) -> Option<Timestamp> {
        if self.end_of_window(zone, at).is_some() {
            return Some(at);
        }
        let now = local(zone, at)?;
        let minute = minute_of_day(now);
        let mut date = now.date();
        for day in 0..OPENING_MAX_DAYS {
            let starts = if self.windows.is_empty() { vec![0] } else { self.starts(date) };
            let next = starts.into_iter().filter(|start| day > 0 || *start > minute).min();
            if let Some(start) = next.filter(|_| !self.is_holiday(date)) {
                let ahead = u64::from(day) * u64::from(DAY_MINUTES) + u64::from(start);
                let into_minute = u64::from(now.second()) * 1000 + at % 1000;
                let there = at - into_minute + (ahead - u64::from(minute)) * 60_000;
                // Behind a change of the offset the hands of the clock say something else: look again from there.
                return Some(change_before(zone, at, there).unwrap_or(there));
            }
            date = date.succ_opt()?;
        }
        None
    }

    fn starts(&self, date: NaiveDate) -> Vec<u32> {
        let today = |window: &&CallingWindow| window.weekdays >> weekday(date) & 1 == 1;
        self.windows.iter().filter(today).map(|window| window.from_minute).collect()
    }

    fn is_holiday(&self, date: NaiveDate) -> bool {
        let year = u32::try_from(date.year()).unwrap_or_default();
        self.holidays.contains(&(year * 10_000 + date.month() * 100 + date.day()))
    }
}

fn weekday(date: NaiveDate) -> u32 {
    date.weekday().num_days_from_monday()
}

fn minute_of_day(local: NaiveDateTime) -> u32 {
    local.hour() * 60 + local.minute()
}

fn utc(at: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(i64::try_from(at).ok()?)
}

fn offset_s(zone: Tz, at: Timestamp) -> Option<i32> {
    Some(zone.offset_from_utc_datetime(&utc(at)?.naive_utc()).fix().local_minus_utc())
}

fn local(zone: Tz, at: Timestamp) -> Option<NaiveDateTime> {
    let naive = utc(at)?.naive_utc();
    naive.checked_add_signed(TimeDelta::seconds(i64::from(offset_s(zone, at)?)))
}

/// The first change of the zone's offset behind `from` and not behind `to`, to the second. Two changes within one day
/// that undo each other would be missed; no zone has had that.
fn change_before(zone: Tz, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
    const DAY_MS: u64 = 86_400_000;
    let before = offset_s(zone, from)?;
    let mut low = from;
    while low < to {
        let high = to.min(low + DAY_MS);
        if offset_s(zone, high)? != before {
            return Some(first_second(zone, before, low, high));
        }
        low = high;
    }
    None
}

/// Halves the span until one second is left: at `high` the offset is no longer `before`.
fn first_second(zone: Tz, before: i32, low: Timestamp, high: Timestamp) -> Timestamp {
    let (mut low, mut high) = (low / 1000, high.div_ceil(1000));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if offset_s(zone, middle * 1000) == Some(before) { low = middle } else { high = middle }
    }
    high * 1000
}

#[cfg(test)]
mod tests;
