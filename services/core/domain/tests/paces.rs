//! Caps over all campaigns and trunks: calls a second of the fleet and of each node, and calls at once. They are in the log
//! before anything is decided by them, hold whatever comes, are smooth within the second, and are judged from the log.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use asterism_domain::campaign::{CampaignCommand, DialTick, decide, waits};
use asterism_domain::invariant::Judge;
use asterism_domain::paces::Paces;
use asterism_domain::rules::CampaignRules;
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::{Event, Outcome, State};
use asterism_proto::{Origin, Role};
use proptest::prelude::*;
use support::trunks::judged;
use support::{Lab, loopback, rows};

/// Two nodes with so many slots each, one trunk, and the caps.
fn lab(caps: Paces, slots: u32) -> Lab {
    let mut lab = Lab::new();
    lab.now = 1_000_000;
    lab.node_of("1", slots);
    lab.node_of("2", slots);
    lab.dialer(&CampaignCommand::Paces(caps));
    lab
}

fn people(lab: &mut Lab, campaign: &str, people: u8, first: u8) {
    let mut rows = rows(people);
    for row in &mut rows {
        row.number_hash = [row.number_hash[0].wrapping_add(first); 16];
    }
    lab.campaign_with(campaign, rows, 1, CampaignRules::default());
}

/// Starts so far, with their nodes.
fn starts(lab: &Lab) -> Vec<(u64, String)> {
    let start = |event: &Event| match event {
        Event::AttemptIntended { not_before_ms, node, .. } => Some((*not_before_ms, node.clone())),
        _ => None,
    };
    lab.written.iter().filter_map(|one| start(&one.event)).collect()
}

/// Ticks for a while; calls end after 300 ms.
fn run(lab: &mut Lab, for_ms: u64, every_ms: u64) {
    let until = lab.now + for_ms;
    let mut up: BTreeMap<_, u64> = BTreeMap::new();
    while lab.now < until {
        for (attempt, node) in lab.in_flight() {
            let since = *up.entry(attempt.clone()).or_insert(lab.now);
            if lab.now >= since + 300 {
                lab.end(&attempt, &node, Outcome::Answered);
            }
        }
        lab.tick();
        lab.now += every_ms;
    }
}

/// The most starts within any `ms`.
fn most_within(starts: &[u64], ms: u64) -> usize {
    let within = |from: &u64| starts.iter().filter(|at| (*from..*from + ms).contains(*at)).count();
    starts.iter().map(within).max().unwrap_or(0)
}

#[test]
fn two_campaigns_share_the_pace_of_the_fleet_and_lose_nothing_of_it() {
    let mut lab = lab(Paces { calls_per_second: 20, ..Paces::default() }, 50);
    people(&mut lab, "c", 100, 0);
    people(&mut lab, "d", 100, 100);
    run(&mut lab, 5_000, 50);
    let mut at: Vec<u64> = starts(&lab).into_iter().map(|(at, _)| at).collect();
    assert!((100..=110).contains(&at.len()), "20 a second for 5 s and what is given out ahead: {}", at.len());
    at.sort_unstable();
    assert!(at.windows(2).all(|two| two[1] - two[0] >= 49), "one every 50 ms: {at:?}");
    for campaign in ["c", "d"] {
        let dialled = lab.state.campaigns[campaign].counts.attempts;
        assert!((40..=65).contains(&dialled), "{campaign} has its half: {dialled}");
    }
    assert_eq!((judged(&lab), lab.state.voids), (vec![], 0));
}

#[test]
fn a_node_that_is_at_its_pace_leaves_the_next_start_to_another() {
    let caps = Paces { calls_per_second: 16, node_calls_per_second: 10, max_channels: 0 };
    let mut lab = lab(caps, 50);
    people(&mut lab, "c", 120, 0);
    run(&mut lab, 5_000, 50);
    let all = starts(&lab);
    assert!((80..=90).contains(&all.len()), "nothing of the fleet's pace is lost: {}", all.len());
    for node in ["i-1", "i-2"] {
        let of: Vec<u64> = all.iter().filter(|(_, on)| on == node).map(|(at, _)| *at).collect();
        assert!(most_within(&of, 1_000) <= 11 && of.len() >= 30, "{node}: {of:?}");
    }
    assert_eq!((judged(&lab), lab.state.voids), (vec![], 0));
}

#[test]
fn no_more_are_in_flight_than_the_fleet_may_have_and_a_lower_cap_cuts_none() {
    let mut lab = lab(Paces { max_channels: 7, ..Paces::default() }, 50);
    people(&mut lab, "c", 20, 0);
    lab.tick();
    assert_eq!(lab.state.in_flight, 7);
    lab.tick();
    assert_eq!(lab.state.in_flight, 7);
    let (why, _) = waits::limit(&lab.state, "c", lab.now).unwrap();
    assert_eq!(why, "the fleet is at its cap of 7 channels");
    lab.dialer(&CampaignCommand::Paces(Paces { max_channels: 3, ..Paces::default() }));
    assert_eq!((lab.state.in_flight, judged(&lab)), (7, vec![]), "calls go on");
    for _ in 0..5 {
        let (attempt, node) = lab.in_flight().remove(0);
        lab.end(&attempt, &node, Outcome::Answered);
        lab.tick();
    }
    assert_eq!(lab.state.in_flight, 3, "and none is started before there is room");
    assert_eq!((judged(&lab), lab.state.voids), (vec![], 0));
}

#[test]
fn a_tick_of_another_configuration_says_so_in_the_log_before_it_dials() {
    let mut lab = lab(Paces::default(), 50);
    people(&mut lab, "c", 20, 0);
    let caps = Some(Paces { max_channels: 2, ..Paces::default() });
    let tick = DialTick { fresh: lab.ready(), order_window_ms: 1_000, max_intents: 100, caps };
    let tick = CampaignCommand::Tick(tick);
    let first = lab.dialer(&tick);
    assert!(matches!(first.as_slice(), [Event::PacesSet { max_channels: 2, .. }]), "{first:?}");
    assert_eq!(lab.dialer(&tick).len(), 2);
    assert_eq!(decide(&lab.state, &tick, lab.now).unwrap(), []);
}

/// A log with one start moved ahead of its pace, and a reducer that does not look: the judge finds it.
#[test]
fn a_start_before_its_time_is_void_and_one_a_reducer_let_pass_breaks_inv_03() {
    let whole = Paces { calls_per_second: 4, ..Paces::default() };
    let each = Paces { node_calls_per_second: 2, ..Paces::default() };
    for caps in [whole, each] {
        let mut lab = lab(caps, 50);
        people(&mut lab, "c", 20, 0);
        run(&mut lab, 4_000, 50);
        let mut bent = lab.written.clone();
        let intended = |one: &asterism_domain::Recorded| matches!(&one.event, Event::AttemptIntended { .. });
        let last = bent.iter().rposition(intended).unwrap();
        if let Event::AttemptIntended { not_before_ms, .. } = &mut bent[last].event {
            *not_before_ms -= 200;
        }
        let (mut state, mut judge) = (State::default(), Judge::new());
        let found: Vec<_> = bent.iter().take(last + 1).flat_map(|one| judge.apply(&mut state, one)).collect();
        assert_eq!((found, state.voids), (vec![], 1), "{caps:?}");
        let (mut state, mut judge) = (State::default(), Judge::new());
        let mut found = Vec::new();
        for one in bent.iter().take(last + 1) {
            let look = judge.before(&state, one);
            if one.sequence == last as u64 {
                state.fleet.paced.last_start_ms = 0;
                state.fleet.nodes.values_mut().for_each(|node| node.last_start_ms = 0);
            }
            state.apply(one);
            found.extend(judge.after(&state, one, look).into_iter().map(|finding| finding.id));
        }
        assert_eq!(found, ["INV-03"], "{caps:?}");
    }
}

#[test]
fn more_in_flight_than_the_fleet_may_have_is_void_and_breaks_inv_03_where_a_reducer_let_it_pass() {
    let mut lab = lab(Paces::default(), 50);
    people(&mut lab, "c", 20, 0);
    let decided = lab.decided();
    lab.dialer(&CampaignCommand::Paces(Paces { max_channels: 5, ..Paces::default() }));
    for event in decided {
        lab.write(Origin::Role(Role::Dialer), event);
    }
    assert_eq!((lab.state.in_flight, lab.state.voids), (5, 15));
    let mut bent = lab.state.clone();
    bent.fleet.paced.caps.max_channels = 4;
    let broken: Vec<_> =
        asterism_domain::invariant::broken(&bent).into_iter().map(|found| found.id).collect();
    assert_eq!(broken, ["INV-03"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever the caps, the trunk's and the campaign's beside them, and however ticks come: every cap and pace holds, no
    /// decision is void, and starts are spread over the second.
    #[test]
    fn whatever_is_asked_for_every_cap_holds(
        caps in (0u32..40, 0u32..20, 0u32..12),
        changed in (0u32..40, 0u32..20, 0u32..12),
        trunk in (0u32..30, 0u32..12),
        every_ms in 1u64..400,
    ) {
        let of = |(calls_per_second, node_calls_per_second, max_channels)| Paces {
            calls_per_second, node_calls_per_second, max_channels,
        };
        let mut lab = lab(of(caps), 8);
        lab.trunk("t", TrunkSettings { calls_per_second: trunk.0, max_channels: trunk.1, ..loopback() });
        people(&mut lab, "c", 60, 0);
        people(&mut lab, "d", 60, 100);
        run(&mut lab, 2_000, every_ms);
        let before = starts(&lab);
        if caps.0 > 0 {
            let at: Vec<u64> = before.iter().map(|(at, _)| *at).collect();
            prop_assert!(most_within(&at, 100) as u32 <= caps.0.div_ceil(10) + 1, "{:?}", at);
            prop_assert!(most_within(&at, 1_000) as u32 <= caps.0 + 1);
        }
        lab.dialer(&CampaignCommand::Paces(of(changed)));
        run(&mut lab, 2_000, every_ms);
        prop_assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
    }
}
