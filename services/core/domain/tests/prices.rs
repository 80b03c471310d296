//! What instances cost: each by its own type and market, from its launch on, and by which price when prices change.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use asterism_domain::fleet::prices::book;
use asterism_domain::fleet::{
    Billing, FleetCommand, FleetLimits, FleetPolicy, LaunchOutcome, NodePrice, Place, PriceLine, Prices,
};
use asterism_domain::{Event, invariant};
use asterism_proto::{Origin, Role};
use proptest::prelude::*;
use support::{Lab, hearing, launches, policy};

const HOUR: u64 = 3_600_000;

fn line(instance_type: &str, market: &str, micro_usd_per_hour: u64, billing: Billing) -> PriceLine {
    let price = NodePrice { micro_usd_per_hour, billing, ..NodePrice::default() };
    PriceLine { instance_type: instance_type.into(), market: market.into(), price, slots: 0 }
}

fn set(lines: Vec<PriceLine>) -> Event {
    let (book, region) = ("2026-12-01".to_owned(), "r".to_owned());
    Event::PricesSet { book, region, source: "s".into(), prices: lines, reason: String::new() }
}

fn at(instance_type: &str, market: &str) -> Place {
    Place { instance_type: instance_type.into(), subnet: "z".into(), market: market.into() }
}

fn scaler(lab: &mut Lab, event: Event) {
    lab.write(Origin::Role(Role::Scaler), event);
}

/// A node of a type and market.
fn launch(lab: &mut Lab, node: &str, place: &Place) {
    let intent = format!("for-{node}");
    let instance_type = place.instance_type.clone();
    scaler(lab, Event::LaunchIntended { intent: intent.clone(), reason: String::new(), instance_type });
    let (intents, reason) = (vec![intent.clone()], String::new());
    lab.scaler(&FleetCommand::Place { intents, place: place.clone(), reason });
    let outcome = LaunchOutcome::Launched { node: node.into() };
    lab.scaler(&FleetCommand::Launch { intent, outcome });
}

fn lost(lab: &mut Lab, node: &str) {
    scaler(lab, Event::NodeLost { node: node.into(), reason: String::new() });
}

fn spent(lab: &Lab) -> u64 {
    lab.state.fleet.spent_micro_usd(lab.now).unwrap()
}

#[test]
fn each_node_costs_what_its_type_costs_in_its_market_and_an_unknown_one_the_dearest() {
    let mut lab = Lab::new();
    scaler(
        &mut lab,
        set(vec![
            line("large", "on-demand", 90_000, Billing::Second),
            line("small", "on-demand", 30_000, Billing::Second),
            line("small", "spot", 10_000, Billing::Hour),
        ]),
    );
    launch(&mut lab, "i-1", &at("small", "on-demand"));
    lab.now += HOUR / 2;
    assert_eq!(spent(&lab), 15_000);
    launch(&mut lab, "i-2", &at("small", "spot"));
    assert_eq!(spent(&lab), 25_000, "an hour that has begun is paid");
    launch(&mut lab, "i-3", &at("odd", "on-demand"));
    assert_eq!(lab.state.fleet.micro_usd_per_hour(), 130_000);
    lab.now += HOUR - 1;
    assert_eq!(spent(&lab), 15_000 + 29_999 + 10_000 + 89_999 + 1, "the two parts make one micro-dollar");
    lab.now += 1;
    assert_eq!(spent(&lab), 45_000 + 20_000 + 90_000, "its second hour has begun");
    for node in ["i-1", "i-2", "i-3"] {
        lost(&mut lab, node);
    }
    lab.now += 9 * HOUR;
    assert_eq!((spent(&lab), lab.state.fleet.micro_usd_per_hour()), (155_000, 0));
}

#[test]
fn time_before_a_new_price_keeps_the_old_one() {
    let mut lab = Lab::new();
    let mut planned = support::hostile::planned(0, None);
    if let Event::FleetPlanned { limits, .. } = &mut planned {
        let price_micro_usd_per_hour = 40_000;
        *limits = Some(FleetLimits {
            max_nodes: 9,
            launches_per_minute: 9,
            price_micro_usd_per_hour,
            ..FleetLimits::default()
        });
    }
    launch(&mut lab, "i-1", &at("small", "on-demand"));
    assert_eq!(lab.state.fleet.spent_micro_usd(lab.now), None, "nobody said what it costs");
    lab.now += HOUR;
    scaler(&mut lab, planned);
    lab.now += HOUR;
    assert_eq!(spent(&lab), 80_000, "one price for all, from the launch on");
    scaler(&mut lab, set(vec![line("small", "on-demand", 10_000, Billing::Second)]));
    lab.now += HOUR;
    assert_eq!(spent(&lab), 90_000);
    scaler(&mut lab, set(vec![]));
    assert_eq!(lab.state.voids, 1, "no price is none");
    lost(&mut lab, "i-1");
    scaler(&mut lab, set(vec![line("small", "on-demand", 70_000, Billing::Second)]));
    assert_eq!(spent(&lab), 90_000, "what has ended stays paid as it was");
}

#[test]
fn the_budget_is_judged_by_what_each_node_costs() {
    let mut lab = Lab::new();
    let limits = FleetLimits {
        max_nodes: 9,
        launches_per_minute: 9,
        budget_micro_usd: 50_000,
        ..FleetLimits::default()
    };
    scaler(&mut lab, support::hostile::planned(0, Some(limits)));
    scaler(
        &mut lab,
        set(vec![
            line("large", "on-demand", 60_000, Billing::Second),
            line("small", "spot", 20_000, Billing::Second),
        ]),
    );
    launch(&mut lab, "i-1", &at("small", "spot"));
    lab.now += 2 * HOUR;
    launch(&mut lab, "i-2", &at("large", "on-demand"));
    lab.overspends = true;
    let broken = |lab: &Lab| invariant::broken(&lab.state).iter().any(|finding| finding.id == "INV-06");
    lab.now += HOUR / 8;
    scaler(
        &mut lab,
        Event::FleetPlanned {
            reason: "x".into(),
            waiting: 0,
            in_flight: 0,
            nodes_up: 0,
            nodes_booting: 0,
            nodes_wanted: 0,
            nodes_draining: 0,
            nodes_stale: 0,
            nodes_lost: 0,
            budget_micro_usd: 0,
            limits: None,
        },
    );
    assert_eq!((spent(&lab), broken(&lab)), (50_000, false));
    lab.now += 1_000;
    lost(&mut lab, "i-1");
    assert!(spent(&lab) > 50_000 && broken(&lab), "{}", spent(&lab));
}

#[test]
fn the_plan_says_its_prices_once_and_launches_no_more_an_hour_than_it_may() {
    for budget_micro_usd in [0, 10_000_000] {
        plans_within_a_rate(budget_micro_usd);
    }
}

fn plans_within_a_rate(budget_micro_usd: u64) {
    let mut lab = Lab::new();
    lab.campaign("c", 12, 1);
    let prices = |price| Prices {
        book: "2026-12-01".into(),
        region: "r".into(),
        source: "s".into(),
        lines: vec![line("small", "on-demand", price, Billing::Second)],
    };
    let policy = |price| FleetPolicy {
        prices: Some(prices(price)),
        max_micro_usd_per_hour: 250_000,
        budget_micro_usd,
        instance_type: "small".into(),
        ..policy()
    };
    let tick = |lab: &Lab, price| {
        let hearing = hearing(&lab.ready());
        FleetCommand::Tick { policy: policy(price), hearing, inventory: None }
    };
    let now = tick(&lab, 100_000);
    let events = lab.scaler(&now);
    assert!(
        matches!(&events[0], Event::PricesSet { reason, .. } if reason.contains("small on-demand 33334")),
        "{events:?}"
    );
    assert_eq!(launches(&events), 2, "four are wanted; three would cost 300,000 an hour");
    assert_eq!(lab.scaler(&now), []);
    let intent =
        Event::LaunchIntended { intent: "more".into(), reason: String::new(), instance_type: "small".into() };
    let voids = lab.state.voids;
    scaler(&mut lab, intent);
    assert_eq!(lab.state.voids, voids + 1, "a scaler that forgot its limit is judged by the log");
    lab.boot_all();
    assert_eq!(lab.state.fleet.micro_usd_per_hour(), 200_000);
    let now = tick(&lab, 150_000);
    let events = lab.scaler(&now);
    assert!(matches!(&events[..], [Event::PricesSet { .. }, Event::FleetPlanned { .. }]), "{events:?}");
    assert_eq!(
        (lab.state.fleet.micro_usd_per_hour(), lab.scaler(&now)),
        (300_000, vec![]),
        "nobody ends for a new price"
    );
}

#[test]
fn the_example_is_a_price_book_and_what_it_lacks_is_refused() {
    let book = book::read(book::EXAMPLE).unwrap();
    let places = [at("m7g.large", "on-demand"), at("m7g.large", "spot"), at("m7g.large", "")];
    let slots = BTreeMap::from([("m7g.large".to_owned(), 110)]);
    let prices = book.used("us-east-1", &places, &slots).unwrap();
    assert_eq!((prices.lines.len(), prices.book.as_str()), (2, "2026-06-17"));
    assert_eq!(prices.lines[0].per_slot(20), 742, "81,600 for 110 slots");
    assert_eq!(
        prices.compared(20),
        "2026-06-17 of us-east-1, micro-dollars a call slot and hour: m7g.large spot 371, m7g.large on-demand 742"
    );
    let missing = [at("t3.large", "spot"), at("", "spot"), at("m7g.large", "spot")];
    let refused = book.used("us-east-1", &missing, &slots).unwrap_err();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().all(|one| one.code == "AST-S071"));
    assert_eq!(
        book.used("eu-west-9", &missing, &slots).unwrap_err().len(),
        3,
        "another region's prices are none"
    );
}

#[test]
fn everything_wrong_with_a_price_book_is_said_at_once() {
    let row = |price: &str| {
        format!("[[price]]\nregion = 'r'\ntype = 't'\nmarket = 'spot'\n{price}\nbilling = 'second'\n")
    };
    let text = format!(
        "dated = '2026-13-01'\nsource = ' '\n{}{}{}",
        row("micro_usd_per_hour = 0"),
        row("micro_usd_per_hour = 1"),
        row("micro_usd_per_hour = 2")
    );
    let said: Vec<String> = book::read(&text).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[3].contains("price 3: t spot in r stands there twice"), "{said:?}");
    for price in
        ["micro_usd_per_hour = -5", "micro_usd_per_hour = 0.1", "micro_usd_per_hour = nan", "usd = 1"]
    {
        let said = book::read(&format!("dated = '2026-12-01'\nsource = 's'\n{}", row(price))).unwrap_err();
        assert!(said[0].reason.starts_with("line "), "{price}: {said:?}");
    }
    let huge = "#".repeat(book::MAX_BOOK_BYTES + 1);
    assert_eq!(book::read(&huge).unwrap_err().len(), 1);
}

/// Something that happens to the bill.
#[derive(Clone, Debug)]
enum Happening {
    Launch(usize),
    End(usize),
    Prices([(u64, bool); 3]),
}

fn happening() -> impl Strategy<Value = (u64, Happening)> {
    let what = prop_oneof![
        3 => (0usize..3).prop_map(Happening::Launch),
        2 => (0usize..9).prop_map(Happening::End),
        1 => any::<[(u16, bool); 3]>().prop_map(|all| Happening::Prices(all.map(|(price, hour)| (u64::from(price) + 1, hour)))),
    ];
    // Whole hours among them: an hour that ends at this very moment has begun its next one.
    (prop_oneof![0u64..5_000_000, Just(HOUR), Just(0)], what)
}

/// What each type is billed for at least, by the second.
fn least_ms(kind: usize) -> u64 {
    [0, 60_000, 2_000_000][kind]
}

fn priced(all: &[(u64, bool); 3]) -> Event {
    let billing = |hour: bool| if hour { Billing::Hour } else { Billing::Second };
    set(["a", "b", "c"]
        .iter()
        .zip(all)
        .enumerate()
        .map(|(index, (kind, (price, hour)))| {
            let mut line = line(kind, "spot", *price, billing(*hour));
            line.price.least_ms = least_ms(index);
            line
        })
        .collect())
}

/// A node as the walk has it: its type, from when, the prices then, until when and the prices then.
type Billed = (usize, u64, usize, Option<(u64, usize)>);

/// The bill of one node, walked: in micro-dollars times an hour's milliseconds.
fn walked(node: &Billed, now: u64, prices: &[(u64, [(u64, bool); 3])]) -> u128 {
    let (kind, launched, first, ended) = *node;
    let until = ended.map_or(now, |(end, _)| end);
    let mut bill = 0;
    for (index, (set, all)) in prices.iter().enumerate().skip(first) {
        let from = launched.max(*set);
        let to = prices.get(index + 1).map_or(until, |(next, _)| *next).min(until);
        let (price, by_hour) = all[kind];
        if by_hour {
            let begun = (1..1_000).map(|hour| launched + hour * HOUR);
            let begun = begun.filter(|at| *at > from && *at <= to).count() + usize::from(index == first);
            bill += begun as u128 * u128::from(price) * u128::from(HOUR);
        } else {
            bill += u128::from(to.saturating_sub(from)) * u128::from(price);
        }
    }
    if let Some((end, (price, false))) = ended.map(|(end, last)| (end, prices[last].1[kind])) {
        bill += u128::from(least_ms(kind).saturating_sub(end - launched)) * u128::from(price);
    }
    bill
}

proptest! {
    #[test]
    fn the_meter_counts_what_a_walk_over_all_nodes_counts(
        first in any::<[(u16, bool); 3]>(),
        history in prop::collection::vec(happening(), 0..40),
    ) {
        let mut lab = Lab::new();
        let first = first.map(|(price, hour)| (u64::from(price) + 1, hour));
        scaler(&mut lab, priced(&first));
        let mut prices = vec![(lab.now, first)];
        let mut nodes: Vec<Billed> = Vec::new();
        for (ms, what) in history {
            lab.now += ms;
            match what {
                Happening::Launch(kind) => {
                    launch(&mut lab, &format!("i-{}", nodes.len()), &at(["a", "b", "c"][kind], "spot"));
                    nodes.push((kind, lab.now, prices.len() - 1, None));
                }
                Happening::End(index) => {
                    if let Some((_, _, _, ended @ None)) = nodes.get_mut(index) {
                        *ended = Some((lab.now, prices.len() - 1));
                        lost(&mut lab, &format!("i-{index}"));
                    }
                }
                Happening::Prices(all) => {
                    scaler(&mut lab, priced(&all));
                    prices.push((lab.now, all));
                }
            }
            let bill: u128 = nodes.iter().map(|node| walked(node, lab.now, &prices)).sum();
            prop_assert_eq!(u128::from(spent(&lab)), bill / u128::from(HOUR));
        }
        lab.now += 7 * HOUR + 1;
        let bill: u128 = nodes.iter().map(|node| walked(node, lab.now, &prices)).sum();
        prop_assert_eq!(u128::from(spent(&lab)), bill / u128::from(HOUR));
    }

    #[test]
    fn any_text_is_a_price_book_or_is_refused(text in "\\PC{0,200}", field in "dated|source|price|region|\\PC{0,9}", value in "\\PC{0,40}") {
        for document in [text, format!("{field} = {value}"), format!("[[price]]\n{field} = {value}"), format!("dated = '2026-12-01'\nsource = 's'\n[[price]]\nregion = {value}")] {
            match book::read(&document) {
                Ok(book) => prop_assert!(!book.regions.is_empty()),
                Err(problems) => prop_assert!(!problems.is_empty() && problems.iter().all(|one| one.code == "AST-S070")),
            }
        }
    }
}
