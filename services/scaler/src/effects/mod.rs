//! What the log owes the outside, derived from its state while this process leads: launches ([`launch`]), public addresses
//! ([`addresses`]), drain orders ([`orders`]), ends ([`end`]), and the instances nobody asked for ([`strays`]).
//!
//! Nothing is remembered but what is under way: a loop looks at the state, begins what is owed and due, and hands the
//! outcome in as a command. Every effect can be repeated.

pub(crate) mod addresses;
pub(crate) mod end;
pub(crate) mod launch;
pub(crate) mod orders;
pub(crate) mod strays;

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use asterism_runtime::keys::random;
use asterism_runtime::log::Head;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often the state is looked at although the log did not move.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How soon it is looked at again after the log moved.
const LOOK_LEAST: Duration = Duration::from_millis(20);
/// First pause after a failure; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// Longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Waits until it is worth looking at the state again.
async fn look(head: &mut watch::Receiver<Head>) {
    tokio::time::sleep(LOOK_LEAST).await;
    let _ = tokio::time::timeout(LOOK_EVERY, head.changed()).await;
}

/// Which effects are under way, and which wait before they are repeated.
#[derive(Debug)]
struct Agenda<K> {
    entries: HashMap<K, Entry>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    running: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl<K: Eq + Hash> Agenda<K> {
    fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    /// Whether the effect is due; if so it counts as under way.
    fn begin(&mut self, key: K) -> bool {
        let entry = self.entries.entry(key).or_default();
        if entry.running || entry.not_before.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        entry.running = true;
        true
    }

    /// It succeeded; it is due again only after a while, should it still be owed then.
    fn succeeded(&mut self, key: K, again_after: Duration) {
        let not_before = Some(Instant::now() + again_after);
        self.entries.insert(key, Entry { running: false, failures: 0, not_before });
    }

    /// It failed; it is due again after a jittered pause that doubles.
    fn failed(&mut self, key: K) {
        let entry = self.entries.entry(key).or_default();
        entry.running = false;
        entry.not_before = Some(Instant::now() + pause(entry.failures));
        entry.failures = entry.failures.saturating_add(1);
    }

    /// A call ended without saying which it was: whatever is under way counts as failed, and is repeated.
    fn lost(&mut self) {
        let running = self.entries.values_mut().filter(|entry| entry.running);
        running.for_each(|entry| {
            entry.running = false;
            entry.not_before = Some(Instant::now() + PAUSE_MAX);
        });
    }

    /// Forgets what is neither owed nor under way.
    fn retain(&mut self, owed: impl Fn(&K) -> bool) {
        self.entries.retain(|key, entry| entry.running || owed(key));
    }
}

/// Half to all of a doubling pause: many scalers that failed together do not come back together.
fn pause(failures: u32) -> Duration {
    let full = PAUSE_FIRST.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
    let [jitter] = random::<1>().unwrap_or([255]);
    full / 2 + full / 2 * u32::from(jitter) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_effect_is_begun_once_and_again_only_when_due() {
        let mut agenda = Agenda::new();
        assert!(agenda.begin("a") && !agenda.begin("a"), "it is under way");
        agenda.retain(|_| false);
        assert!(!agenda.begin("a"), "what is under way is not forgotten");
        agenda.failed("a");
        assert!(!agenda.begin("a"), "it failed a moment ago");
        tokio::time::advance(PAUSE_FIRST).await;
        assert!(agenda.begin("a"));
        agenda.succeeded("a", Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(!agenda.begin("a"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(agenda.begin("a"));
        agenda.failed("a");
        agenda.retain(|_| false);
        assert!(agenda.begin("a"), "forgotten: as new");
    }

    #[test]
    fn pauses_grow_to_their_limit() {
        for failures in [0, 1, 5, 31, u32::MAX] {
            let full = PAUSE_FIRST.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
            let got = pause(failures);
            assert!(got >= full / 2 && got <= full, "{failures}: {got:?}");
        }
        assert!(pause(20) >= PAUSE_MAX / 2);
    }
}
