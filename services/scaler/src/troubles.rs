//! What the cloud refuses now, for the screens: the last failure of each kind of call, until one of that kind succeeds.
//!
//! It is this process's own memory: a failure that the log must know is an outcome in it, and this only says why nothing
//! comes of what is owed, and what to do about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

use crate::cloud::CloudError;

/// What was asked of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    /// Launching.
    Launch,
    /// Listing.
    List,
    /// Ending.
    End,
    /// Giving and taking public addresses.
    Address,
}

/// Calls of a kind that fail, as `fleet.list` tells it.
#[derive(Clone, Debug, Serialize)]
pub struct TroubleLine {
    /// `launching`, `listing`, `ending` or `giving addresses`.
    pub call: &'static str,
    /// The code of the last failure.
    pub code: &'static str,
    /// What failed last, and why.
    pub why: String,
    /// What to do; empty where nothing is to be done.
    pub next: &'static str,
    /// Failures in a row.
    pub times: u32,
    /// Seconds since the first of them.
    pub for_s: u64,
}

#[derive(Clone, Debug)]
struct Trouble {
    error: CloudError,
    times: u32,
    since: Instant,
}

/// The failures. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles(Arc<Mutex<BTreeMap<Call, Trouble>>>);

impl Troubles {
    /// A call failed.
    pub fn note(&self, call: Call, error: &CloudError) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&call);
        let (times, since) = before.map_or((0, Instant::now()), |before| (before.times, before.since));
        all.insert(call, Trouble { error: error.clone(), times: times.saturating_add(1), since });
    }

    /// A call succeeded.
    pub fn clear(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
    }

    /// What fails now.
    pub fn lines(&self) -> Vec<TroubleLine> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(call, trouble): (&Call, &Trouble)| TroubleLine {
            call: match call {
                Call::Launch => "launching",
                Call::List => "listing",
                Call::End => "ending",
                Call::Address => "giving addresses",
            },
            code: trouble.error.code,
            why: format!("{}: {}", trouble.error.what, trouble.error.why),
            next: trouble.error.next,
            times: trouble.times,
            for_s: trouble.since.elapsed().as_secs(),
        };
        all.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cloud::{ErrorKind, code};

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_told_until_it_succeeds() {
        let troubles = Troubles::default();
        let quota =
            CloudError::new(ErrorKind::Capacity, code::QUOTA, "launching intent a", "no more").next("ask");
        troubles.note(Call::Launch, &quota);
        tokio::time::advance(Duration::from_secs(90)).await;
        troubles.note(Call::Launch, &quota);
        troubles.clear(Call::List);
        let lines = troubles.lines();
        let told: Vec<_> = lines.iter().map(|l| (l.call, l.code, l.times, l.for_s, l.next)).collect();
        assert_eq!(told, [("launching", code::QUOTA, 2, 90, "ask")]);
        troubles.clear(Call::Launch);
        assert!(troubles.lines().is_empty());
    }
}
