//! The judge that follows a log against its control, the predicates over the whole state after every event: over random
//! and hostile histories, and with reducers that are broken on purpose in what an event touches.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;

use asterism_domain::invariant::{self, Judge, Verdict};
use asterism_domain::{Event, State};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::hostile::{Bend, Move, apply, next, recorded, story};

/// The invariants a state shows.
const OF_A_STATE: [&str; 9] =
    ["INV-01", "INV-02", "INV-03", "INV-04", "INV-05", "INV-06", "INV-10", "INV-11", "INV-15"];

/// What each of the two finds at the first position at which either finds anything.
type Both = Option<(u64, Vec<&'static str>, Vec<&'static str>)>;

/// A history as it is made up from moves, both looking on.
fn judged(moves: &[Move]) -> Both {
    let (mut state, mut judge) = (State::default(), Judge::new());
    for (at, step) in moves.iter().enumerate() {
        let (origin, event) = next(&state, *step);
        let recorded = recorded(&state, at as u64 * 100, origin, event);
        let look = judge.before(&state, &recorded);
        apply(&mut state, &recorded, step.bend, step.pick);
        let mut seen: Vec<_> =
            judge.after(&state, &recorded, look).into_iter().map(|finding| finding.id).collect();
        seen.retain(|id| OF_A_STATE.contains(id));
        seen.sort_unstable();
        let control: Vec<_> = invariant::broken(&state).into_iter().map(|finding| finding.id).collect();
        if !seen.is_empty() || !control.is_empty() {
            return Some((recorded.sequence, seen, control));
        }
    }
    None
}

/// Runs many histories; how often each invariant broke.
fn many(
    cases: u32,
    length: std::ops::Range<usize>,
    bends: impl Strategy<Value = Option<Bend>> + Clone,
) -> BTreeMap<&'static str, u32> {
    let counted = RefCell::new(BTreeMap::<&'static str, u32>::new());
    let one = (any::<u8>(), any::<u16>(), bends).prop_map(|(kind, pick, bend)| Move { kind, pick, bend });
    let histories = proptest::collection::vec(one, length);
    let cases = cases.max(ProptestConfig::default().cases);
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    let run = TestRunner::new(config).run(&histories, |moves| {
        let begun: Vec<Move> = story().into_iter().chain(moves).collect();
        let Some((position, seen, control)) = judged(&begun) else { return Ok(()) };
        prop_assert_eq!(&seen, &control, "at position {}", position);
        for id in seen {
            *counted.borrow_mut().entry(id).or_default() += 1;
        }
        Ok(())
    });
    run.unwrap();
    counted.into_inner()
}

#[test]
fn over_hostile_histories_it_finds_what_the_whole_state_shows_where_that_shows_it_first() {
    let found = many(400, 1..160, Just(None));
    // What nodes, and leaders that lie, can break by what they write; the reducers refuse the rest.
    for id in ["INV-01", "INV-03", "INV-05", "INV-06", "INV-10"] {
        assert!(found.get(id).copied().unwrap_or_default() >= 3, "{id} was never put to the test: {found:?}");
    }
}

#[test]
fn with_broken_reducers_it_finds_what_the_whole_state_shows_where_that_shows_it_first() {
    let seldom = prop_oneof![12 => Just(None), 1 => any::<u8>().prop_map(|n| Some(Bend::of(n)))];
    let found = many(1_500, 1..60, seldom);
    for id in OF_A_STATE {
        assert!(found.get(id).copied().unwrap_or_default() >= 5, "{id} was never put to the test: {found:?}");
    }
}

#[test]
fn each_way_to_break_the_reducers_is_found_at_its_event() {
    for (how, expected) in Bend::EXPECTED {
        // The event that the bend needs comes within a few moves of any kind.
        let found = (0u8..=255).find_map(|kind| {
            let mut moves = story();
            moves.push(Move { kind, pick: 0, bend: Some(how) });
            judged(&moves).filter(|(_, seen, _)| seen.contains(&expected))
        });
        let (_, seen, control) = found.unwrap_or_else(|| panic!("{how:?} broke no {expected}"));
        assert_eq!(seen, control, "{how:?}");
    }
}

/// What only a history shows, against a look at all of it.
#[test]
fn paces_orders_and_plans_are_judged_as_over_the_whole_history() {
    let one = (any::<u8>(), any::<u16>()).prop_map(|(kind, pick)| Move { kind, pick, bend: None });
    let counted = RefCell::new(BTreeMap::<&'static str, u32>::new());
    let config = ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() };
    let run = TestRunner::new(config).run(&proptest::collection::vec(one, 1..120), |moves| {
        let (mut state, mut judge, mut history) = (State::default(), Judge::new(), Vec::new());
        for (at, step) in story().iter().chain(&moves).enumerate() {
            let (origin, event) = next(&state, *step);
            let recorded = recorded(&state, at as u64 * 100, origin, event);
            let (incidents, voids) = (state.incidents, state.voids);
            let before = state.clone();
            let found: Vec<_> = judge.apply(&mut state, &recorded).into_iter().map(|one| one.id).collect();
            let took = (state.incidents, state.voids) == (incidents, voids);
            history.push((recorded, took, before, state.in_flight));
            for (id, control) in [
                ("INV-07", control::plan(&history)),
                ("INV-13", control::order(&history)),
                ("INV-14", control::launch(&history)),
            ] {
                prop_assert_eq!(found.contains(&id), control, "{} at {:?}", id, history.last());
                *counted.borrow_mut().entry(id).or_default() += u32::from(control);
                if control {
                    return Ok(());
                }
            }
        }
        Ok(())
    });
    run.unwrap();
    let counted = counted.into_inner();
    assert!(counted["INV-07"] >= 3 && counted["INV-13"] >= 3, "{counted:?}");
    assert_eq!(counted["INV-14"], 0, "a launch behind the order to go is void");
}

/// The same judgements by brute force.
mod control {
    use asterism_domain::Recorded;
    use asterism_proto::{Origin, Role};

    use super::{Event, State};

    pub type Past = (Recorded, bool, State, u32);

    /// The newest event is a plan that counted fewer attempts in flight than there ever were since the scaler spoke.
    pub fn plan(history: &[Past]) -> bool {
        let Some(((recorded, true, _, _), past)) = history.split_last() else { return false };
        let Event::FleetPlanned { in_flight, .. } = &recorded.event else { return false };
        let spoke = past.iter().rposition(|(one, ..)| one.origin == Origin::Role(Role::Scaler));
        let since =
            past.get(spoke.unwrap_or(0)..).unwrap_or_default().iter().map(|(_, _, _, flying)| *flying);
        *in_flight < if spoke.is_some() { since.min().unwrap_or(0) } else { 0 }
    }

    /// A node took an order of a term that was not the dialer's between the decision and now.
    pub fn order(history: &[Past]) -> bool {
        let Some(((recorded, true, before, _), past)) = history.split_last() else { return false };
        let Event::AttemptAccepted { attempt, order_term } = &recorded.event else { return false };
        let decided = past.iter().rev().find_map(|(one, took, ..)| match &one.event {
            Event::AttemptIntended { attempt: of, .. } if of == attempt && *took => Some(one.term),
            _ => None,
        });
        let newest = before.terms.get("dialer").copied().unwrap_or(u64::MAX);
        *order_term > 0 && (*order_term < decided.unwrap() || *order_term > newest)
    }

    /// A launch took effect behind the order to go.
    pub fn launch(history: &[Past]) -> bool {
        let Some(((recorded, true, before, _), _)) = history.split_last() else { return false };
        matches!(recorded.event, Event::LaunchIntended { .. }) && before.fleet.stop_requested
    }
}

#[test]
fn a_pace_that_the_orders_outrun_is_found_and_one_they_keep_is_not() {
    // The dialer's own decisions keep it, to the millisecond, at paces that divide no second.
    for per_second in [1, 3, 7, 13, 300, 999, 1_000, 1_700] {
        let (state, written) = support::paced(per_second, 60);
        let mut judge = Judge::new();
        let mut again = State::default();
        for recorded in &written {
            assert_eq!(judge.apply(&mut again, recorded), [], "{per_second} a second: {recorded:?}");
        }
        assert_eq!(again, state);
        // One start a little earlier is too early.
        let (mut judge, mut again, mut found) = (Judge::new(), State::default(), Vec::new());
        let mut starts = 0;
        for recorded in &written {
            let mut bent = recorded.clone();
            if let Event::AttemptIntended { not_before_ms, .. } = &mut bent.event {
                starts += 1;
                *not_before_ms -= if starts > 40 { 2 * 1_000 / u64::from(per_second).min(1_000) } else { 0 };
            }
            found.extend(judge.apply(&mut again, &bent));
        }
        assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), ["INV-03"], "{per_second} a second");
    }
}

/// Everything that one contact of many brings, in predicates asked.
#[test]
fn an_event_costs_the_same_however_large_the_state_is() {
    let per_event = |contacts: u32| {
        let (mut state, mut judge) = (State::default(), Judge::new());
        let mut events = 0;
        for (origin, event) in support::hostile::campaign_of(contacts) {
            let recorded = recorded(&state, events, origin, event);
            assert_eq!(judge.apply(&mut state, &recorded), []);
            events += 1;
        }
        assert_eq!((state.voids, state.incidents, state.campaigns["a"].counts.answered), (0, 0, contacts));
        judge.looks() as f64 / events as f64
    };
    let (small, large) = (per_event(100), per_event(4_000));
    assert!((small - large).abs() < 1.0 && large < 12.0, "{small} a predicate, then {large}");
}

#[test]
fn an_invariant_is_reported_once_and_stays_broken_at_the_end() {
    let mut moves = story();
    moves.push(Move { kind: 0, pick: 0, bend: Some(Bend::CountWaiting) });
    let (mut state, mut judge, mut reports) = (State::default(), Judge::new(), 0);
    for step in &moves {
        let (origin, event) = next(&state, *step);
        let recorded = recorded(&state, 0, origin, event);
        let look = judge.before(&state, &recorded);
        apply(&mut state, &recorded, step.bend, step.pick);
        reports += judge.after(&state, &recorded, look).len();
    }
    let id = |id| judge.findings(&state).into_iter().find(|one| one.id == id).unwrap().verdict;
    assert!(reports == 1 && matches!(id("INV-02"), Verdict::Broken(_)), "{reports}");
    assert!(matches!(id("INV-06"), Verdict::NotApplicable(_)));
    assert_eq!(id("INV-04"), Verdict::Holds);
    assert_eq!(judge.findings(&state).len(), 16);
}
