//! Frames the log misses: which origin must send again, and from where.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use asterism_event_log::Sequencer;
use asterism_proto::Origin;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Most gaps kept; one that does not fit is noticed again at its origin's next frame.
const GAPS_MAX: usize = 4_096;
/// Pause between two writes of the open gaps.
const KEEP_EVERY: Duration = Duration::from_millis(200);

/// A hole in an origin's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The epoch its numbers count in.
    pub epoch: [u8; 16],
    /// The frame that is missing.
    pub expected: u64,
    /// The highest frame that came and could not be taken: it is needed again too.
    pub seen: u64,
    /// When it was noticed.
    pub since: Instant,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    origin: String,
    epoch: [u8; 16],
    seen: u64,
    open_ms: u64,
}

/// The open gaps of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    open: BTreeMap<Origin, Gap>,
    opened: u64,
}

impl Gaps {
    /// A frame came that is not the next one. `true`: it is a new gap.
    pub fn missing(
        &mut self,
        origin: Origin,
        epoch: [u8; 16],
        expected: u64,
        got: u64,
        now: Instant,
    ) -> bool {
        if let Some(gap) = self.open.get_mut(&origin).filter(|gap| gap.epoch == epoch) {
            (gap.expected, gap.seen) = (expected, gap.seen.max(got));
            return false;
        }
        if self.open.len() >= GAPS_MAX && !self.open.contains_key(&origin) {
            return false;
        }
        self.open.insert(origin, Gap { epoch, expected, seen: got, since: now });
        self.opened += 1;
        true
    }

    /// A frame was accepted. Gives how long the gap was open if that closed it: all that was seen is in the log, or the
    /// origin begins anew.
    pub fn accepted(
        &mut self,
        origin: &Origin,
        epoch: &[u8; 16],
        number: u64,
        now: Instant,
    ) -> Option<Duration> {
        let gap = self.open.get_mut(origin)?;
        gap.expected = number + 1;
        if gap.epoch == *epoch && number < gap.seen {
            return None;
        }
        let open = now.saturating_duration_since(gap.since);
        self.open.remove(origin);
        Some(open)
    }

    /// The log moved on to a number in another way than by the origin's frames: some were given up.
    pub fn given_up(&mut self, origin: &Origin, epoch: &[u8; 16], number: u64, now: Instant) {
        if self.open.get(origin).is_some_and(|gap| gap.epoch != *epoch || gap.expected <= number) {
            self.accepted(origin, epoch, number, now);
        }
    }

    /// As it is kept beside the copy: ages, not moments.
    pub fn to_json(&self, now: Instant) -> Vec<u8> {
        let saved = |(origin, gap): (&Origin, &Gap)| Saved {
            origin: origin.to_string(),
            epoch: gap.epoch,
            seen: gap.seen,
            open_ms: now.saturating_duration_since(gap.since).as_millis() as u64,
        };
        serde_json::to_vec(&self.open.iter().map(saved).collect::<Vec<_>>()).unwrap_or_default()
    }

    /// The gaps of an earlier life that are still open: `expected` gives the next number the log takes of an origin in an
    /// epoch, none if that epoch is over. Bytes that are something else hold none.
    pub fn from_json(
        bytes: &[u8],
        now: Instant,
        expected: impl Fn(&Origin, &[u8; 16]) -> Option<u64>,
    ) -> Self {
        let saved: Vec<Saved> = serde_json::from_slice(bytes).unwrap_or_default();
        let mut open = BTreeMap::new();
        for Saved { origin, epoch, seen, open_ms } in saved.into_iter().take(GAPS_MAX) {
            let Ok(origin) = origin.parse::<Origin>() else { continue };
            let Some(expected) = expected(&origin, &epoch).filter(|expected| *expected <= seen) else {
                continue;
            };
            let since = now.checked_sub(Duration::from_millis(open_ms)).unwrap_or(now);
            open.insert(origin, Gap { epoch, expected, seen, since });
        }
        Self { opened: open.len() as u64, open }
    }

    /// The open gaps.
    pub const fn open(&self) -> &BTreeMap<Origin, Gap> {
        &self.open
    }

    /// How many there ever were.
    pub const fn opened(&self) -> u64 {
        self.opened
    }
}

/// The gaps an earlier life of this process knew of, and the log still has.
pub(crate) fn load(file: &Path, sequencer: &Sequencer) -> Gaps {
    let Ok(bytes) = std::fs::read(file) else { return Gaps::default() };
    let gaps = Gaps::from_json(&bytes, Instant::now(), |origin, epoch| {
        sequencer.next_of(origin).filter(|(current, _)| current == epoch).map(|(_, next)| next)
    });
    if !gaps.open().is_empty() {
        tracing::warn!(open = gaps.open().len(), "frames are missing since before this start");
    }
    gaps
}

/// Keeps the open gaps beside the copy, a moment behind, until the log is gone: the frames that showed them are not read
/// again. What a crash in that moment takes is noticed again at the origin's next frame.
pub(crate) async fn keep(mut gaps: watch::Receiver<Gaps>, file: PathBuf) {
    while gaps.changed().await.is_ok() {
        let bytes = gaps.borrow_and_update().to_json(Instant::now());
        let part = file.with_extension("gaps-part");
        let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, &file));
        if let Err(error) = written {
            tracing::warn!(%error, file = %file.display(), "the open gaps could not be kept");
        }
        tokio::time::sleep(KEEP_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use asterism_proto::Role;

    #[test]
    fn a_gap_is_open_until_all_that_was_seen_behind_it_is_in_the_log() {
        let (origin, now) = (Origin::Role(Role::Dialer), Instant::now());
        let mut gaps = Gaps::default();
        assert!(gaps.missing(origin.clone(), [1; 16], 3, 4, now));
        assert!(!gaps.missing(origin.clone(), [1; 16], 3, 6, now));
        assert_eq!(gaps.accepted(&origin, &[1; 16], 3, now), None);
        assert_eq!(gaps.open()[&origin].expected, 4);
        assert_eq!(gaps.accepted(&origin, &[1; 16], 5, now), None);
        assert_eq!(
            gaps.accepted(&origin, &[1; 16], 6, now + Duration::from_secs(2)),
            Some(Duration::from_secs(2))
        );
        assert_eq!(gaps.accepted(&origin, &[1; 16], 7, now), None);
        assert!(gaps.open().is_empty());
        assert!(gaps.missing(origin.clone(), [1; 16], 8, 9, now));
        assert!(gaps.accepted(&origin, &[2; 16], 1, now).is_some(), "another was elected");
        assert!(gaps.missing(origin.clone(), [2; 16], 2, 9, now));
        gaps.given_up(&origin, &[2; 16], 5, now);
        assert_eq!((gaps.open()[&origin].expected, gaps.open()[&origin].seen), (6, 9));
        gaps.given_up(&origin, &[2; 16], 12, now);
        assert_eq!((gaps.open().len(), gaps.opened()), (0, 3));
    }

    #[test]
    fn the_next_life_knows_the_gaps_that_are_still_open_and_how_old_they_are() {
        let (one, two) = (Origin::Node("one".to_owned()), Origin::Node("two".to_owned()));
        let (mut gaps, start) = (Gaps::default(), Instant::now());
        gaps.missing(one.clone(), [1; 16], 3, 7, start);
        gaps.missing(two.clone(), [2; 16], 1, 2, start);
        let later = start + Duration::from_mins(1);
        let saved = gaps.to_json(later);
        // In between the log took frames 3 and 4 of one, and all of the other's.
        let next = |origin: &Origin, _: &[u8; 16]| Some(if *origin == one { 5 } else { 3 });
        let again = Gaps::from_json(&saved, later, next);
        let gap = again.open()[&one];
        assert_eq!((gap.epoch, gap.expected, gap.seen), ([1; 16], 5, 7));
        assert_eq!((later - gap.since, again.open().len()), (Duration::from_mins(1), 1));
        assert_eq!(Gaps::from_json(&saved, later, |_, _| None), Gaps::default(), "another epoch");
        for length in 0..saved.len() {
            let cut = Gaps::from_json(&saved[..length], later, next);
            assert!(cut.open().is_empty(), "cut at {length}");
        }
    }
}
