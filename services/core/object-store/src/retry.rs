//! Bounded repeats with full jitter, so that many nodes that failed together do not come back together.

use std::future::Future;
use std::time::Duration;

use crate::Error;

/// Most attempts of one call.
pub(crate) const MAX_ATTEMPTS: u32 = 5;
/// Longest pause after the first failure; it doubles each time.
const FIRST_PAUSE_MS: u64 = 100;
/// Longest pause of all.
const MAX_PAUSE_MS: u64 = 2_000;

/// How one attempt ended.
pub(crate) enum Attempt<T> {
    /// For good, well or badly.
    Done(Result<T, Error>),
    /// It may be repeated; the text says why it failed.
    Again(String),
}

/// The attempts of one call.
pub(crate) struct Retry {
    what: String,
    failed: u32,
}

impl Retry {
    pub fn new(what: String) -> Self {
        Self { what, failed: 0 }
    }

    /// Repeats until it is done or the attempts are used up.
    pub async fn run<T, F: Future<Output = Attempt<T>>>(
        mut self,
        mut once: impl FnMut() -> F,
    ) -> Result<T, Error> {
        loop {
            match once().await {
                Attempt::Done(result) => return result,
                Attempt::Again(why) => self.pause(why).await?,
            }
        }
    }

    /// Counts a failure and waits, or gives up.
    pub async fn pause(&mut self, why: String) -> Result<(), Error> {
        self.failed += 1;
        if self.failed >= MAX_ATTEMPTS {
            return Err(Error::Unavailable { what: self.what.clone(), attempts: self.failed, why });
        }
        let pause_ms = pause_ms(self.failed, random_u64());
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        Ok(())
    }
}

/// Anything from nothing to the longest pause this failure allows.
fn pause_ms(failed: u32, random: u64) -> u64 {
    let longest = MAX_PAUSE_MS.min(FIRST_PAUSE_MS << failed.saturating_sub(1).min(10));
    random % (longest + 1)
}

/// 128 random bits as hex.
pub(crate) fn random_mark() -> String {
    format!("{:016x}{:016x}", random_u64(), random_u64())
}

/// Without a source of randomness the clock must do: it only spreads pauses and marks writes.
fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        now.as_nanos() as u64
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_the_last_attempt_and_says_why() {
        let tried = Cell::new(0);
        let once = || async {
            tried.set(tried.get() + 1);
            Attempt::<()>::Again(format!("failure {}", tried.get()))
        };
        let error = Retry::new("bucket b".into()).run(once).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!((error.code(), tried.get()), ("AST-B009", MAX_ATTEMPTS));
        assert!(error.to_string().contains("failure 5"), "{error}");
    }

    proptest! {
        #[test]
        fn pauses_stay_below_their_limits(failed in 1u32..100, random: u64) {
            let pause = pause_ms(failed, random);
            prop_assert!(pause <= MAX_PAUSE_MS);
            prop_assert!(failed > 1 || pause <= FIRST_PAUSE_MS);
        }
    }
}
