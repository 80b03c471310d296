//! Nodes that cannot dial, that nobody hears, that the cloud does not list, and a budget that runs out.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use asterism_domain::fleet::decide::{GONE_LISTINGS, decide};
use asterism_domain::fleet::plan::cost_micro_usd;
use asterism_domain::fleet::{
    Absence, FleetCommand, FleetLimits, FleetPolicy, Heard, Hearing, Inventory, LaunchOutcome, NodeStatus,
};
use asterism_domain::{Event, NodeId, Outcome, invariant};
use asterism_proto::{Origin, Role};
use proptest::prelude::*;
use support::{Lab, drained, launches, policy};

const MINUTE: u64 = 60_000;

/// What the outside looks like to the scaler.
#[derive(Default)]
struct Outside {
    hearing: Hearing,
    absent: BTreeMap<NodeId, Absence>,
    ended: BTreeMap<NodeId, bool>,
}

impl Outside {
    /// Every node is heard of now and listed as running.
    fn healthy(lab: &Lab) -> Self {
        let nodes: Vec<NodeId> = lab.state.fleet.existing().map(|(id, _)| id.clone()).collect();
        let hearing = support::hearing(&nodes.iter().cloned().collect());
        Self { hearing, absent: BTreeMap::new(), ended: nodes.into_iter().map(|id| (id, false)).collect() }
    }

    fn silent(mut self, node: &str, ms: u64) -> Self {
        self.hearing.nodes.insert(node.to_owned(), Heard { silent_ms: ms, closed_ms: None });
        self
    }

    fn closed(mut self, node: &str, ms: u64) -> Self {
        self.hearing.nodes.insert(node.to_owned(), Heard { silent_ms: 0, closed_ms: Some(ms) });
        self
    }

    fn absent(mut self, node: &str, listings: u32, ms: u64) -> Self {
        self.ended.remove(node);
        self.absent.insert(node.to_owned(), Absence { listings, ms });
        self
    }

    fn deaf_until(mut self, listening_ms: u64) -> Self {
        self.hearing.listening_ms = listening_ms;
        self
    }

    fn tick(self, policy: &FleetPolicy) -> FleetCommand {
        let inventory = Some(Inventory { ended: self.ended, absent: self.absent });
        FleetCommand::Tick { policy: policy.clone(), hearing: self.hearing, inventory }
    }
}

/// A fleet of two nodes with three calls up on each, and a campaign that wants no more.
fn two_busy_nodes() -> (Lab, String, String) {
    let mut lab = Lab::new();
    lab.campaign("c", 6, 1);
    lab.plan();
    lab.boot_all();
    assert_eq!(lab.tick().len(), 6);
    let ready: Vec<String> = lab.ready().into_iter().collect();
    (lab, ready[0].clone(), ready[1].clone())
}

#[test]
fn a_node_whose_pbx_is_down_is_waited_for_then_drained_and_replaced() {
    let (mut lab, broken, _) = two_busy_nodes();
    lab.node(&broken.clone(), Event::NodeStopped { node: broken.clone(), reason: "crash".into() });
    lab.now += MINUTE;
    let tick = Outside::healthy(&lab).tick(&policy());
    assert_eq!(lab.scaler(&tick), [], "a minute is its grace");
    lab.now += 1;
    let events = lab.scaler(&tick);
    assert_eq!((launches(&events), drained(&events)), (1, vec![broken.as_str()]), "{events:?}");
    assert_eq!(lab.scaler(&tick), [], "planned once");
    assert_eq!(lab.state.fleet.nodes[&broken].attempts.len(), 3, "its calls end by themselves");
}

#[test]
fn a_node_that_says_it_is_not_ready_is_no_capacity_and_one_that_is_back_is_used_again() {
    let (mut lab, spool, _) = two_busy_nodes();
    let closed = |lab: &Lab, ms| Outside::healthy(lab).closed(&spool, ms).tick(&policy());
    let tick = closed(&lab, MINUTE);
    assert_eq!(lab.scaler(&tick), []);
    let tick = closed(&lab, MINUTE + 1);
    let events = lab.scaler(&tick);
    assert_eq!((launches(&events), drained(&events)), (1, vec![spool.as_str()]));
    // The replacement does not come up; the node is well again.
    let intent = lab.state.fleet.owed_launches().next().unwrap().0.clone();
    let outcome = LaunchOutcome::Failed { code: "X".into(), reason: "no room".into(), is_final: true };
    lab.scaler(&FleetCommand::Launch { intent, outcome });
    let well = Outside::healthy(&lab).tick(&policy());
    let events = lab.scaler(&well);
    assert!(matches!(&events[..], [_, Event::NodeUndrained { node, .. }] if *node == spool), "{events:?}");
}

#[test]
fn surplus_is_taken_from_what_cannot_dial_and_never_leaves_only_a_silent_node() {
    let (mut lab, one, two) = two_busy_nodes();
    let flights = lab.in_flight();
    for (attempt, node) in flights.iter().filter(|(_, node)| *node == two) {
        lab.end(attempt, node, Outcome::Answered);
    }
    // Three calls on the first node, none on the second: one node is wanted.
    let silent = Outside::healthy(&lab).silent(&one, 10_000).tick(&policy());
    assert_eq!(lab.scaler(&silent), [], "the silent one counts as loaded, the heard one is all that dials");
    let closed = Outside::healthy(&lab).closed(&one, 1).tick(&policy());
    let events = lab.scaler(&closed);
    assert_eq!(drained(&events), [one.as_str()], "it holds calls, yet it is the one that cannot take more");
}

#[test]
fn a_silent_node_is_replaced_then_ended_with_its_calls_named() {
    let (mut lab, silent, _) = two_busy_nodes();
    let silence = |lab: &Lab, ms| Outside::healthy(lab).silent(&silent, ms);
    lab.now += 30_000;
    let tick = silence(&lab, 30_000).tick(&policy());
    assert_eq!(lab.scaler(&tick), [], "stale for half a minute: waited for");
    lab.now += 1;
    let tick = silence(&lab, 30_001).tick(&policy());
    let events = lab.scaler(&tick);
    assert_eq!((launches(&events), drained(&events)), (1, vec![]), "replaced, and left alone: {events:?}");
    lab.boot_all();
    lab.now += 15 * MINUTE;
    let tick = silence(&lab, 15 * MINUTE).tick(&policy());
    assert_eq!(lab.scaler(&tick), [], "a quarter of an hour is waited for its calls");
    let over = 15 * MINUTE + 1;
    let quiet =
        |lab: &Lab| decide(&lab.state, &silence(lab, over).deaf_until(over - 1).tick(&policy()), lab.now);
    assert_eq!(quiet(&lab), Ok(vec![]), "who was deaf knows of no silence");
    let mut unlisted = silence(&lab, over);
    unlisted.ended.clear();
    assert_eq!(decide(&lab.state, &unlisted.tick(&policy()), lab.now), Ok(vec![]), "not listed as running");
    let never = FleetPolicy { unreachable_terminate_after_ms: 0, ..policy() };
    assert_eq!(decide(&lab.state, &silence(&lab, over).tick(&never), lab.now), Ok(vec![]));

    let tick = silence(&lab, over).tick(&policy());
    let held: Vec<_> = lab.state.fleet.nodes[&silent].attempts.iter().cloned().collect();
    let events = lab.scaler(&tick);
    let [Event::FleetPlanned { .. }, Event::NodeTerminating { node, reason, cuts, silent_since_ms, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((node, cuts, *silent_since_ms), (&silent, &held, 1_000));
    assert!(reason.contains("unreachable") && reason.contains("3 attempts are cut"), "{reason}");
    // One of its calls ends in time, and is told.
    lab.end(&held[0], &silent, Outcome::Answered);
    lab.lose(&silent);
    let counts = &lab.state.campaigns["c"].counts;
    assert_eq!((counts.uncertain, counts.answered), (2, 1));
    assert_eq!((lab.state.voids, lab.state.incidents), (0, 0), "{:?}", lab.state.incident_list);
}

#[test]
fn an_end_that_cuts_calls_lands_only_if_nobody_heard_of_the_node_and_it_names_them_all() {
    let (mut lab, node, _) = two_busy_nodes();
    lab.now += 20 * MINUTE;
    let tick = Outside::healthy(&lab).silent(&node, 20 * MINUTE).tick(&policy());
    let end = decide(&lab.state, &tick, lab.now).unwrap().pop().unwrap();
    let Event::NodeTerminating { cuts, silent_since_ms, .. } = end.clone() else { panic!("{end:?}") };
    let with = |named: &[_], since| {
        let mut other = end.clone();
        if let Event::NodeTerminating { cuts, silent_since_ms, .. } = &mut other {
            (*cuts, *silent_since_ms) = (named.to_vec(), since);
        }
        other
    };
    lab.write(Origin::Role(Role::Scaler), with(&cuts[1..], silent_since_ms));
    lab.write(Origin::Role(Role::Scaler), with(&cuts, 0));
    let load = Event::NodeLoad { node: node.clone(), ringing: 0, up: 3, free_slots: 0, cpu_permille: 1 };
    lab.node(&node, load);
    lab.write(Origin::Role(Role::Scaler), end);
    assert_eq!(lab.state.voids, 3);
    assert_eq!(lab.state.fleet.nodes[&node].status, NodeStatus::Ready, "it spoke: it is used again");
    let events = decide(&lab.state, &tick, lab.now).unwrap();
    assert!(matches!(&events[..], [Event::FleetPlanned { .. }, Event::LaunchIntended { .. }]), "{events:?}");
}

#[test]
fn the_invariant_sees_a_call_that_no_rule_names() {
    let (mut lab, node, _) = two_busy_nodes();
    let cut: Vec<_> = lab.state.fleet.nodes[&node].attempts.iter().cloned().collect();
    let known = lab.state.fleet.nodes.get_mut(&node).unwrap();
    known.status = NodeStatus::Terminating;
    known.cut = cut[1..].iter().cloned().collect();
    let broken = invariant::broken(&lab.state);
    assert_eq!(broken.iter().map(|finding| finding.id).collect::<Vec<_>>(), ["INV-04"]);
    lab.state.fleet.nodes.get_mut(&node).unwrap().cut = cut.into_iter().collect();
    assert_eq!(invariant::broken(&lab.state), []);
}

#[test]
fn what_the_cloud_does_not_list_any_more_is_gone_after_many_listings_and_silence() {
    let (mut lab, node, _) = two_busy_nodes();
    lab.now += 6 * MINUTE;
    let at = |lab: &Lab, silent, listings, ms| {
        let tick = Outside::healthy(lab).silent(&node, silent).absent(&node, listings, ms).tick(&policy());
        decide(&lab.state, &tick, lab.now).unwrap()
    };
    let lost = |events: &[Event]| events.iter().any(|event| matches!(event, Event::NodeLost { .. }));
    assert!(!lost(&at(&lab, 6 * MINUTE, 1, 6 * MINUTE)), "one listing proves nothing");
    assert!(!lost(&at(&lab, 6 * MINUTE, GONE_LISTINGS, 5 * MINUTE - 1)), "nor do many at once");
    assert!(!lost(&at(&lab, 0, 99, 6 * MINUTE)), "it is heard of: the listing is wrong");
    assert!(lost(&at(&lab, 6 * MINUTE, GONE_LISTINGS, 5 * MINUTE)));
    let load = Event::NodeLoad { node: node.clone(), ringing: 0, up: 3, free_slots: 0, cpu_permille: 1 };
    lab.node(&node, load);
    assert!(!lost(&at(&lab, 6 * MINUTE, 99, 6 * MINUTE)), "its word in the log counts too");
}

#[test]
fn a_node_that_was_told_to_end_and_vanished_has_ended() {
    let (mut lab, node, _) = two_busy_nodes();
    for (attempt, home) in lab.in_flight() {
        lab.end(&attempt, &home, Outcome::Answered);
    }
    lab.tick();
    lab.plan();
    lab.node(&node.clone(), Event::NodeEmpty { node: node.clone(), drain: 1 });
    lab.plan();
    assert_eq!(lab.state.fleet.nodes[&node].status, NodeStatus::Terminating);
    let tick = |lab: &Lab| {
        Outside::healthy(lab).silent(&node, MINUTE).absent(&node, 99, 60 * MINUTE).tick(&policy())
    };
    lab.now += 5 * MINUTE - 1;
    let early = tick(&lab);
    assert_eq!(lab.scaler(&early), [], "the cloud shows things late");
    lab.now += 1;
    let ripe = tick(&lab);
    let events = lab.scaler(&ripe);
    let [Event::OriginClosed { .. }, Event::NodeTerminated { reason, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(reason.contains("not listed it for 3600 s, in 99 complete listings"), "{reason}");
    assert_eq!(lab.state.fleet.nodes[&node].status, NodeStatus::Terminated);
}

#[test]
fn a_budget_that_is_nearly_used_up_drains_the_fleet_once_and_a_larger_one_opens_it() {
    let mut lab = Lab::new();
    lab.campaign("c", 12, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    lab.campaign("more", 9, 1);
    // 100,000 micro-dollars an hour: four nodes cost 66,666 in the ten minutes a drain may take.
    let small = FleetPolicy { budget_micro_usd: 120_000, budget_reserve_ms: 10 * MINUTE, ..policy() };
    let tick = |lab: &Lab, policy: &FleetPolicy| Outside::healthy(lab).tick(policy);
    lab.now += 8 * MINUTE;
    let now = tick(&lab, &small);
    let [Event::FleetPlanned { limits: Some(limits), .. }] = &lab.scaler(&now)[..] else {
        panic!("53,333 spent: nothing is to be done but to say the limits that are new")
    };
    assert_eq!(*limits, FleetLimits::from(&small));
    assert_eq!(lab.scaler(&now), []);
    lab.now += 1_000;
    let now = tick(&lab, &small);
    let events = lab.scaler(&now);
    assert_eq!((drained(&events).len(), launches(&events)), (4, 0), "{events:?}");
    let Event::FleetPlanned { reason, budget_micro_usd: 120_000, .. } = &events[0] else {
        panic!("{events:?}")
    };
    assert!(reason.contains("53444 of the budget of 120000 micro-dollars are spent"), "{reason}");
    assert_eq!((lab.tick(), lab.scaler(&now)), (vec![], vec![]), "nothing is dialled, nothing is said twice");
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, Outcome::Answered);
    }
    let nodes: Vec<NodeId> = lab.state.fleet.existing().map(|(id, _)| id.clone()).collect();
    for node in &nodes {
        lab.node(node, Event::NodeEmpty { node: node.clone(), drain: 1 });
    }
    let now = tick(&lab, &small);
    lab.scaler(&now);
    for node in &nodes {
        lab.lose(node);
    }
    assert_eq!(lab.state.fleet.existing().count(), 0);
    let spent = cost_micro_usd(lab.state.fleet.node_ms(lab.now), &small);
    assert!(spent < 120_000, "{spent}");
    let now = tick(&lab, &small);
    assert_eq!(lab.scaler(&now), [], "what is left is not burnt by nodes that come and go");
    let large = FleetPolicy { budget_micro_usd: 400_000, ..small };
    let now = tick(&lab, &large);
    assert_eq!(launches(&lab.scaler(&now)), 3);
    assert_eq!(lab.scaler(&now), [], "what was launched is not sent home at once");
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Boot,
    Dial,
    CallsEnd,
    PbxStops(usize),
    PbxStarts(usize),
    Empties,
    Ends,
    Speaks(usize),
    Pass(u64),
    Contacts,
    Stop,
    /// A tick: bits say which nodes are silent, closed, and absent from the listing.
    Tick(u32, u32, u32, u64),
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![
        3 => Just(Boot),
        3 => Just(Dial),
        2 => Just(CallsEnd),
        1 => (0usize..6).prop_map(PbxStops),
        1 => (0usize..6).prop_map(PbxStarts),
        2 => Just(Empties),
        1 => Just(Ends),
        1 => (0usize..6).prop_map(Speaks),
        3 => (1u64..20 * MINUTE).prop_map(Pass),
        1 => Just(Contacts),
        1 => Just(Stop),
        8 => (any::<u32>(), any::<u32>(), any::<u32>(), 0u64..30 * MINUTE).prop_map(|(a, b, c, ms)| Tick(a, b, c, ms)),
    ]
}

fn nth(lab: &Lab, index: usize) -> Option<NodeId> {
    lab.state.fleet.existing().nth(index).map(|(id, _)| id.clone())
}

fn outside(lab: &Lab, (silent, closed, absent): (u32, u32, u32), ms: u64) -> Outside {
    let mut outside = Outside::healthy(lab).deaf_until(ms.saturating_mul(2));
    for (index, id) in lab.state.fleet.nodes.keys().enumerate() {
        let has = |bits: u32| bits & (1 << (index % 32)) != 0;
        if has(silent) {
            outside = outside.silent(id, ms);
        } else if has(closed) {
            outside = outside.closed(id, ms);
        }
        if has(absent) {
            outside = outside.absent(id, (ms / MINUTE) as u32, ms);
        }
    }
    outside
}

fn walk(lab: &mut Lab, policy: &FleetPolicy, step: &Step) {
    lab.now += 10;
    match step {
        Step::Boot => lab.boot_all(),
        Step::Dial => drop(lab.tick()),
        Step::CallsEnd => {
            for (attempt, node) in lab.in_flight() {
                lab.end(&attempt, &node, Outcome::Answered);
            }
        }
        Step::PbxStops(index) => {
            let Some(node) = nth(lab, *index) else { return };
            lab.node(&node.clone(), Event::NodeStopped { node, reason: "x".into() });
        }
        Step::PbxStarts(index) => {
            let Some(node) = nth(lab, *index) else { return };
            let (pbx, boot_id) = ("sim".into(), "c".into());
            lab.node(&node.clone(), Event::NodeReady { node, capacity: 3, pbx, boot_id });
        }
        Step::Empties => {
            let all: Vec<_> =
                lab.state.fleet.existing().map(|(id, node)| (id.clone(), node.clone())).collect();
            for (id, node) in all {
                if node.status == NodeStatus::Draining && node.attempts.is_empty() {
                    lab.node(&id.clone(), Event::NodeEmpty { node: id, drain: node.drain });
                }
            }
        }
        Step::Ends => {
            let mut outside = Outside::healthy(lab);
            for (id, node) in lab.state.fleet.existing() {
                outside.ended.insert(id.clone(), node.status == NodeStatus::Terminating);
            }
            lab.scaler(&outside.tick(policy));
        }
        Step::Speaks(index) => {
            let Some(node) = nth(lab, *index) else { return };
            let load =
                Event::NodeLoad { node: node.clone(), ringing: 0, up: 0, free_slots: 3, cpu_permille: 1 };
            lab.node(&node, load);
        }
        Step::Pass(ms) => lab.now += ms,
        Step::Contacts => {
            let id = format!("c{}", lab.state.campaigns.len());
            lab.campaign(&id, 5, 2);
        }
        Step::Stop => drop(lab.scaler(&FleetCommand::Stop { reason: "x".into() })),
        Step::Tick(silent, closed, absent, ms) => judge(lab, policy, (*silent, *closed, *absent), *ms),
    }
}

/// A tick, and what INV-04, 06, 07 and 14 say about what it decides.
fn judge(lab: &mut Lab, policy: &FleetPolicy, bits: (u32, u32, u32), ms: u64) {
    let (before, now, voids) = (lab.state.clone(), lab.now, lab.state.voids);
    let tick = || outside(lab, bits, ms);
    let Outside { hearing, ended, .. } = tick();
    let command = tick().tick(policy);
    let heard =
        |id: &str| hearing.nodes.get(id).is_some_and(|heard| heard.silent_ms <= policy.stale_after_ms);
    let silent = |id: &str| hearing.nodes[id].silent_ms.min(hearing.listening_ms);
    let spent = cost_micro_usd(before.fleet.node_ms(now), policy);
    let events = lab.scaler(&command);
    assert_eq!(lab.state.voids, voids, "nothing decided is void at once: {events:?}");
    let exists = |lab: &Lab| lab.state.fleet.existing().count() + lab.state.fleet.owed_launches().count();
    assert!(
        exists(lab)
            <= (policy.max_nodes as usize)
                .max(before.fleet.existing().count() + before.fleet.owed_launches().count())
    );
    for event in &events {
        match event {
            Event::LaunchIntended { .. } => {
                assert!(!before.fleet.stop_requested, "INV-14: nothing new once the fleet was told to go");
                let left = policy.budget_micro_usd.saturating_sub(spent);
                let bill = exists(lab) as u64 * policy.budget_reserve_ms;
                assert!(policy.budget_micro_usd == 0 || cost_micro_usd(bill, policy) <= left, "INV-06");
            }
            Event::NodeDraining { node, .. } | Event::NodeUndrained { node, .. } => {
                assert!(heard(node), "INV-07: silence is not idleness");
            }
            Event::NodeTerminating { node, cuts, silent_since_ms: 0, .. } => {
                let known = &before.fleet.nodes[node];
                assert!(cuts.is_empty() && known.attempts.is_empty(), "INV-04");
                assert!(known.empty || known.ready_at.is_none(), "INV-04");
            }
            Event::NodeTerminating { node, cuts, silent_since_ms, .. } => {
                let known = &before.fleet.nodes[node];
                assert!(known.attempts.iter().eq(cuts), "INV-04: every call that is cut is named");
                assert!(silent(node) > policy.unreachable_terminate_after_ms);
                assert!(now - silent_since_ms > policy.unreachable_terminate_after_ms);
                assert_eq!(ended.get(node), Some(&false), "the cloud lists it as running");
            }
            Event::NodeLost { node, .. } if !ended.contains_key(node) => {
                assert!(silent(node) > policy.dead_after_ms && ms >= policy.gone_after_ms);
            }
            _ => {}
        }
    }
    let again = outside(lab, bits, ms).tick(policy);
    // Nodes that ended, and one unreachable node a listing, are dealt with before the rest is planned.
    let ended_some = events.iter().any(|event| {
        matches!(event, Event::NodeLost { .. } | Event::NodeTerminated { .. })
            || matches!(event, Event::NodeTerminating { silent_since_ms, .. } if *silent_since_ms > 0)
    });
    if !ended_some {
        assert_eq!(decide(&lab.state, &again, lab.now), Ok(vec![]), "planned twice, after {events:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// The predicates of `invariant` are judged after every event by the lab itself.
    #[test]
    fn the_fleets_invariants_hold_whatever_gets_lost(
        history in prop::collection::vec(step(), 1..60),
        max_nodes in 1u32..6,
        budget in prop_oneof![Just(0u64), 1u64..200_000],
        reserve in 0u64..20 * MINUTE,
    ) {
        let policy = FleetPolicy { max_nodes, budget_micro_usd: budget, budget_reserve_ms: reserve, ..policy() };
        let mut lab = Lab::new();
        lab.overspends = true;
        lab.campaign("c", 12, 2);
        for step in &history {
            walk(&mut lab, &policy, step);
        }
        // INV-14, the liveness half: told to go, with every node silent for good, all of them end.
        lab.scaler(&FleetCommand::Stop { reason: "x".into() });
        lab.boot_all();
        for _ in 0..40 {
            lab.now += 16 * MINUTE;
            let everyone = u32::MAX;
            let tick = outside(&lab, (everyone, 0, 0), 16 * MINUTE).tick(&policy);
            lab.scaler(&tick);
            walk(&mut lab, &policy, &Step::Ends);
        }
        prop_assert_eq!(lab.state.fleet.existing().count(), 0, "{:?}", lab.state.fleet.nodes);
        prop_assert_eq!((lab.state.in_flight, lab.state.incidents), (0, 0), "{:?}", lab.state.incident_list);
    }
}
