//! The node's corrected clock: a monotonic one, moved by the offset measured against the fleet's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A measurement with a longer round trip says too little about the offset.
pub const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// After this long without a measurement the offset counts as unknown: clocks drift by some ms an hour.
pub const OFFSET_VALID: Duration = Duration::from_mins(10);

/// The clock. Never runs backwards.
#[derive(Debug)]
pub struct Clock {
    born: Instant,
    born_ms: u64,
    offset_ms: i64,
    measured: Option<Instant>,
    last_ms: u64,
}

/// One question to the fleet's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it was asked.
    pub asked: Instant,
    /// How long the answer took.
    pub round_trip: Duration,
    /// What the answer said, ms.
    pub fleet_ms: u64,
}

impl Clock {
    /// Starts from the machine's own clock, with an unknown offset.
    pub fn new(now: Instant) -> Self {
        let born_ms = system_ms();
        Self { born: now, born_ms, offset_ms: 0, measured: None, last_ms: 0 }
    }

    /// The corrected time, ms.
    pub fn now_ms(&mut self, now: Instant) -> u64 {
        let corrected = self.raw_ms(now).saturating_add_signed(self.offset_ms);
        self.last_ms = self.last_ms.max(corrected);
        self.last_ms
    }

    fn raw_ms(&self, at: Instant) -> u64 {
        self.born_ms + at.saturating_duration_since(self.born).as_millis() as u64
    }

    /// Takes the best of several samples; whether it was good enough.
    pub fn correct(&mut self, samples: &[Sample], now: Instant) -> bool {
        let best = samples.iter().min_by_key(|sample| sample.round_trip);
        let Some(best) = best.filter(|sample| sample.round_trip <= ROUND_TRIP_MAX) else { return false };
        let here = self.raw_ms(best.asked + best.round_trip / 2);
        self.offset_ms = i64::try_from(best.fleet_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(here);
        self.measured = Some(now);
        true
    }

    /// Whether the offset was measured, and not too long ago.
    pub fn is_known(&self, now: Instant) -> bool {
        self.measured.is_some_and(|at| now.saturating_duration_since(at) < OFFSET_VALID)
    }

    /// How far the machine's own clock is behind the corrected one, ms.
    pub fn offset_ms(&mut self, now: Instant) -> i64 {
        let own = system_ms();
        i64::try_from(self.now_ms(now)).unwrap_or(i64::MAX).saturating_sub_unsigned(own)
    }
}

fn system_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_with_the_shortest_round_trip_wins_and_time_never_runs_back() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let before = clock.now_ms(start);
        assert!(!clock.is_known(start));
        let sample = |round_trip_ms, ahead_ms: u64| Sample {
            asked: start,
            round_trip: Duration::from_millis(round_trip_ms),
            fleet_ms: clock.born_ms + ahead_ms,
        };
        let slow = [sample(800, 1)];
        let good = [sample(400, 9_000), sample(20, 5_010)];
        let back = [sample(2, 0)];
        assert!(!clock.correct(&slow, start), "too slow to say anything");
        assert!(clock.correct(&good, start));
        assert_eq!(clock.now_ms(start), before + 5_000);
        assert!(clock.is_known(start) && !clock.is_known(start + OFFSET_VALID));
        assert!(clock.correct(&back, start));
        assert_eq!(clock.now_ms(start), before + 5_000, "it waits instead");
        assert_eq!(clock.now_ms(start + Duration::from_secs(6)), before + 5_999);
    }
}
