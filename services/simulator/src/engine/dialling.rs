//! Outbound calls of the engine: lists, what may start of them, and what follows a call.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::Engine;

pub(super) struct List<'a> {
    pub open_ms: i64,
    pub deadline_ms: i64,
    pub rows: VecDeque<usize>,
    pub later: u32,
    pub up: u32,
    pub hours: &'a [(i64, i64)],
    /// Whose caps it is under.
    pub caps: Option<usize>,
}

/// What of its caps several lists have used together.
#[derive(Clone, Copy, Default)]
pub(super) struct Used {
    pub up: u32,
    /// The calendar second that counts dials, and its dials.
    pub dials: (i64, u32),
}

impl Engine<'_> {
    /// Outbound calls: the earliest deadline first, to the newest node with a free slot.
    pub(super) fn dial(&mut self, at_ms: i64) {
        if !self.trunk_up || at_ms < 0 {
            return;
        }
        let second = at_ms.div_euclid(1_000);
        if self.dials.0 != second {
            self.dials = (second, 0);
        }
        while self.dials.1 < self.workload.fleet.dials_per_s && self.outbound_up < self.outbound_slots {
            let due = |list: &List<'_>| {
                let within = |(from, to): &(i64, i64)| (*from..*to).contains(&at_ms);
                let open = list.hours.is_empty() || list.hours.iter().any(within);
                list.open_ms <= at_ms && !list.rows.is_empty() && open && self.is_free(list.caps, second)
            };
            let Some(list) = self.lists.iter().position(due) else { return };
            let Some(index) = self.alive.iter().rev().copied().find(|index| self.has_room(*index)) else {
                return;
            };
            let Some(row) = self.lists[list].rows.pop_front() else { return };
            self.lists[list].up += 1;
            if let Some(used) = self.lists[list].caps.and_then(|caps| self.used.get_mut(caps)) {
                used.up += 1;
                used.dials = (second, if used.dials.0 == second { used.dials.1 + 1 } else { 1 });
            }
            self.outbound_up += 1;
            self.dials.1 += 1;
            self.start(row, index, at_ms);
        }
    }

    /// Whether caps leave room for one more call in this second.
    fn is_free(&self, caps: Option<usize>, second: i64) -> bool {
        let Some((caps, used)) = caps.and_then(|at| Some((self.workload.caps.get(at)?, self.used.get(at)?)))
        else {
            return true;
        };
        let dials = if used.dials.0 == second { used.dials.1 } else { 0 };
        let within = |count: u32, cap: u32| cap == 0 || count < cap;
        within(used.up, caps.channels) && within(dials, caps.dials_per_s)
    }

    /// The call after this one waits from here on.
    pub(super) fn follow(&mut self, row: usize, at_ms: i64) {
        let Some((next, after_ms)) = self.workload.again.get(&row).copied() else { return };
        let list = self.list_of[next];
        if list < self.lists.len() {
            self.waiting.push(Reverse((at_ms.saturating_add(after_ms), list, next)));
        }
    }

    /// Calls whose time has come join their lists.
    pub(super) fn release(&mut self, at_ms: i64) {
        while let Some(Reverse((due, list, row))) = self.waiting.peek().copied() {
            if due > at_ms {
                return;
            }
            self.waiting.pop();
            self.lists[list].later -= 1;
            self.lists[list].rows.push_back(row);
        }
    }
}
