//! What a campaign cost, and what is in that: its calls by its own price, and its share of what the nodes cost.

use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, budget};
use crate::state::State;

/// The currency of price books.
const BOOK: &str = "USD";

/// A campaign's cost. What nobody has a price for is not there, and never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Of its answered calls by the campaign's price.
    pub calls: Option<String>,
    /// Of the nodes, by the price book: the part of what the fleet cost while the campaign ran that its attempts' share of
    /// all slot time is. Idle time is in it, by the same share.
    pub nodes: Option<String>,
    /// What the whole fleet cost while it ran.
    pub fleet: Option<String>,
    /// Calls, for each answer.
    pub calls_per_answer: Option<String>,
    /// Nodes, for each answer.
    pub nodes_per_answer: Option<String>,
    /// Both, for each answer, where both are known and in one currency.
    pub per_answer: Option<String>,
}

pub(super) fn of(state: &State, known: &Campaign) -> Cost {
    let price = &known.rules.price;
    let answers = u64::from(known.counts.answered);
    let money = |micro: u64, currency: &str| format!("{} {currency}", budget::money(micro));
    let calls = price.is_known().then(|| budget::spent(known).cost_micro);
    let nodes = nodes(state, known);
    let share = nodes.map(|(share, _)| share);
    let each = |micro: Option<u64>| micro.and_then(|micro| micro.checked_div(answers));
    let both = calls.zip(share).filter(|_| price.currency == BOOK);
    let both = both.map(|(calls, nodes)| calls.saturating_add(nodes));
    Cost {
        calls: calls.map(|micro| money(micro, &price.currency)),
        nodes: share.map(|micro| money(micro, BOOK)),
        fleet: nodes.map(|(_, fleet)| money(fleet, BOOK)),
        calls_per_answer: each(calls).map(|micro| money(micro, &price.currency)),
        nodes_per_answer: each(share).map(|micro| money(micro, BOOK)),
        per_answer: each(both).map(|micro| money(micro, BOOK)),
    }
}

/// Its share of what the nodes have cost since it was started, and all of that, micro-dollars.
fn nodes(state: &State, known: &Campaign) -> Option<(u64, u64)> {
    known.started_at?;
    let (until, own_ms) = known.stats.at_end.unwrap_or_else(|| (state.used(), known.slots_ms(state.at)));
    // A price that came later counts what was before it too.
    let before = known.stats.at_start.micro_usd.unwrap_or_default();
    let fleet = until.micro_usd?.saturating_sub(before);
    let all_ms = until.slots_ms.saturating_sub(known.stats.at_start.slots_ms);
    let share = u128::from(fleet) * u128::from(own_ms.min(all_ms));
    let share = share.checked_div(all_ms.into()).unwrap_or_default();
    Some((u64::try_from(share).unwrap_or(fleet), fleet))
}
