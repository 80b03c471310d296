//! What holds for every workload: no policy breaks a rule of the fleet, and ours knows nothing before its time.
#![allow(clippy::expect_used)]

use asterism_simulator::account::account;
use asterism_simulator::engine::{Run, run};
use asterism_simulator::policies::{self, Ours};
use asterism_simulator::workload::{Call, FleetFacts, List, Shortage, TrunkChange, TrunkEvent, Workload};
use proptest::prelude::*;

const HORIZON_MS: i64 = 1_800_000;

/// Half an hour of calls in a fleet of small nodes that boot in 20 s, some never.
fn workload(inbound: Vec<(i64, i64)>, outbound: Vec<i64>, deadline_ms: i64, down_ms: i64) -> Workload {
    let list = List { open_ms: 120_000, deadline_ms, calls: outbound.len() as u32 };
    let mut calls: Vec<Call> =
        inbound.into_iter().map(|(at_ms, hold_ms)| Call { at_ms, hold_ms, deadline_ms: None }).collect();
    let dialled = |hold_ms| Call { at_ms: list.open_ms, hold_ms, deadline_ms: Some(deadline_ms) };
    calls.extend(outbound.into_iter().map(dialled));
    calls.sort_by_key(|call| call.at_ms);
    let fleet = FleetFacts {
        horizon_ms: HORIZON_MS,
        prelaunch_ms: 60_000,
        capacity: 5,
        boot_nominal_ms: 20_000,
        boot_ms: vec![20_000, 17_500, -1, 23_000],
        min_bill_ms: 60_000,
        dials_per_s: 3,
        mean_inbound_hold_ms: 30_000,
        events: vec![
            TrunkEvent { t_ms: down_ms, event: TrunkChange::TrunkDown },
            TrunkEvent { t_ms: down_ms + 60_000, event: TrunkChange::TrunkUp },
        ],
        campaigns: vec![list],
        shortages: vec![Shortage { from_ms: 600_000, until_ms: 660_000 }],
        ..FleetFacts::default()
    };
    Workload { fleet, calls, ..Workload::default() }
}

fn workloads() -> impl Strategy<Value = Workload> {
    let inbound = prop::collection::vec((0..HORIZON_MS, 1_000_i64..120_000), 0..400);
    let outbound = prop::collection::vec(1_000_i64..60_000, 0..300);
    (inbound, outbound, 300_000_i64..1_500_000, 0..HORIZON_MS)
        .prop_map(|(inbound, outbound, deadline, down)| workload(inbound, outbound, deadline, down))
}

/// The same past up to a moment; other calls and other holding times after it.
fn twisted(workload: &Workload, run: &Run, at_ms: i64) -> Workload {
    let mut other = workload.clone();
    let (mut row, mut length) = (0, 0);
    other.calls.retain_mut(|call| {
        let start = run.placements[row].map(|(_, start)| start);
        row += 1;
        length = (length + 1_000) % 50_000;
        let began = match call.deadline_ms {
            None => Some(call.at_ms),
            Some(_) => start,
        };
        match began {
            Some(began) if began < at_ms => {
                if began + call.hold_ms > at_ms {
                    call.hold_ms = at_ms - began + 77_000;
                }
                true
            }
            _ if call.deadline_ms.is_none() => row % 2 == 0,
            _ => {
                call.hold_ms = 5_000 + length;
                true
            }
        }
    });
    other
}

/// A launch and an end; a node and a start.
type Lives = Vec<(i64, Option<i64>)>;
type Starts = Vec<(usize, i64)>;

/// Launches, ends and starts before a moment.
fn before(run: &Run, at_ms: i64) -> (Lives, Starts) {
    let end = |end: Option<i64>| end.filter(|end| *end < at_ms);
    let nodes = run.nodes.iter().filter(|node| node.launch_ms < at_ms);
    let lives = nodes.map(|node| (node.launch_ms, end(node.end_ms))).collect();
    let mut starts: Starts =
        run.placements.iter().flatten().copied().filter(|(_, start)| *start < at_ms).collect();
    starts.sort_unstable();
    (lives, starts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_policy_breaks_a_rule(workload in workloads()) {
        for policy in &mut policies::all(&workload) {
            let run = run(&workload, policy.as_mut());
            let account = account(&workload, &run);
            prop_assert_eq!((account.cut, account.fouls, run.refused_ends), (0, 0, 0), "{}", policy.name());
            prop_assert_eq!((account.inbound + account.outbound) as usize, workload.calls.len());
        }
    }

    #[test]
    fn nothing_is_launched_in_a_shortage_and_ours_ends_nothing_while_the_trunk_is_down(workload in workloads()) {
        let run = run(&workload, &mut Ours::new(&workload));
        let down_ms = workload.fleet.events[0].t_ms;
        for node in &run.nodes {
            prop_assert!(!(600_000..660_000).contains(&node.launch_ms));
            let ended = node.end_ms.filter(|end| (down_ms..down_ms + 59_000).contains(end));
            prop_assert!(ended.is_none_or(|end| node.ready_ms > end), "{:?} at {}", node, down_ms);
        }
    }

    #[test]
    fn ours_knows_nothing_before_its_time(workload in workloads(), at_s in 1_i64..1_800) {
        let at_ms = at_s * 1_000;
        let first = run(&workload, &mut Ours::new(&workload));
        let other = twisted(&workload, &first, at_ms);
        let second = run(&other, &mut Ours::new(&other));
        prop_assert_eq!(before(&first, at_ms), before(&second, at_ms));
    }
}

#[test]
fn an_account_finds_what_is_wrong() {
    let mut workload = workload(vec![(300_000, 50_000); 6], Vec::new(), 600_000, 0);
    workload.fleet.campaigns.clear();
    let honest = run(&workload, &mut Ours::new(&workload));
    let clean = account(&workload, &honest);
    assert_eq!((clean.cut, clean.fouls), (0, 0));
    assert_eq!(
        (clean.blocked, clean.full_ms),
        (1, vec![HORIZON_MS - 300_000]),
        "the sixth of five, and nobody after it"
    );
    let spoilt = |spoil: &dyn Fn(&mut Run)| {
        let mut run = honest.clone();
        spoil(&mut run);
        let account = account(&workload, &run);
        account.cut + account.fouls
    };
    let placed = honest.placements.iter().flatten().next().copied().expect("a call was taken");
    assert!(spoilt(&|run| run.nodes[placed.0].end_ms = Some(placed.1 + 1)) > 0, "a cut call");
    assert!(spoilt(&|run| run.nodes[placed.0].drain_ms = Some(placed.1 - 1)) > 0, "a closed node");
    assert!(spoilt(&|run| run.nodes[placed.0].ready_ms = placed.1 + 1) > 0, "a node that is not up");
    assert!(spoilt(&|run| run.placements.fill(Some(placed))) > 0, "an overfull node");
    assert!(spoilt(&|run| run.placements[0] = Some((999, placed.1))) > 0, "no such node");
    assert!(spoilt(&|run| run.placements[0] = Some((placed.0, placed.1 - 1))) > 0, "a call before it came");
}
