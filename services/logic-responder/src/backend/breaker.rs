//! A circuit breaker: a back end that fails again and again is left alone for a while, then asked once.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
pub const OPENS_AFTER: u32 = 5;
/// First and longest rest.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Of one back end.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// Open until then, and how long it rests.
    rests: Option<(Instant, Duration)>,
    /// One question is out to see whether it is well again.
    probing: bool,
}

impl Breaker {
    /// Whether it may be asked now.
    pub fn admits(&mut self, now: Instant) -> bool {
        match self.rests {
            None => true,
            Some((until, _)) if now < until || self.probing => false,
            Some(_) => {
                self.probing = true;
                true
            }
        }
    }

    /// It answered well.
    pub fn well(&mut self) {
        *self = Self::default();
    }

    /// It did not. `true`: it is open from now on.
    pub fn ill(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let rest = match self.rests {
            Some((_, rest)) if self.probing => (rest * 2).min(REST.1),
            None if self.failures >= OPENS_AFTER => REST.0,
            _ => return false, // too few, or asked before it opened
        };
        self.probing = false;
        self.rests = Some((now + rest, rest));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_rests_longer_each_time_and_closes_when_it_is_well() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..OPENS_AFTER {
            assert!(breaker.admits(start) && !breaker.ill(start));
        }
        assert!(breaker.admits(start) && breaker.ill(start), "the fifth opens it");
        let mut now = start;
        for rest_s in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!breaker.admits(now + Duration::from_millis(rest_s * 1_000 - 1)));
            assert!(!breaker.ill(now), "a late failure changes nothing");
            now += Duration::from_secs(rest_s);
            assert!(breaker.admits(now), "one is let through");
            assert!(!breaker.admits(now), "and only one");
            assert!(breaker.ill(now));
        }
        now += Duration::from_secs(30);
        assert!(breaker.admits(now));
        breaker.well();
        assert!(breaker.admits(now) && breaker.admits(now));
    }

    #[test]
    fn a_failure_between_good_answers_opens_nothing() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            assert!(!breaker.ill(now));
            breaker.well();
        }
    }
}
