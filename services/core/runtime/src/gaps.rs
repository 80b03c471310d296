//! Frames the log misses, pure: which origin must send again, and from where.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use asterism_proto::Origin;

/// Most gaps kept; one that does not fit is noticed again at its origin's next frame.
const GAPS_MAX: usize = 4_096;

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

    /// Forgets the gaps of origins that are closed: their frames are not taken any more.
    pub fn retain(&mut self, keep: impl Fn(&Origin) -> bool) {
        self.open.retain(|origin, _| keep(origin));
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
        assert!(gaps.missing(origin, [2; 16], 2, 9, now));
        gaps.retain(|_| false);
        assert_eq!((gaps.open().len(), gaps.opened()), (0, 3));
    }
}
