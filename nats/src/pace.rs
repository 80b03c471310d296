//! When an origin's next frame of facts may leave: a pace that adapts to the acknowledgement time.
//!
//! A fixed timer collapses when many origins share one stream; this rule keeps the stream at about a twentieth of what
//! it could take from each origin. What answers someone leaves at once and only reports its time here.

use std::time::Duration;

/// Multiple of the smoothed acknowledgement time between two frames.
const ACK_MULTIPLE: u64 = 20;
/// Shortest gap between two frames.
const GAP_MIN: Duration = Duration::from_millis(50);
/// Longest gap between two frames.
const GAP_MAX: Duration = Duration::from_secs(2);
/// A new acknowledgement time moves the smoothed one by 1/8 of the difference.
const SMOOTHING: u64 = 8;

/// The pace of one origin. Pure: the caller has the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    smoothed_us: u64,
}

impl Pace {
    /// A pace that has seen no acknowledgement: the shortest gap.
    pub const fn new() -> Self {
        Self { smoothed_us: 0 }
    }

    /// A frame was acknowledged after this time. A frame that was not counts with the deadline it was given.
    pub fn acknowledged(&mut self, after: Duration) {
        let sample_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX).min(60_000_000);
        self.smoothed_us = if self.smoothed_us == 0 {
            sample_us
        } else {
            // The ceiling lets the value reach both a higher and a lower constant sample.
            let step = self.smoothed_us.abs_diff(sample_us).div_ceil(SMOOTHING);
            if sample_us > self.smoothed_us { self.smoothed_us + step } else { self.smoothed_us - step }
        };
    }

    /// The smoothed acknowledgement time.
    pub const fn smoothed(&self) -> Duration {
        Duration::from_micros(self.smoothed_us)
    }

    /// The gap between the last frame's departure and the next one's.
    pub fn gap(&self) -> Duration {
        Duration::from_micros(self.smoothed_us.saturating_mul(ACK_MULTIPLE)).clamp(GAP_MIN, GAP_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quick_stream_gets_the_shortest_gap_and_a_slow_one_the_longest() {
        let mut pace = Pace::new();
        assert_eq!(pace.gap(), GAP_MIN);
        pace.acknowledged(Duration::from_micros(217));
        assert_eq!(pace.gap(), GAP_MIN);
        for _ in 0..100 {
            pace.acknowledged(Duration::from_secs(1));
        }
        assert_eq!(pace.gap(), GAP_MAX);
    }

    #[test]
    fn the_gap_is_twenty_times_the_acknowledgement_time() {
        let mut pace = Pace::new();
        for _ in 0..200 {
            pace.acknowledged(Duration::from_millis(10));
        }
        assert_eq!(pace.gap(), Duration::from_millis(200));
    }

    #[test]
    fn one_outlier_moves_the_gap_by_an_eighth_only() {
        let mut pace = Pace::new();
        pace.acknowledged(Duration::from_millis(8));
        pace.acknowledged(Duration::from_millis(16));
        assert_eq!(pace.smoothed(), Duration::from_millis(9));
    }

    proptest! {
        #[test]
        fn the_gap_stays_in_its_limits_and_the_mean_among_its_samples(
            samples in proptest::collection::vec(1u64..120_000_000, 1..200)
        ) {
            let mut pace = Pace::new();
            for sample in &samples {
                pace.acknowledged(Duration::from_micros(*sample));
                prop_assert!((GAP_MIN..=GAP_MAX).contains(&pace.gap()));
            }
            let low = samples.iter().min().copied().unwrap_or(0).min(60_000_000);
            let high = samples.iter().max().copied().unwrap_or(0).min(60_000_000);
            let mean = u64::try_from(pace.smoothed().as_micros()).unwrap_or(u64::MAX);
            prop_assert!((low..=high).contains(&mean));
        }
    }
}
