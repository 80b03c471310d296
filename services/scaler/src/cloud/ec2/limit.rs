//! One token bucket for every call that changes something: EC2's own bucket refills at 2 a second, and a client that
//! runs into it is punished for longer than one that waits.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Calls that may go out at once.
const BURST: u64 = 5;
/// Time until one more call may go out, in milliseconds.
const REFILL_MS: u64 = 500;
/// Longest wait for a turn, in milliseconds; who would wait longer is refused at once.
const MAX_WAIT_MS: u64 = 30_000;

/// A bucket of [`BURST`] calls that refills one every [`REFILL_MS`].
#[derive(Debug)]
pub(super) struct Limiter {
    start: Instant,
    /// When the bucket is full again, in milliseconds after `start`. Each call moves it by one refill.
    full_at_ms: Mutex<u64>,
}

impl Limiter {
    pub fn new() -> Self {
        Self { start: Instant::now(), full_at_ms: Mutex::new(0) }
    }

    /// Waits for a turn. `false` when the queue is too long; then no turn was used.
    pub async fn turn(&self) -> bool {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let wait_ms = {
            let mut full_at_ms = self.full_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((next, wait_ms)) = reserve(*full_at_ms, now_ms) else { return false };
            *full_at_ms = next;
            wait_ms
        };
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        true
    }
}

/// The new time of a full bucket and the wait for this turn; `None` when the wait is too long.
fn reserve(full_at_ms: u64, now_ms: u64) -> Option<(u64, u64)> {
    let next = full_at_ms.max(now_ms) + REFILL_MS;
    let wait_ms = next.saturating_sub(now_ms + BURST * REFILL_MS);
    (wait_ms <= MAX_WAIT_MS).then_some((next, wait_ms))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_two_a_second() {
        let limiter = Limiter::new();
        let start = Instant::now();
        for _ in 0..5 {
            assert!(limiter.turn().await);
        }
        assert_eq!(start.elapsed().as_millis(), 0);
        for _ in 0..10 {
            assert!(limiter.turn().await);
        }
        assert_eq!(start.elapsed().as_millis() / 100, 50);
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_burst_plus_refill(gaps in proptest::collection::vec(0u64..2_000, 1..200)) {
            let (mut full, mut now, mut sent) = (0, 0, Vec::new());
            for gap in gaps {
                now += gap;
                if let Some((next, wait)) = reserve(full, now) {
                    full = next;
                    sent.push(now + wait);
                }
            }
            for (i, first) in sent.iter().enumerate() {
                for (j, last) in sent.iter().enumerate().skip(i) {
                    let calls = (j - i + 1) as u64;
                    prop_assert!(calls <= BURST + (last - first) / REFILL_MS + 1);
                }
            }
        }
    }
}
