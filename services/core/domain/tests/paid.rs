//! Time that is paid for: an hourly bill keeps a node to the end of its hour, and a launch's least time is used up.
#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::fleet::{Billing, FleetCommand, FleetPolicy, NodePrice, NodeStatus, PriceLine, Prices};
use asterism_domain::{Event, Outcome};
use support::{Lab, drained, hearing, launches};

const MINUTE: u64 = 60_000;

fn policy(billing: Billing, least_ms: u64) -> FleetPolicy {
    let price = NodePrice { micro_usd_per_hour: 80_000, billing, least_ms };
    let line = PriceLine { instance_type: "small".into(), market: "on-demand".into(), price, slots: 0 };
    let (book, region, source) = ("2026-12-01".into(), "r".into(), "s".into());
    FleetPolicy { prices: Some(Prices { book, region, source, lines: vec![line] }), ..support::policy() }
}

fn plan(lab: &mut Lab, policy: &FleetPolicy) -> Vec<Event> {
    let hearing = hearing(&lab.ready());
    lab.scaler(&FleetCommand::Tick { policy: policy.clone(), hearing, inventory: None })
}

/// One node that has dialled three people; nobody else waits.
fn served(policy: &FleetPolicy) -> (Lab, u64, String) {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    let launched = lab.now;
    assert_eq!(launches(&plan(&mut lab, policy)), 1);
    lab.boot_all();
    lab.tick();
    lab.now += 20_000;
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, Outcome::Answered);
    }
    let node = lab.ready().into_iter().next().unwrap();
    (lab, launched, node)
}

fn empty(lab: &mut Lab, node: &str) {
    let drain = lab.state.fleet.nodes[node].drain;
    lab.node(node, Event::NodeEmpty { node: node.into(), drain });
}

fn is_ended(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::NodeTerminating { .. }))
}

#[test]
fn a_node_of_an_hourly_bill_goes_just_before_its_next_hour() {
    let policy = policy(Billing::Hour, 0);
    let (mut lab, launched, node) = served(&policy);
    lab.now = launched + 10 * MINUTE;
    assert_eq!(plan(&mut lab, &policy), [], "nobody needs it, and its hour is paid");
    lab.now = launched + 52 * MINUTE;
    assert_eq!(plan(&mut lab, &policy), []);
    lab.now = launched + 53 * MINUTE;
    assert_eq!(drained(&plan(&mut lab, &policy)), [&node], "its calls need five minutes, the cloud two");
    empty(&mut lab, &node);
    lab.now = launched + 57 * MINUTE;
    assert_eq!(plan(&mut lab, &policy), [], "empty, and not worth ending yet");
    lab.now = launched + 58 * MINUTE;
    assert!(is_ended(&plan(&mut lab, &policy)));
    lab.lose(&node);
    assert_eq!(lab.state.fleet.spent_micro_usd(lab.now), Some(80_000), "one hour, used to its end");
}

#[test]
fn a_drained_node_whose_hour_is_paid_is_opened_again_before_another_is_launched() {
    let policy = policy(Billing::Hour, 0);
    let (mut lab, launched, node) = served(&policy);
    lab.now = launched + 53 * MINUTE;
    plan(&mut lab, &policy);
    empty(&mut lab, &node);
    lab.now = launched + 56 * MINUTE;
    lab.campaign("more", 3, 1);
    let events = plan(&mut lab, &policy);
    assert!(events.iter().any(|event| matches!(event, Event::NodeUndrained { .. })), "{events:?}");
    assert_eq!(launches(&events), 0);
    assert_eq!(lab.state.fleet.nodes[&node].status, NodeStatus::Ready);
    lab.tick();
    lab.now = launched + 61 * MINUTE;
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, Outcome::Answered);
    }
    assert_eq!(plan(&mut lab, &policy), [], "its second hour has begun: it stays for that");
    assert_eq!(lab.state.fleet.spent_micro_usd(lab.now), Some(160_000));
}

#[test]
fn a_fleet_told_to_go_waits_for_no_hour() {
    let policy = policy(Billing::Hour, 0);
    let (mut lab, _, node) = served(&policy);
    lab.scaler(&FleetCommand::Stop { reason: "x".into() });
    assert_eq!(drained(&plan(&mut lab, &policy)), [&node]);
    empty(&mut lab, &node);
    assert!(is_ended(&plan(&mut lab, &policy)));
}

#[test]
fn the_least_time_of_a_launch_is_used_and_billed() {
    let policy = policy(Billing::Second, MINUTE);
    let (mut lab, launched, node) = served(&policy);
    assert_eq!(drained(&plan(&mut lab, &policy)), [&node]);
    empty(&mut lab, &node);
    assert_eq!(plan(&mut lab, &policy), [], "its first minute is paid: it may be wanted yet");
    lab.now = launched + MINUTE;
    assert!(is_ended(&plan(&mut lab, &policy)));
    let (mut short, launched, node) = served(&policy);
    short.now = launched + 30_000;
    short.lose(&node);
    assert_eq!(short.state.fleet.spent_micro_usd(short.now), Some(1_333), "a minute for half of one");
}
