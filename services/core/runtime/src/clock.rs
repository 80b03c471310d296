//! The fleet's time: the stream's, carried on between its frames by this machine's monotonic clock.
//!
//! A wall clock may jump by hours, and then be put back: a leader that decided by its own would open calling windows that
//! are closed and give out orders that no node takes. Every leader reads the stream, whose times are in the log, so that
//! is the one clock; nodes are told it by the scaler.
//!
//! A frame arrives after it was stored, so each says that the time is *at least* its own: of the newest ones the one that
//! says most is believed. Those that come late (a process that stood still) say less and change nothing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::leader::now_ms;

/// After this long the best of the frames before is kept beside a new one, and what was kept is forgotten: monotonic
/// clocks differ by some ms in it, and a stream whose clock was put back is followed.
const KEPT: Duration = Duration::from_mins(5);

/// The clock of a copy of the log.
#[derive(Debug)]
pub(crate) struct StreamClock {
    born: Instant,
    seen: Mutex<Option<Seen>>,
}

/// How far the stream's time is ahead of the time since `born`, ms.
#[derive(Clone, Copy, Debug)]
struct Seen {
    now: i64,
    before: i64,
    since: Instant,
}

impl StreamClock {
    pub(crate) fn new(born: Instant) -> Self {
        Self { born, seen: Mutex::new(None) }
    }

    /// A frame stored at this time arrived. Only of frames read at the stream's end: those before were stored long ago.
    pub(crate) fn arrived(&self, record_time_ms: u64, at: Instant) {
        let ahead = i64::try_from(record_time_ms).unwrap_or(i64::MAX).saturating_sub(self.since_ms(at));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match *seen {
            None => Seen { now: ahead, before: ahead, since: at },
            Some(seen) if at.saturating_duration_since(seen.since) > KEPT => {
                Seen { now: ahead, before: seen.now, since: at }
            }
            Some(seen) => Seen { now: seen.now.max(ahead), ..seen },
        };
        *seen = Some(next);
    }

    /// The fleet's time, ms since 1970; this machine's own while no frame has arrived.
    pub(crate) fn now_ms(&self, at: Instant) -> u64 {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen else { return now_ms() };
        let time = seen.now.max(seen.before).saturating_add(self.since_ms(at));
        u64::try_from(time).unwrap_or_default()
    }

    fn since_ms(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn time_is_the_streams_and_goes_on_between_frames() {
        let born = Instant::now();
        let clock = StreamClock::new(born);
        assert!(clock.now_ms(born).abs_diff(now_ms()) < 60_000, "nothing is known but this machine's own");
        clock.arrived(50 * HOUR_MS, born + SECOND);
        assert_eq!(clock.now_ms(born + SECOND), 50 * HOUR_MS);
        assert_eq!(clock.now_ms(born + 31 * SECOND), 50 * HOUR_MS + 30_000);
        // One that took its time says less; one that came fast says more.
        clock.arrived(50 * HOUR_MS + 4_000, born + 6 * SECOND);
        assert_eq!(clock.now_ms(born + 6 * SECOND), 50 * HOUR_MS + 5_000);
        clock.arrived(50 * HOUR_MS + 6_020, born + 7 * SECOND);
        assert_eq!(clock.now_ms(born + 7 * SECOND), 50 * HOUR_MS + 6_020);
    }

    #[test]
    fn a_process_that_stood_still_keeps_its_time_and_a_stream_put_back_is_followed() {
        let born = Instant::now();
        let clock = StreamClock::new(born);
        clock.arrived(50 * HOUR_MS, born);
        // It wakes an hour later and reads what was stored meanwhile.
        let woken = born + 3_600 * SECOND;
        for minute in 0..60 {
            clock.arrived(50 * HOUR_MS + minute * 60_000, woken);
        }
        assert_eq!(clock.now_ms(woken), 51 * HOUR_MS);
        // The stream's clock is put back by half an hour, for longer than is kept.
        for minute in 1..=15 {
            let at = woken + u32::try_from(minute).unwrap_or(0) * 60 * SECOND;
            clock.arrived(50 * HOUR_MS + 30 * 60_000 + minute * 60_000, at);
        }
        assert_eq!(clock.now_ms(woken + 900 * SECOND), 50 * HOUR_MS + 45 * 60_000);
        // And forward, at once.
        clock.arrived(60 * HOUR_MS, woken + 901 * SECOND);
        assert_eq!(clock.now_ms(woken + 902 * SECOND), 60 * HOUR_MS + 1_000);
    }
}
