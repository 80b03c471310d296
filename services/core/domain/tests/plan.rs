//! The fleet's plan on random fleets and absurd policies: planning twice changes nothing, limits hold, a node nobody
//! heard of is never a victim, and the scaler decides nothing the sequencer would refuse.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::fleet::decide::decide;
use asterism_domain::fleet::plan::cost_micro_usd;
use asterism_domain::fleet::{
    FleetCommand, FleetLimits, FleetPolicy, Hearing, IntentStatus, Inventory, LaunchOutcome, NodeStatus,
};
use asterism_domain::rules::CampaignRules;
use asterism_domain::{Event, NodeId, Outcome, invariant};
use asterism_proto::{Origin, Role};
use proptest::prelude::*;
use support::Lab;

/// What may happen to a fleet between two plans.
#[derive(Clone, Debug)]
enum Happening {
    Plan,
    Boot,
    LaunchOnly,
    LaunchFails,
    Dial,
    CallsEnd,
    PbxStops(usize),
    Drain(usize),
    Undrain(usize),
    Empty,
    Lose(usize),
    Pass(u64),
    MoreContacts,
    MoreByADeadline(u64),
    CallsFail,
    Stop,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        4 => Just(Plan),
        3 => Just(Boot),
        1 => Just(LaunchOnly),
        1 => Just(LaunchFails),
        3 => Just(Dial),
        2 => Just(CallsEnd),
        1 => (0usize..5).prop_map(PbxStops),
        1 => (0usize..5).prop_map(Drain),
        1 => (0usize..5).prop_map(Undrain),
        2 => Just(Empty),
        1 => (0usize..5).prop_map(Lose),
        2 => (1u64..90_000).prop_map(Pass),
        2 => Just(MoreContacts),
        2 => (1u64..400_000).prop_map(MoreByADeadline),
        2 => Just(CallsFail),
        1 => Just(Stop),
    ]
}

fn sane_policy() -> impl Strategy<Value = FleetPolicy> {
    let limits = (0u32..6, 0u32..25, 0u32..9, 0u64..2, 0u32..60, 0u64..40_000);
    (limits, 0u64..20_000, 0u64..60_000).prop_map(|(limits, budget_reserve_ms, not_ready_grace_ms)| {
        let (min_nodes, max_nodes, node_capacity, budget, launches_per_minute, boot_deadline_ms) = limits;
        FleetPolicy {
            min_nodes,
            max_nodes,
            node_capacity,
            budget_micro_usd: budget * 10_000,
            launches_per_minute,
            boot_deadline_ms,
            budget_reserve_ms,
            not_ready_grace_ms,
            ..support::policy()
        }
    })
}

fn absurd_policy() -> impl Strategy<Value = FleetPolicy> {
    any::<((u32, u32, u32, u64, u64, u32, u64), [u64; 7])>().prop_map(|(limits, patience)| {
        let (min_nodes, max_nodes, node_capacity, price, budget, launches_per_minute, boot) = limits;
        let [stale, dead, grace, unreachable, gone, refusing, reserve] = patience;
        FleetPolicy {
            min_nodes,
            max_nodes,
            node_capacity,
            price_micro_usd_per_hour: price,
            prices: None,
            addresses: None,
            max_micro_usd_per_hour: price / 2,
            budget_micro_usd: budget,
            launches_per_minute,
            boot_deadline_ms: boot,
            instance_type: "small".into(),
            stale_after_ms: stale,
            dead_after_ms: dead,
            not_ready_grace_ms: grace,
            unreachable_terminate_after_ms: unreachable,
            gone_after_ms: gone,
            refusing_terminate_after_ms: refusing,
            recordings_wait_ms: 600_000,
            budget_reserve_ms: reserve,
        }
    })
}

/// The nth existing node, if there are so many.
fn nth(lab: &Lab, index: usize) -> Option<NodeId> {
    lab.state.fleet.existing().nth(index).map(|(id, _)| id.clone())
}

fn tick(policy: &FleetPolicy, fresh: &BTreeSet<NodeId>) -> FleetCommand {
    FleetCommand::Tick { policy: policy.clone(), hearing: support::hearing(fresh), inventory: None }
}

/// Commits what is decided; a rejection is an answer too.
fn ask(lab: &mut Lab, command: &FleetCommand) -> Vec<Event> {
    let events = decide(&lab.state, command, lab.now).unwrap_or_default();
    for event in &events {
        lab.write(Origin::Role(Role::Scaler), event.clone());
    }
    events
}

fn happen(lab: &mut Lab, policy: &FleetPolicy, what: &Happening) {
    lab.now += 10;
    match what {
        Happening::Plan => {
            let fresh = lab.ready();
            ask(lab, &tick(policy, &fresh));
        }
        Happening::Boot => lab.boot_all(),
        Happening::LaunchOnly | Happening::LaunchFails => {
            let owed = lab.state.fleet.owed_launches().next().map(|(id, _)| id.clone());
            let Some(intent) = owed else { return };
            let outcome = match what {
                Happening::LaunchOnly => LaunchOutcome::Launched { node: format!("i-{intent}") },
                _ => LaunchOutcome::Failed { code: "X".into(), reason: "x".into(), is_final: true },
            };
            ask(lab, &FleetCommand::Launch { intent, outcome });
        }
        Happening::Dial => {
            lab.tick();
        }
        Happening::CallsEnd | Happening::CallsFail => {
            let failed = matches!(what, Happening::CallsFail);
            let outcome = if failed { Outcome::Congestion } else { Outcome::Answered };
            for (attempt, node) in lab.in_flight() {
                lab.end(&attempt, &node, outcome);
            }
        }
        Happening::PbxStops(index) => {
            let Some(node) = nth(lab, *index) else { return };
            lab.node(&node.clone(), Event::NodeStopped { node, reason: "x".into() });
        }
        Happening::Drain(index) | Happening::Undrain(index) => {
            let Some(node) = nth(lab, *index) else { return };
            let reason = "x".to_owned();
            let command = match what {
                Happening::Drain(_) => FleetCommand::Drain { node, reason },
                _ => FleetCommand::Undrain { node, reason },
            };
            ask(lab, &command);
        }
        Happening::Empty => {
            let draining: Vec<_> = lab
                .state
                .fleet
                .existing()
                .filter(|(_, node)| node.status == NodeStatus::Draining && node.attempts.is_empty())
                .map(|(id, node)| (id.clone(), node.drain))
                .collect();
            for (node, drain) in draining {
                lab.node(&node.clone(), Event::NodeEmpty { node, drain });
            }
        }
        Happening::Lose(index) => {
            if let Some(node) = nth(lab, *index) {
                lab.lose(&node);
            }
        }
        Happening::Pass(ms) => lab.now += ms,
        Happening::MoreContacts => {
            let id = format!("c{}", lab.state.campaigns.len());
            lab.campaign(&id, 9, 3);
        }
        Happening::MoreByADeadline(ms) => {
            let id = format!("c{}", lab.state.campaigns.len());
            let rules = CampaignRules { deadline_ms: lab.now + ms, ..CampaignRules::default() };
            lab.campaign_with(&id, support::rows(30), 3, rules);
        }
        Happening::Stop => {
            ask(lab, &FleetCommand::Stop { reason: "x".into() });
        }
    }
}

fn grown(policy: &FleetPolicy, contacts: u8, history: &[Happening]) -> Lab {
    let mut lab = Lab::new();
    lab.overspends = true;
    lab.campaign("c", contacts, 3);
    for what in history {
        happen(&mut lab, policy, what);
    }
    lab
}

/// A subset of the nodes, by the bits of a number.
fn some_nodes(lab: &Lab, bits: u32) -> BTreeSet<NodeId> {
    let chosen = |(index, _): &(usize, &NodeId)| bits & (1 << (index % 32)) != 0;
    lab.state.fleet.nodes.keys().enumerate().filter(chosen).map(|(_, id)| id.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn planning_twice_changes_nothing(
        policy in sane_policy(),
        contacts in 1u8..25,
        history in prop::collection::vec(happening(), 0..40),
        bits: u32,
    ) {
        let mut lab = grown(&policy, contacts, &history);
        let fresh = some_nodes(&lab, bits);
        let voids = lab.state.voids;
        let first = ask(&mut lab, &tick(&policy, &fresh));
        prop_assert_eq!(lab.state.voids, voids, "a plan holds nothing that is void at once: {:?}", first);
        let second = decide(&lab.state, &tick(&policy, &fresh), lab.now).unwrap();
        prop_assert_eq!(second, vec![], "after {:?}", first);
    }

    #[test]
    fn limits_hold_whatever_the_policy_says(
        sane in sane_policy(),
        absurd in absurd_policy(),
        contacts in 1u8..25,
        history in prop::collection::vec(happening(), 0..30),
        bits: u32,
    ) {
        let mut lab = grown(&sane, contacts, &history);
        let count = |lab: &Lab| lab.state.fleet.existing().count() + lab.state.fleet.owed_launches().count();
        let recent = |lab: &Lab| {
            lab.state.fleet.intents.values().filter(|intent| intent.at + 60_000 > lab.now).count()
        };
        for policy in [&absurd, &sane] {
            let (before, spent) = (count(&lab), cost_micro_usd(lab.state.fleet.node_ms(lab.now), policy));
            let (fresh, recent_before) = (some_nodes(&lab, bits), recent(&lab));
            let events = ask(&mut lab, &tick(policy, &fresh));
            let launches = events.iter().filter(|e| matches!(e, Event::LaunchIntended { .. })).count();
            prop_assert!(events.len() <= 256, "one frame holds a plan");
            prop_assert!(count(&lab) <= before.max(policy.max_nodes as usize));
            prop_assert!(recent(&lab) <= recent_before.max(policy.launches_per_minute as usize));
            prop_assert!(launches == 0 || policy.budget_micro_usd == 0 || spent < policy.budget_micro_usd);
            prop_assert!(launches == 0 || !lab.state.fleet.stop_requested);
        }
    }

    #[test]
    fn a_node_nobody_heard_of_is_no_victim_and_a_call_is_never_cut(
        policy in sane_policy(),
        contacts in 1u8..25,
        history in prop::collection::vec(happening(), 0..40),
        bits: u32,
    ) {
        let mut lab = grown(&policy, contacts, &history);
        let fresh = some_nodes(&lab, bits);
        let before = lab.state.fleet.clone();
        for event in ask(&mut lab, &tick(&policy, &fresh)) {
            match event {
                Event::NodeDraining { node, .. } | Event::NodeUndrained { node, .. } => {
                    prop_assert!(fresh.contains(&node));
                }
                Event::NodeTerminating { node, .. } => {
                    let known = &before.nodes[&node];
                    prop_assert!(known.attempts.is_empty());
                    prop_assert!(known.empty || known.ready_at.is_none());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_fleet_told_to_go_ends_without_a_node(
        policy in sane_policy(),
        contacts in 1u8..25,
        history in prop::collection::vec(happening(), 0..30),
    ) {
        let mut lab = grown(&policy, contacts, &history);
        ask(&mut lab, &FleetCommand::Stop { reason: "x".into() });
        for _ in 0..6 {
            lab.boot_all();
            for (attempt, node) in lab.in_flight() {
                lab.end(&attempt, &node, Outcome::Answered);
            }
            let all: BTreeSet<NodeId> = lab.state.fleet.nodes.keys().cloned().collect();
            ask(&mut lab, &tick(&policy, &all));
            happen(&mut lab, &policy, &Happening::Empty);
            let ended = lab
                .state
                .fleet
                .existing()
                .filter(|(_, node)| node.status == NodeStatus::Terminating)
                .map(|(id, _)| (id.clone(), true))
                .collect();
            let inventory = Some(Inventory { ended, ..Inventory::default() });
            let hearing = support::hearing(&all);
            ask(&mut lab, &FleetCommand::Tick { policy: policy.clone(), hearing, inventory });
        }
        prop_assert_eq!(lab.state.fleet.existing().count(), 0, "{:?}", lab.state.fleet.nodes);
        prop_assert_eq!(lab.state.fleet.owed_launches().count(), 0);
    }
}

#[test]
fn an_operators_drain_is_not_undone_by_the_plan_and_can_be_taken_back() {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    lab.plan();
    lab.boot_all();
    let node = lab.ready().into_iter().next().unwrap();
    lab.scaler(&FleetCommand::Drain { node: node.clone(), reason: "repair".into() });
    let planned = lab.plan();
    assert!(planned.iter().any(|event| matches!(event, Event::LaunchIntended { .. })), "{planned:?}");
    assert!(!planned.iter().any(|event| matches!(event, Event::NodeUndrained { .. })), "{planned:?}");
    lab.scaler(&FleetCommand::Undrain { node: node.clone(), reason: "repaired".into() });
    assert_eq!(lab.state.fleet.nodes[&node].status, NodeStatus::Ready);
}

#[test]
fn registration_follows_the_sequencers_rules() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 1);
    lab.plan();
    lab.boot_all();
    let node = lab.ready().into_iter().next().unwrap();
    let intent = lab.state.fleet.nodes[&node].intent.clone();
    let register = |key: u8, epoch: u8| FleetCommand::Register {
        node: node.clone(),
        intent: intent.clone(),
        public_key: vec![key; 32],
        epoch: vec![epoch; 16],
    };
    let code = |lab: &Lab, command| decide(&lab.state, &command, lab.now).err().map(|refused| refused.code);
    assert_eq!(decide(&lab.state, &register(1, 2), lab.now), Ok(vec![]), "said before: nothing new");
    assert_eq!(code(&lab, register(3, 2)), Some("AST-S010"), "another key for the same epoch");
    assert_eq!(code(&lab, register(2, 9)), Some("AST-S007"), "no point of the curve");
    for epoch in 3..66 {
        assert_eq!(lab.scaler(&register(1, epoch)).len(), 1, "epoch {epoch}");
    }
    assert_eq!(code(&lab, register(1, 2)), Some("AST-S010"), "an epoch of before");
    assert_eq!(code(&lab, register(1, 99)), Some("AST-S010"), "the 65th epoch");
    lab.node(&node.clone(), Event::OriginClosed { origin: format!("node/{node}"), reason: "stopped".into() });
    assert_eq!(code(&lab, register(1, 65)), Some("AST-S004"), "closed by itself");
}

#[test]
fn a_node_that_never_registered_ends_without_closing_an_origin() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 1);
    lab.plan();
    happen(&mut lab, &support::policy(), &Happening::LaunchOnly);
    let node = nth(&lab, 0).unwrap();
    let inventory = Some(Inventory { ended: [(node.clone(), true)].into(), ..Inventory::default() });
    let command = FleetCommand::Tick { policy: support::policy(), hearing: Hearing::default(), inventory };
    let events = lab.scaler(&command);
    assert!(matches!(events.as_slice(), [Event::NodeLost { node: lost, .. }] if *lost == node), "{events:?}");
}

#[test]
fn an_intent_gets_one_instance_and_a_refusal_that_lasts_slows_the_plan() {
    let mut lab = Lab::new();
    lab.campaign("c", 30, 1);
    lab.plan();
    let intents: Vec<String> = lab.state.fleet.intents.keys().cloned().collect();
    assert_eq!(intents.len(), 4);
    let launched = |node: &str| FleetCommand::Launch {
        intent: intents[0].clone(),
        outcome: LaunchOutcome::Launched { node: node.into() },
    };
    assert_eq!(lab.scaler(&launched("i-1")).len(), 1);
    assert_eq!(lab.scaler(&launched("i-1")), vec![], "told twice");
    assert_eq!(decide(&lab.state, &launched("i-2"), lab.now).unwrap_err().code, "AST-S011");
    for round in [3, 3] {
        let owed: Vec<String> = lab.state.fleet.owed_launches().map(|(id, _)| id.clone()).collect();
        assert_eq!(owed.len(), round);
        for intent in owed {
            let outcome = LaunchOutcome::Failed { code: "X".into(), reason: "no".into(), is_final: true };
            lab.scaler(&FleetCommand::Launch { intent, outcome });
        }
        lab.now += 1_000;
        lab.plan();
    }
    assert_eq!(lab.state.fleet.owed_launches().count(), 0, "three refusals since the one that came up");
    let failed = |status: &IntentStatus| *status == IntentStatus::Failed;
    assert_eq!(lab.state.fleet.intents.values().filter(|intent| failed(&intent.status)).count(), 6);
    lab.now += 10_000;
    assert_eq!(support::launches(&lab.plan()), 1);
}

#[test]
fn an_empty_node_that_is_needed_again_is_opened_not_ended() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, Outcome::Answered);
    }
    assert!(lab.plan().iter().any(|event| matches!(event, Event::NodeDraining { .. })));
    happen(&mut lab, &support::policy(), &Happening::Empty);
    lab.campaign("d", 1, 1);
    let planned = lab.plan();
    assert!(matches!(planned.as_slice(), [_, Event::NodeUndrained { .. }]), "{planned:?}");
    assert_eq!((lab.ready().len(), lab.plan()), (1, vec![]));
}

#[test]
fn a_node_that_still_bills_counts_against_the_cap() {
    let mut lab = Lab::new();
    lab.campaign("c", 30, 1);
    lab.plan();
    lab.boot_all();
    let node = lab.ready().into_iter().next().unwrap();
    lab.scaler(&FleetCommand::Drain { node, reason: "repair".into() });
    assert_eq!(lab.plan(), vec![], "four of four exist, one of them drained");
}

fn write_plan(lab: &mut Lab, limits: FleetLimits) {
    let mut planned = support::hostile::planned(0, Some(limits));
    if let Event::FleetPlanned { reason, .. } = &mut planned {
        "by hand".clone_into(reason);
    }
    lab.write(Origin::Role(Role::Scaler), planned);
}

/// INV-06 where it lands: a scaler that forgot its own limits launches nothing beyond those in the log.
#[test]
fn a_launch_beyond_the_limits_in_the_log_is_void() {
    let (mut lab, hour) = (Lab::new(), 3_600_000);
    let limits = FleetLimits {
        max_nodes: 3,
        launches_per_minute: 2,
        budget_micro_usd: 1_000_000,
        price_micro_usd_per_hour: 500_000,
        max_micro_usd_per_hour: 0,
    };
    let launch = |lab: &mut Lab, intent: &str| {
        let voids = lab.state.voids;
        let (intent, reason, instance_type) = (intent.to_owned(), String::new(), "small".to_owned());
        lab.write(Origin::Role(Role::Scaler), Event::LaunchIntended { intent, reason, instance_type });
        lab.state.voids == voids
    };
    write_plan(&mut lab, limits);
    assert!(launch(&mut lab, "one") && launch(&mut lab, "two"));
    assert!(!launch(&mut lab, "three"), "two a minute");
    lab.boot_all();
    lab.now += 60_000;
    assert!(launch(&mut lab, "four"));
    lab.now += 60_000;
    assert!(!launch(&mut lab, "five"), "three at once");
    // Two nodes at half a dollar an hour: 1,016,666 micro-dollars an hour and a minute after they were launched.
    lab.overspends = true;
    lab.now += hour;
    write_plan(&mut lab, FleetLimits { max_nodes: 9, ..limits });
    assert!(!launch(&mut lab, "six"), "the budget is used up");
    let broken = |lab: &Lab| invariant::broken(&lab.state).iter().any(|finding| finding.id == "INV-06");
    assert!(broken(&lab), "and the log says so");
    // What was spent at the old price stays spent: the new one counts from here on.
    let spent = lab.state.fleet.spent_micro_usd(lab.now);
    write_plan(&mut lab, FleetLimits { budget_micro_usd: 2_000_000, price_micro_usd_per_hour: 0, ..limits });
    lab.now += hour;
    assert_eq!((broken(&lab), lab.state.fleet.spent_micro_usd(lab.now)), (false, spent));
    // A lower limit ends nobody, and is none that was broken; as nodes end, it holds.
    write_plan(&mut lab, FleetLimits { max_nodes: 1, budget_micro_usd: 0, ..limits });
    assert_eq!((broken(&lab), lab.state.fleet.limited.above_max), (false, 3));
}

#[test]
fn what_a_budget_carries_is_launched_at_once_and_no_more_at_the_next_look() {
    // A node costs 437.06 micro-dollars in twice the reserve: nine of them are in the budget, one rounded up at a time eight.
    let policy = FleetPolicy {
        max_nodes: 20,
        node_capacity: 1,
        budget_micro_usd: 3_936,
        budget_reserve_ms: 7_867,
        ..support::policy()
    };
    let mut lab = grown(&policy, 24, &[]);
    let launches = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::LaunchIntended { .. })).count()
    };
    assert_eq!(launches(&ask(&mut lab, &tick(&policy, &BTreeSet::new()))), 9);
    assert_eq!(ask(&mut lab, &tick(&policy, &BTreeSet::new())), []);
}
