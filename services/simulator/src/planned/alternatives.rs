//! What else could be done: each is the same campaign with one thing changed, run like the plan itself.

use asterism_domain::fleet::prices::{ON_DEMAND, SPOT};
use asterism_domain::fleet::{FleetPolicy, PriceLine, Prices};
use serde::Serialize;

use super::{Asked, Told, tell};

/// Another way.
#[derive(Clone, Debug, Serialize)]
pub struct Alternative {
    /// What is changed.
    pub what: String,
    /// What it comes to.
    pub told: Told,
}

/// The alternatives to what is asked: `book` has the types and markets that could be launched.
pub fn alternatives(
    asked: &Asked,
    book: Option<&Prices>,
    mut progress: impl FnMut(&str),
) -> Vec<Alternative> {
    let mut all: Vec<(String, Asked)> = Vec::new();
    let is_asked =
        |line: &&PriceLine| (&line.instance_type, &line.market) != (&asked.place.0, &asked.place.1);
    for line in book.iter().flat_map(|book| &book.lines).filter(is_asked) {
        all.push((format!("{} {}", line.instance_type, line.market), with(asked, line)));
    }
    if let Some(mixed) = half_spot(asked, book) {
        all.push(("half of the nodes as spot".to_owned(), mixed));
    }
    let outlook = &asked.outlook;
    if let Some(until) = outlook.until_ms {
        let mut later = asked.clone();
        let left = until.saturating_sub(outlook.at_ms);
        later.outlook.until_ms = Some(until.saturating_add(left / 2));
        all.push(("half as much time again".to_owned(), later));
    }
    if outlook.max_channels > 0 || outlook.calls_per_second > 0 {
        let mut higher = asked.clone();
        higher.outlook.max_channels = outlook.max_channels.saturating_mul(2);
        higher.outlook.calls_per_second = outlook.calls_per_second.saturating_mul(2);
        all.push(("twice the carrier's cap".to_owned(), higher));
    }
    let mut more = asked.clone();
    more.policy.max_nodes = asked.policy.max_nodes.saturating_mul(2);
    all.push((format!("{} nodes at most", more.policy.max_nodes), more));
    let told = all.into_iter().map(|(what, asked)| {
        progress(&what);
        Alternative { told: tell(&asked), what }
    });
    told.collect()
}

/// Half of the nodes as spot, where the type has both prices and the plan has one of them.
fn half_spot(asked: &Asked, book: Option<&Prices>) -> Option<Asked> {
    let in_market = |market: &str| {
        let lines = book?.lines.iter();
        lines.filter(|line| line.instance_type == asked.place.0).find(|line| line.market == market).cloned()
    };
    let lines = vec![in_market(ON_DEMAND)?, in_market(SPOT)?];
    if asked.spot_percent > 0 {
        return None;
    }
    let mut mixed = with(asked, &lines[0]);
    mixed.policy.prices.as_mut()?.lines = lines;
    mixed.spot_percent = 50;
    Some(mixed)
}

/// The same on nodes of another kind.
fn with(asked: &Asked, line: &PriceLine) -> Asked {
    let prices = asked.policy.prices.clone().map(|prices| Prices { lines: vec![line.clone()], ..prices });
    let slots = if line.slots > 0 { line.slots } else { asked.policy.node_capacity };
    let policy = FleetPolicy { prices, node_capacity: slots, ..asked.policy.clone() };
    let place = (line.instance_type.clone(), line.market.clone());
    Asked { policy, place, spot_percent: 0, ..asked.clone() }
}
