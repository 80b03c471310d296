//! Who waits to be dialled, so that whom to dial now is found without looking at everybody.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use serde::{Deserialize, Serialize};

use crate::ids::{ContactId, Timestamp};

/// Number of a zone within the campaign: 0 = nobody knows, 1 = the first one its imports named.
pub type ZoneIndex = u16;

/// Where and since when a contact waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its zone.
    pub zone: ZoneIndex,
    /// Not before; 0 = at once.
    pub due_ms: Timestamp,
}

/// The waiting contacts of a campaign, by zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    zones: BTreeMap<ZoneIndex, Zone>,
    len: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Zone {
    now: BTreeSet<ContactId>,
    later: BTreeSet<(Timestamp, ContactId)>,
}

impl Zone {
    fn due(&self, at: Timestamp) -> impl Iterator<Item = ContactId> {
        self.later.range(..=(at, ContactId::MAX)).map(|(_, contact)| *contact)
    }
}

impl Waiting {
    /// Lets a contact wait; it waits nowhere else.
    pub fn insert(&mut self, contact: ContactId, place: Place) {
        let zone = self.zones.entry(place.zone).or_default();
        let new = match place.due_ms {
            0 => zone.now.insert(contact),
            due => zone.later.insert((due, contact)),
        };
        self.len += u32::from(new);
    }

    /// Takes a contact out.
    pub fn remove(&mut self, contact: ContactId, place: Place) {
        let Some(zone) = self.zones.get_mut(&place.zone) else { return };
        let was = match place.due_ms {
            0 => zone.now.remove(&contact),
            due => zone.later.remove(&(due, contact)),
        };
        self.len -= u32::from(was);
        if zone.now.is_empty() && zone.later.is_empty() {
            self.zones.remove(&place.zone);
        }
    }

    /// Whether the contact waits there.
    pub fn contains(&self, contact: ContactId, place: Place) -> bool {
        self.zones.get(&place.zone).is_some_and(|zone| match place.due_ms {
            0 => zone.now.contains(&contact),
            due => zone.later.contains(&(due, contact)),
        })
    }

    /// How many wait.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Everybody who waits, zone by zone.
    pub fn all(&self) -> impl Iterator<Item = ContactId> {
        self.zones
            .values()
            .flat_map(|zone| zone.now.iter().copied().chain(zone.later.iter().map(|(_, contact)| *contact)))
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The zones somebody waits in.
    pub fn zones(&self) -> impl Iterator<Item = ZoneIndex> {
        self.zones.keys().copied()
    }

    /// How many of a zone wait, now or later.
    pub fn len_in(&self, zone: ZoneIndex) -> u32 {
        self.zones.get(&zone).map_or(0, |zone| (zone.now.len() + zone.later.len()) as u32)
    }

    /// How many of a zone may be dialled at `at`, for all their own delays say.
    pub fn due_in(&self, zone: ZoneIndex, at: Timestamp) -> u32 {
        self.zones.get(&zone).map_or(0, |zone| (zone.now.len() + zone.due(at).count()) as u32)
    }

    /// When the next delay of a zone is over, if nobody of it can be dialled before.
    pub fn next_due(&self, zone: ZoneIndex) -> Option<Timestamp> {
        let zone = self.zones.get(&zone)?;
        if zone.now.is_empty() { zone.later.first().map(|(due, _)| *due) } else { Some(0) }
    }

    /// Whom to dial at `at` in these zones: those whose delay is over first, then by number.
    pub fn candidates<'a>(&'a self, open: &[ZoneIndex], at: Timestamp) -> Candidates<'a> {
        let open: Vec<&Zone> = open.iter().filter_map(|zone| self.zones.get(zone)).collect();
        let delayed: Vec<_> = open.iter().map(|zone| zone.later.range(..=(at, ContactId::MAX))).collect();
        Candidates {
            delayed: delayed.into_iter().map(Iterator::peekable).collect(),
            now: open.iter().map(|zone| zone.now.iter().peekable()).collect(),
        }
    }
}

type Delayed<'a> = std::collections::btree_set::Range<'a, (Timestamp, ContactId)>;
type Now<'a> = std::collections::btree_set::Iter<'a, ContactId>;

/// Contacts in the order they are dialled in.
#[derive(Debug)]
pub struct Candidates<'a> {
    delayed: Vec<Peekable<Delayed<'a>>>,
    now: Vec<Peekable<Now<'a>>>,
}

impl Iterator for Candidates<'_> {
    type Item = ContactId;

    fn next(&mut self) -> Option<ContactId> {
        if let Some((_, contact)) = least(&mut self.delayed) {
            return Some(*contact);
        }
        least(&mut self.now).copied()
    }
}

/// The least of what comes next in any of them.
fn least<T: Ord + Copy, I: Iterator<Item = T>>(queues: &mut [Peekable<I>]) -> Option<T> {
    let heads = queues.iter_mut().enumerate().filter_map(|(index, queue)| Some((*queue.peek()?, index)));
    let (_, index) = heads.min()?;
    queues.get_mut(index)?.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(zone: ZoneIndex, due_ms: Timestamp) -> Place {
        Place { zone, due_ms }
    }

    fn filled() -> Waiting {
        let mut waiting = Waiting::default();
        for (contact, zone, due) in [(5, 1, 0), (2, 2, 0), (9, 1, 700), (4, 2, 300), (7, 1, 0), (8, 3, 0)] {
            waiting.insert(contact, place(zone, due));
        }
        waiting
    }

    #[test]
    fn those_whose_delay_is_over_come_first_then_by_number_over_all_open_zones() {
        let waiting = filled();
        let dialled = |open: &[ZoneIndex], at| waiting.candidates(open, at).collect::<Vec<_>>();
        assert_eq!(dialled(&[1, 2], 299), [2, 5, 7]);
        assert_eq!(dialled(&[1, 2], 700), [4, 9, 2, 5, 7]);
        assert_eq!(dialled(&[3, 4], 700), [8]);
        assert_eq!((waiting.due_in(1, 699), waiting.due_in(1, 700)), (2, 3));
        assert_eq!((waiting.next_due(1), waiting.next_due(9)), (Some(0), None));
    }

    #[test]
    fn a_contact_waits_in_one_place_and_is_counted_once() {
        let mut waiting = filled();
        assert_eq!(waiting.len(), 6);
        waiting.insert(5, place(1, 0));
        assert_eq!(waiting.len(), 6);
        waiting.remove(9, place(1, 0));
        assert!(waiting.contains(9, place(1, 700)), "it waits elsewhere");
        for (contact, zone, due) in [(5, 1, 0), (2, 2, 0), (9, 1, 700), (4, 2, 300), (7, 1, 0), (8, 3, 0)] {
            waiting.remove(contact, place(zone, due));
            assert!(!waiting.contains(contact, place(zone, due)));
        }
        assert_eq!(waiting, Waiting::default());
    }
}
