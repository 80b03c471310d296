//! What instances cost: of a type, in a market, by the second or by the hour.
//!
//! A price book is a dated file with its source ([`book`]). What a fleet uses of it stands in the log (`PricesSet`) and
//! holds from there on; node time before it keeps the price it had. A node whose type is not in it costs as much as the
//! dearest that is: a missing price is never zero.

pub mod book;
mod wire;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::state::Place;

/// What a place's market is called when it is not spot.
pub const ON_DEMAND: &str = "on-demand";
/// What it is called when it is.
pub const SPOT: &str = "spot";
pub use super::staffing::paid::HOUR_MS;

/// What a started unit of time is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Billing {
    /// Time is billed as it passes.
    #[default]
    Second,
    /// Each hour is billed whole when it begins, from the launch on.
    Hour,
}

/// What a node costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodePrice {
    /// Micro-dollars an hour.
    pub micro_usd_per_hour: u64,
    /// How time is counted.
    pub billing: Billing,
    /// Billed for each launch at least; by the hour an hour is.
    pub least_ms: u64,
}

impl NodePrice {
    /// What a node that was launched at a time costs between two later ones: micro-dollars times the milliseconds of an
    /// hour, so that a sum is rounded once ([`micro_usd`]).
    pub fn between(&self, launched_at: u64, from: u64, to: u64) -> u128 {
        let price = u128::from(self.micro_usd_per_hour);
        match self.billing {
            Billing::Second => u128::from(to.saturating_sub(from)) * price,
            Billing::Hour => {
                let begun = |at: u64| at.saturating_sub(launched_at) / HOUR_MS;
                u128::from(begun(to).saturating_sub(begun(from))) * u128::from(HOUR_MS) * price
            }
        }
    }

    /// What a node launched now costs within a time, as [`NodePrice::between`].
    pub fn new_for(&self, ms: u64) -> u128 {
        let hour = u128::from(self.micro_usd_per_hour) * u128::from(HOUR_MS);
        let first = if self.billing == Billing::Hour { hour } else { 0 };
        self.until_end(0, 0, ms).saturating_add(first)
    }

    /// As [`NodePrice::between`], for a node that ends at `to`.
    pub fn until_end(&self, launched_at: u64, from: u64, to: u64) -> u128 {
        let lives = to.saturating_sub(launched_at);
        self.between(launched_at, from, to).saturating_add(self.missing(lives))
    }

    /// What is billed beyond its time for a node that lived for so long, as [`NodePrice::between`].
    pub(super) fn missing(&self, lived_ms: u64) -> u128 {
        let is_timed = self.billing == Billing::Second;
        let ms = if is_timed { self.least_ms.saturating_sub(lived_ms) } else { 0 };
        u128::from(ms).saturating_mul(u128::from(self.micro_usd_per_hour))
    }

    /// Until when a node is paid for whether it runs or not.
    pub fn paid_until(&self, launched_at: u64, at: u64) -> u64 {
        match self.billing {
            Billing::Second => launched_at.saturating_add(self.least_ms).max(at),
            Billing::Hour => {
                let begun = at.saturating_sub(launched_at) / HOUR_MS + 1;
                launched_at.saturating_add(begun.saturating_mul(HOUR_MS))
            }
        }
    }
}

/// Micro-dollars, rounded up.
pub fn micro_usd(cost: u128) -> u64 {
    u64::try_from(cost.div_ceil(u128::from(HOUR_MS))).unwrap_or(u64::MAX)
}

/// The price of a type in a market.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriceLine {
    /// The type.
    pub instance_type: String,
    /// [`ON_DEMAND`] or [`SPOT`].
    pub market: String,
    /// What it costs.
    pub price: NodePrice,
    /// Call slots it was measured to have; 0 = nobody measured.
    pub slots: u32,
}

impl PriceLine {
    /// Micro-dollars an hour for each call slot, rounded up; a type nobody measured has those of the fleet's nodes.
    pub fn per_slot(&self, node_capacity: u32) -> u64 {
        let slots = if self.slots > 0 { self.slots } else { node_capacity };
        self.price.micro_usd_per_hour.div_ceil(u64::from(slots.max(1)))
    }
}

/// The prices of a fleet: those of the types and markets it may launch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prices {
    /// The book's date and file.
    pub book: String,
    /// The region.
    pub region: String,
    /// Where the book has them from.
    pub source: String,
    /// Sorted, a type and market once.
    pub lines: Vec<PriceLine>,
}

impl Prices {
    /// The price of a place, if the book has it. A place without a market is on demand.
    pub fn of(&self, place: &Place) -> Option<&PriceLine> {
        let market = if place.market.is_empty() { ON_DEMAND } else { &place.market };
        self.lines.iter().find(|line| line.instance_type == place.instance_type && line.market == market)
    }

    /// What a node at a place is reckoned with.
    pub fn charged(&self, place: &Place) -> NodePrice {
        self.of(place).map_or_else(|| self.dearest(), |line| line.price)
    }

    /// The dearest there is.
    pub fn dearest(&self) -> NodePrice {
        self.lines.iter().map(|line| line.price).max().unwrap_or_default()
    }

    /// The comparison, cheapest call slot first, as it stands in the log.
    pub fn compared(&self, node_capacity: u32) -> String {
        let mut lines: Vec<&PriceLine> = self.lines.iter().collect();
        lines.sort_by_key(|line| line.per_slot(node_capacity));
        let mut text = format!("{} of {}, micro-dollars a call slot and hour:", self.book, self.region);
        for line in lines {
            let measured = if line.slots > 0 { "" } else { " (slots not measured)" };
            let (kind, market, each) = (&line.instance_type, &line.market, line.per_slot(node_capacity));
            let _ = write!(text, " {kind} {market} {each}{measured},");
        }
        text.pop();
        text
    }
}
