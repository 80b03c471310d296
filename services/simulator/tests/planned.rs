//! A campaign planned before it is run: limits hold, money is counted right, and what is changed changes what it says.

#![allow(clippy::unwrap_used)]

use asterism_domain::campaign::outlook::{Outlook, OutlookList};
use asterism_domain::fleet::learnt::Learnt;
use asterism_domain::fleet::{Billing, FleetPolicy, NodePrice, PriceLine, Prices};
use asterism_simulator::planned::{Asked, Outcome, alternatives, simulate, tell};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-12-02 10:00:00 UTC.
const NOW: u64 = 1_796_205_600_000;

fn policy() -> FleetPolicy {
    FleetPolicy {
        max_nodes: 40,
        node_capacity: 100,
        price_micro_usd_per_hour: 80_000,
        budget_micro_usd: 0,
        launches_per_minute: 100,
        boot_deadline_ms: 300_000,
        instance_type: "large".into(),
        ..FleetPolicy::default()
    }
}

/// 9,000 calls of 40 s within an hour: 100 slots all the time.
fn asked() -> Asked {
    let outlook = Outlook {
        at_ms: NOW,
        until_ms: Some(NOW + HOUR as u64),
        lists: vec![OutlookList { contacts: 9_000, calls: 9_000, hours: Vec::new() }],
        learnt: Learnt::assumed(40_000, 90_000),
        attempts_seen: 10_000,
        ..Outlook::default()
    };
    Asked { outlook, policy: policy(), place: ("large".into(), String::new()), spot_percent: 0, seeds: 3 }
}

/// Node time times the price, from the timeline alone.
fn bill(outcome: &Outcome, end_ms: i64) -> u64 {
    let until = |place: usize| outcome.nodes.get(place + 1).map_or(end_ms, |(next, _)| *next);
    let node_ms: i64 = outcome
        .nodes
        .iter()
        .enumerate()
        .map(|(place, (from, count))| (until(place) - from) * i64::from(*count))
        .sum();
    (node_ms * 80_000 / HOUR).unsigned_abs()
}

#[test]
fn a_campaign_is_through_in_time_and_the_bill_is_its_node_time() {
    let outcome = simulate(&asked(), 1);
    assert_eq!((outcome.late, outcome.started), (0, 9_000));
    let finish = outcome.finish_ms.unwrap();
    assert!((20 * MINUTE..HOUR + 10 * MINUTE).contains(&finish), "{finish} ms");
    assert_eq!(outcome.nodes.last().map(|(_, count)| *count), Some(0), "nobody is left: {:?}", outcome.nodes);
    assert_eq!(outcome.micro_usd, bill(&outcome, 0));
    // 100 slots for an hour are a node's; a second one is what chance and the boot cost at most.
    assert!((70_000..200_000).contains(&outcome.micro_usd), "{} micro-dollars", outcome.micro_usd);
    assert_eq!(
        format!("{outcome:?}"),
        format!("{:?}", simulate(&asked(), 1)),
        "the same seed is the same run"
    );
}

#[test]
fn limits_hold_in_a_plan_as_in_life() {
    let mut few = asked();
    few.policy.node_capacity = 10;
    few.policy.max_nodes = 4;
    let outcome = simulate(&few, 1);
    assert!(
        outcome.peak_nodes == 4 && outcome.late > 3_000,
        "{} nodes, {} late",
        outcome.peak_nodes,
        outcome.late
    );
    let mut poor = asked();
    (poor.policy.node_capacity, poor.policy.budget_micro_usd) = (10, 200_000);
    let outcome = simulate(&poor, 1);
    assert!(outcome.micro_usd <= 200_000 && outcome.late > 0, "{} micro-dollars", outcome.micro_usd);
    assert!(outcome.micro_usd > 100_000, "what there is is used: {} micro-dollars", outcome.micro_usd);
    let mut narrow = asked();
    (narrow.policy.node_capacity, narrow.policy.max_micro_usd_per_hour) = (10, 240_000);
    assert_eq!(simulate(&narrow, 1).peak_nodes, 3);
    let mut capped = asked();
    capped.outlook.max_channels = 10;
    assert!(simulate(&capped, 1).late > 7_000);
}

#[test]
fn hours_are_kept_and_what_is_not_done_today_is_done_tomorrow() {
    let mut asked = asked();
    asked.outlook.until_ms = None;
    asked.outlook.calls_per_second = 1;
    let at = |hours: i64| NOW.saturating_add_signed(hours * HOUR);
    asked.outlook.lists[0].hours = vec![(at(1), at(2)), (at(23), at(40))];
    let outcome = simulate(&asked, 1);
    let finish = outcome.finish_ms.unwrap();
    // An hour of the 9,000 s that its pace takes is today.
    let tomorrow = 23 * HOUR + 5_400_000;
    assert!((tomorrow..tomorrow + 20 * MINUTE).contains(&finish), "{} s", finish / 1_000);
    let nights = |(ms, count): &&(i64, u32)| (3 * HOUR..22 * HOUR).contains(ms) && *count > 0;
    assert_eq!(outcome.nodes.iter().find(nights), None, "nobody is paid for at night: {:?}", outcome.nodes);
}

#[test]
fn alternatives_change_what_they_say() {
    let line = |instance_type: &str, market: &str, micro_usd_per_hour| {
        let price = NodePrice { micro_usd_per_hour, billing: Billing::Second, least_ms: 60_000 };
        PriceLine { instance_type: instance_type.into(), market: market.into(), price, slots: 100 }
    };
    let book = Prices {
        lines: vec![line("large", "on-demand", 80_000), line("large", "spot", 20_000)],
        ..Prices::default()
    };
    let mut asked = asked();
    asked.policy.prices = Some(Prices { lines: vec![book.lines[0].clone()], ..book.clone() });
    asked.place = ("large".into(), "on-demand".into());
    asked.outlook.calls_per_second = 2;
    let told = tell(&asked);
    let others = alternatives(&asked, Some(&book), |_| {});
    let named = |what: &str| &others.iter().find(|other| other.what == what).unwrap().told;
    let spot = named("large spot").micro_usd[1];
    assert!(spot.abs_diff(told.micro_usd[1] / 4) <= 3, "{spot} against {}", told.micro_usd[1]);
    assert!(told.late > 1_000, "2 a second start 7,200 in an hour");
    assert_eq!(named("half as much time again").late, 0);
    assert_eq!(named("twice the carrier's cap").late, 0);
    let half = named("half of the nodes as spot").micro_usd[1];
    assert!(spot < half && half < told.micro_usd[1], "{spot}, {half}, {}", told.micro_usd[1]);
    assert_eq!(others.len(), 5);
    let [first, middle, last] = told.micro_usd;
    assert!(first <= middle && middle <= last);
}

#[test]
fn what_nobody_has_seen_is_less_certain() {
    let spread = |seen| {
        let mut asked = asked();
        (asked.outlook.attempts_seen, asked.outlook.until_ms, asked.seeds) = (seen, None, 7);
        let [first, _, last] = tell(&asked).micro_usd;
        last - first
    };
    assert!(spread(0) > 2 * spread(100_000), "{} and {}", spread(0), spread(100_000));
}

#[test]
fn people_who_are_rung_again_are_waited_for() {
    let finish = |retry_ms: u64| {
        let mut asked = asked();
        (asked.outlook.until_ms, asked.outlook.retry_ms) = (None, retry_ms);
        asked.outlook.lists[0].calls = 15_000;
        let outcome = simulate(&asked, 1);
        assert_eq!((outcome.started, outcome.late), (15_000, 0));
        (outcome.finish_ms.unwrap(), outcome.nodes.clone())
    };
    let (at_once, _) = finish(0);
    let (later, nodes) = finish(4 * HOUR as u64);
    // 9,000 people, 6,000 more calls: two in five lead to another one.
    assert!(later > at_once + 4 * HOUR, "{} against {} s", later / 1_000, at_once / 1_000);
    let idle = |(ms, count): &&(i64, u32)| (HOUR..4 * HOUR).contains(ms) && *count > 0;
    assert_eq!(nodes.iter().find(idle), None, "nobody is paid for while people rest: {nodes:?}");
}

#[test]
fn so_many_of_a_hundred_nodes_are_spot() {
    let price = |micro_usd_per_hour| NodePrice { micro_usd_per_hour, billing: Billing::Second, least_ms: 0 };
    let line = |market: &str, dollars| PriceLine {
        instance_type: "large".into(),
        market: market.into(),
        price: price(dollars),
        slots: 0,
    };
    let cost = |percent| {
        let mut asked = asked();
        asked.policy.node_capacity = 10;
        let lines = vec![line("on-demand", 80_000), line("spot", 20_000)];
        asked.policy.prices = Some(Prices { lines, ..Prices::default() });
        (asked.place, asked.spot_percent) = (("large".into(), "on-demand".into()), percent);
        simulate(&asked, 1).micro_usd
    };
    let (none, all) = (cost(0), cost(100));
    assert!(all.abs_diff(none / 4) < none / 100, "{none} and {all}");
    let most = cost(75);
    assert!(all < most && 2 * most < none + all, "{all}, {most}, {none}");
}
