//! The plan asks staffing: deadlines, paces and holding times as learnt say how many nodes, and a low load that may come
//! from something broken drains nobody.
#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::fleet::plan::plan;
use asterism_domain::fleet::{FleetPolicy, FleetView, Hearing, need};
use asterism_domain::rules::{CallingWindow, CampaignRules, RetryRule};
use asterism_domain::{Event, Outcome, State};
use proptest::prelude::*;
use support::{Lab, drained, rows};

const HOUR: u64 = 3_600_000;
/// 1970-01-05, a Monday, midnight UTC.
const MONDAY: u64 = 4 * 24 * HOUR;

fn policy() -> FleetPolicy {
    FleetPolicy { max_nodes: 1_000, ..support::policy() }
}

/// Nodes wanted, and the sentence.
fn wanted(state: &State, policy: &FleetPolicy, at: u64) -> (u32, String) {
    let (need, hearing) = (need(state, policy, at), Hearing::default());
    let view = FleetView {
        fleet: &state.fleet,
        need: &need,
        in_flight: state.in_flight,
        hearing: &hearing,
        seen: None,
        checkpoint: state.checkpoint,
    };
    let plan = plan(&view, policy, at);
    (plan.wanted, plan.reason)
}

fn by_a_deadline(in_ms: u64) -> Lab {
    let mut lab = Lab::new();
    let rules = CampaignRules { deadline_ms: lab.now + in_ms, ..CampaignRules::default() };
    lab.campaign_with("c", rows(200), 1, rules);
    lab
}

#[test]
fn a_deadline_far_off_needs_few_nodes_and_a_near_one_many() {
    // 200 calls of 30 s: 6,000 s of slots, 3 a node.
    let nodes = |lab: &Lab, at| wanted(&lab.state, &policy(), at).0;
    let lab = by_a_deadline(HOUR);
    assert_eq!(nodes(&lab, lab.now), 1, "1.8 slots for an hour less what is kept for what nobody foresees");
    assert_eq!(nodes(&lab, lab.now + HOUR / 2), 2);
    assert_eq!(nodes(&lab, lab.now + 50 * 60_000), 5);
    assert_eq!(nodes(&lab, lab.now + HOUR - 1), 67, "all at once");
    let (_, why) = wanted(&lab.state, &policy(), lab.now);
    assert!(
        why.starts_with(
            "200 waiting and 0 in flight of about 30 s each ask for 2 slots at 3 a node: 1 nodes"
        )
    );
    let mut soon = Lab::new();
    soon.campaign("c", 200, 1);
    assert_eq!(nodes(&soon, soon.now), 67, "nobody said that it may take its time");
}

#[test]
fn a_pace_fills_so_many_slots_and_no_more() {
    let mut lab = Lab::new();
    lab.campaign_at("c", 200, 1, 2);
    // 2 calls a second of 30 s: 60 slots and three roots of that for chance.
    assert_eq!(wanted(&lab.state, &policy(), lab.now).0, 27);
}

#[test]
fn only_the_hours_in_which_people_may_be_rung_count_before_a_deadline() {
    let all_day = CallingWindow { weekdays: 127, from_minute: 0, to_minute: 1_440 };
    let morning = CallingWindow { weekdays: 127, from_minute: 540, to_minute: 550 };
    let lab = |window| {
        let mut lab = Lab::new();
        lab.now = MONDAY + 9 * HOUR;
        let rules = CampaignRules {
            deadline_ms: lab.now + 48 * HOUR,
            windows: vec![window],
            default_zone: "UTC".into(),
            ..CampaignRules::default()
        };
        lab.campaign_with("c", rows(200), 1, rules);
        lab
    };
    let (always, mornings) = (lab(all_day), lab(morning));
    assert_eq!(wanted(&always.state, &policy(), always.now).0, 1);
    // Ten minutes today and ten tomorrow, the day after is too late: 6,000 s of slots in 1,200 s less some.
    let (nodes, why) = wanted(&mornings.state, &policy(), mornings.now);
    assert_eq!(nodes, 2, "{why}");
    assert_eq!(wanted(&mornings.state, &policy(), mornings.now + HOUR).0, 0, "closed, and not open soon");
}

/// Two nodes that dialled six people whose calls ended as `outcome` says, and who are to be dialled again in half an hour.
fn dialled(outcome: Outcome, rounds: u8) -> Lab {
    let mut lab = Lab::new();
    let again =
        |outcome| RetryRule { outcome, delay_ms: 1_800_000, max: 9, doubling: false, another_trunk: false };
    let retries = vec![again(Outcome::Failed), again(Outcome::NoAnswer)];
    lab.campaign_with("c", rows(6 * rounds), 9, CampaignRules { retries, ..CampaignRules::default() });
    let two = FleetPolicy { max_nodes: 2, ..support::policy() };
    for _ in 0..rounds {
        plan_with(&mut lab, &two);
        lab.boot_all();
        lab.tick();
        lab.now += 1_000;
        for (attempt, node) in lab.in_flight() {
            lab.end(&attempt, &node, outcome);
        }
    }
    lab
}

fn plan_with(lab: &mut Lab, policy: &FleetPolicy) -> Vec<Event> {
    let hearing = support::hearing(&lab.ready());
    lab.scaler(&asterism_domain::fleet::FleetCommand::Tick {
        policy: policy.clone(),
        hearing,
        inventory: None,
    })
}

#[test]
fn a_fleet_whose_calls_all_fail_is_not_drained_for_want_of_work() {
    let mut broken = dialled(Outcome::Failed, 5);
    assert_eq!(broken.state.fleet.existing().count(), 2);
    assert_eq!(drained(&broken.plan()).len(), 0, "nothing is due for half an hour, and no call went through");
    let (_, why) = wanted(&broken.state, &policy(), broken.now);
    assert!(why.ends_with("100 % of the last attempts failed: no node goes for want of work"), "{why}");
    let mut well = dialled(Outcome::NoAnswer, 5);
    assert_eq!(drained(&well.plan()).len(), 2, "people who do not answer are no trouble");
    // What is over is over: nobody waits any more.
    broken.dialer(&asterism_domain::campaign::CampaignCommand::Stop {
        campaign: "c".into(),
        reason: "x".into(),
    });
    assert_eq!(drained(&broken.plan()).len(), 2);
}

#[test]
fn who_folds_the_log_again_plans_the_same() {
    let lab = dialled(Outcome::Failed, 5);
    let mut again = State::default();
    lab.written.iter().for_each(|recorded| again.apply(recorded));
    let read = State::from_bytes(&again.to_bytes()).unwrap();
    assert_eq!((&again, &read), (&lab.state, &lab.state));
    assert!(need(&again, &policy(), lab.now).trouble.is_some());
    assert_eq!(wanted(&read, &policy(), lab.now), wanted(&lab.state, &policy(), lab.now));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_nearer_deadline_never_asks_for_fewer_nodes(first in 1_u64..8 * HOUR, later in 0_u64..8 * HOUR) {
        let near = by_a_deadline(first);
        let far = by_a_deadline(first + later);
        let at = near.now;
        prop_assert!(wanted(&near.state, &policy(), at).0 >= wanted(&far.state, &policy(), at).0);
    }

    #[test]
    fn what_is_asked_for_is_enough_in_time(in_s in 200_u64..30_000) {
        let lab = by_a_deadline(in_s * 1_000);
        let nodes = u64::from(wanted(&lab.state, &policy(), lab.now).0);
        // All calls take 6,000 s of slots; each node has three.
        prop_assert!(nodes * 3 * in_s >= 6_000, "{nodes} nodes in {in_s} s");
    }
}
