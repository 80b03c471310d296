//! One limiter for every call: inside EC2's published buckets (developer guide, "request throttling"), with a margin for
//! the way there, and silent for a while when EC2 says that it was too much. A client that runs into a bucket is
//! punished for longer than one that waits.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use asterism_runtime::keys::random;
use tokio::time::Instant;

use crate::cloud::{CloudError, ErrorKind, code};

/// Longest wait for a turn, in milliseconds; who would wait longer is refused at once.
const MAX_WAIT_MS: u64 = 30_000;
/// First silence after a refusal; it doubles with each further one.
const SILENCE_FIRST_MS: u64 = 1_000;
/// Longest silence.
const SILENCE_MAX_MS: u64 = 60_000;

/// What a call does: each kind has buckets of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Launches.
    Run,
    /// Ends.
    End,
    /// Lists, filtered and in pages.
    List,
    /// Other changes: addresses.
    Change,
}

/// Size of a bucket and the time until one more token is in it, ms.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u64,
    refill_ms: u64,
}

impl Kind {
    /// EC2 has 5 and 2 a second, 100 and 5 a second, 100 and 20 a second, and for what it does not name 50 and 5 a second.
    fn requests(self) -> Rate {
        match self {
            Self::Run => Rate { burst: 4, refill_ms: 550 },
            Self::End => Rate { burst: 80, refill_ms: 220 },
            Self::Change => Rate { burst: 40, refill_ms: 220 },
            Self::List => Rate { burst: 80, refill_ms: 55 },
        }
    }

    /// EC2 has 1,000 and 2 a second, 1,000 and 20 a second.
    fn instances(self) -> Rate {
        match self {
            Self::Run => Rate { burst: 950, refill_ms: 550 },
            Self::End | Self::List | Self::Change => Rate { burst: 950, refill_ms: 55 },
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// When each bucket is full again, in milliseconds after the start. Each token moves it by one refill.
    requests_full_ms: u64,
    instances_full_ms: u64,
    /// Refusals in a row, and until when nothing is sent.
    refusals: u32,
    silent_until_ms: u64,
}

/// The buckets of all kinds.
#[derive(Debug)]
pub(super) struct Limiter {
    start: Instant,
    kinds: [Mutex<State>; 4],
}

impl Limiter {
    pub fn new() -> Self {
        Self { start: Instant::now(), kinds: Default::default() }
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn with<R>(&self, kind: Kind, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.kinds[kind as usize].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a turn to send one request about so many instances. An error when the wait is too long; then no turn
    /// was used.
    pub async fn turn(&self, kind: Kind, instances: u32, what: &str) -> Result<(), CloudError> {
        let now_ms = self.now_ms();
        let reserved = self.with(kind, |state| state.reserve(kind, instances.into(), now_ms));
        match reserved {
            Ok(wait_ms) => {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                Ok(())
            }
            Err(ms) => {
                let why = format!("not sent: ec2 would refuse it as too much; {ms} ms to wait");
                Err(CloudError::new(ErrorKind::Transient, code::THROTTLED, what, why))
            }
        }
    }

    /// EC2 said that it was too much: nothing of this kind is sent for a while, a random one, so that many clients that
    /// were refused together do not come back together.
    pub fn was_refused(&self, kind: Kind) {
        let (now_ms, [jitter]) = (self.now_ms(), random::<1>().unwrap_or([255]));
        self.with(kind, |state| {
            let full = (SILENCE_FIRST_MS << state.refusals.min(10)).min(SILENCE_MAX_MS);
            state.refusals = state.refusals.saturating_add(1);
            state.silent_until_ms = now_ms + full / 2 + full / 2 * u64::from(jitter) / 255;
        });
    }

    /// EC2 took it.
    pub fn went_well(&self, kind: Kind) {
        self.with(kind, |state| state.refusals = 0);
    }
}

impl State {
    /// Takes the tokens and says for how long to wait; without them, for how long there is none.
    fn reserve(&mut self, kind: Kind, instances: u64, now_ms: u64) -> Result<u64, u64> {
        if self.silent_until_ms > now_ms {
            return Err(self.silent_until_ms - now_ms);
        }
        let (requests, request_wait) = reserve(kind.requests(), self.requests_full_ms, 1, now_ms);
        let (bodies, instance_wait) = reserve(kind.instances(), self.instances_full_ms, instances, now_ms);
        let wait = request_wait.max(instance_wait);
        if wait > MAX_WAIT_MS {
            return Err(wait);
        }
        (self.requests_full_ms, self.instances_full_ms) = (requests, bodies);
        Ok(wait)
    }
}

/// The new time of a full bucket, and the wait for these tokens.
fn reserve(rate: Rate, full_at_ms: u64, tokens: u64, now_ms: u64) -> (u64, u64) {
    let next = full_at_ms.max(now_ms) + tokens * rate.refill_ms;
    (next, next.saturating_sub(now_ms + rate.burst * rate.refill_ms))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_what_the_bucket_gains() {
        let limiter = Limiter::new();
        let start = Instant::now();
        for _ in 0..4 {
            limiter.turn(Kind::Run, 1, "x").await.unwrap();
        }
        assert_eq!(start.elapsed().as_millis(), 0);
        for _ in 0..10 {
            limiter.turn(Kind::Run, 1, "x").await.unwrap();
        }
        assert_eq!(start.elapsed().as_millis() / 100, 55);
        limiter.turn(Kind::List, 0, "x").await.unwrap();
        assert_eq!(start.elapsed().as_millis() / 100, 55, "another kind has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_followed_by_a_silence_that_grows() {
        let limiter = Limiter::new();
        let mut sent = 0;
        for _ in 0..6_000 {
            // Ten minutes of refusals, tried for every 100 ms.
            if limiter.turn(Kind::Run, 1, "x").await.is_ok() {
                sent += 1;
                limiter.was_refused(Kind::Run);
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!((10..=28).contains(&sent), "{sent} calls in ten minutes");
        tokio::time::advance(Duration::from_mins(1)).await;
        limiter.turn(Kind::Run, 1, "x").await.unwrap();
        limiter.went_well(Kind::Run);
        limiter.turn(Kind::Run, 1, "x").await.unwrap();
        let error = limiter.turn(Kind::Run, 1_050, "x").await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Transient, code::THROTTLED));
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_the_published_buckets(
            gaps in proptest::collection::vec((0u64..2_000, 1u64..40), 1..200),
        ) {
            let (mut state, mut now, mut sent) = (State::default(), 0, Vec::new());
            for (gap, instances) in gaps {
                now += gap;
                if let Ok(wait) = state.reserve(Kind::Run, instances, now) {
                    sent.push((now + wait, instances));
                }
            }
            for (i, (first, _)) in sent.iter().enumerate() {
                let mut instances = 0;
                for (j, (last, more)) in sent.iter().enumerate().skip(i) {
                    instances += more;
                    let window = last - first;
                    prop_assert!((j - i + 1) as u64 <= 5 + window / 500);
                    prop_assert!(instances <= 1_000 + window / 500);
                }
            }
        }
    }
}
