//! What the fleet has cost, counted along the log: known at every position without a walk over its nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::prices::{Billing, HOUR_MS, NodePrice};
use crate::ids::Timestamp;

/// A meter. It counts in micro-dollars times the milliseconds of an hour, so that nothing is rounded on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    /// Some price was known once: from there on everything has one.
    priced: bool,
    /// Counted up to here.
    read_at: Timestamp,
    spent: u128,
    /// Of the nodes billed as time passes, micro-dollars an hour.
    by_time: u128,
    /// Of those billed by the hour: when their next hours begin, and what those cost, micro-dollars.
    hours: BTreeMap<Timestamp, u128>,
}

impl Meter {
    /// What was spent up to a time, micro-dollars; `None` while no price is known.
    pub fn spent_micro_usd(&self, at: Timestamp) -> Option<u64> {
        let spent = self.read(at) / u128::from(HOUR_MS);
        self.priced.then(|| u64::try_from(spent).unwrap_or(u64::MAX))
    }

    /// What the nodes cost now, micro-dollars an hour.
    pub fn micro_usd_per_hour(&self) -> u64 {
        let rate = self.hours.values().fold(self.by_time, |sum, price| sum.saturating_add(*price));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Whether a price is known.
    pub(super) fn is_priced(&self) -> bool {
        self.priced
    }

    /// From here on prices are known; what was spent before had this one.
    pub(super) fn begin(&mut self, before_ms: u64, price: NodePrice) {
        self.priced = true;
        self.spent = u128::from(before_ms).saturating_mul(u128::from(price.micro_usd_per_hour));
    }

    fn read(&self, at: Timestamp) -> u128 {
        let passed = u128::from(at.saturating_sub(self.read_at));
        let begun = self.hours.range(..=at).map(|(next, price)| {
            let hours = u128::from((at - next) / HOUR_MS + 1);
            price.saturating_mul(hours).saturating_mul(u128::from(HOUR_MS))
        });
        let timed = self.by_time.saturating_mul(passed);
        begun.fold(self.spent.saturating_add(timed), u128::saturating_add)
    }

    /// Counts up to a time.
    fn count(&mut self, at: Timestamp) {
        self.spent = self.read(at);
        self.read_at = self.read_at.max(at);
        while let Some(entry) = self.hours.first_entry().filter(|entry| *entry.key() <= at) {
            let (begun, price) = entry.remove_entry();
            let next = self.hours.entry(next_hour(begun, at)).or_default();
            *next = next.saturating_add(price);
        }
    }

    /// A node bills from here on.
    pub(super) fn start(&mut self, price: NodePrice, at: Timestamp) {
        if price.billing == Billing::Hour {
            let hour = u128::from(price.micro_usd_per_hour).saturating_mul(u128::from(HOUR_MS));
            self.spent = self.spent.saturating_add(hour);
        }
        self.go_on(price, at, at);
    }

    /// A node that was launched before bills at a price from here on; the hour it is in is paid.
    pub(super) fn go_on(&mut self, price: NodePrice, launched_at: Timestamp, at: Timestamp) {
        self.count(at);
        let rate = u128::from(price.micro_usd_per_hour);
        let sum = match price.billing {
            Billing::Second => &mut self.by_time,
            Billing::Hour => self.hours.entry(price.paid_until(launched_at, at)).or_default(),
        };
        *sum = sum.saturating_add(rate);
    }

    /// A node has ended.
    pub(super) fn stop(&mut self, price: NodePrice, launched_at: Timestamp, at: Timestamp) {
        self.leave(price, launched_at, at);
        self.spent = self.spent.saturating_add(price.missing(at.saturating_sub(launched_at)));
    }

    /// A node bills no more at this price.
    pub(super) fn leave(&mut self, price: NodePrice, launched_at: Timestamp, at: Timestamp) {
        self.count(at);
        let rate = u128::from(price.micro_usd_per_hour);
        match price.billing {
            Billing::Second => self.by_time = self.by_time.saturating_sub(rate),
            Billing::Hour => {
                let next = price.paid_until(launched_at, at);
                let left = self.hours.get(&next).map_or(0, |sum| sum.saturating_sub(rate));
                self.hours.insert(next, left);
                self.hours.retain(|_, sum| *sum > 0);
            }
        }
    }
}

/// When the next hour after a time begins.
fn next_hour(launched_at: Timestamp, at: Timestamp) -> Timestamp {
    let begun = at.saturating_sub(launched_at) / HOUR_MS + 1;
    launched_at.saturating_add(begun.saturating_mul(HOUR_MS))
}
