//! A campaign's numbers: every contact in exactly one state and every attempt counted once, whatever nodes and leaders write.
#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::Contact;
use asterism_domain::event::StepSource;
use asterism_domain::report::{self, numbers};
use asterism_domain::rules::{CampaignRules, Price};
use asterism_domain::{AttemptId, Event, Outcome, State};
use proptest::prelude::*;
use support::Lab;
use support::hostile::{Move, next, recorded, story};

fn right(state: &State) -> Result<(), TestCaseError> {
    for shown in report::campaigns(state, state.at) {
        let told = numbers::numbers(state, &shown.campaign).unwrap();
        let stands = |name: &str| told.contacts.get(name).copied().unwrap_or_default();
        let of = |prefix: &str| {
            told.contacts
                .iter()
                .filter(|(name, _)| name.starts_with(prefix))
                .map(|(_, count)| count)
                .sum::<u32>()
        };
        // Counted by the reducer as it goes, and here one by one.
        prop_assert_eq!(told.contacts_total(), shown.contacts);
        prop_assert_eq!(stands("waiting"), shown.waiting);
        prop_assert_eq!(stands("in flight"), shown.in_flight);
        prop_assert_eq!(stands("uncertain"), shown.uncertain);
        prop_assert_eq!(stands("erased"), shown.erased);
        prop_assert_eq!(of("excluded: "), shown.excluded);
        prop_assert_eq!(of("settled: ") + of("excluded: "), shown.settled);
        prop_assert_eq!(told.attempts_per_contact.values().sum::<u32>(), shown.contacts);
        let steps = told.funnel.steps();
        prop_assert_eq!(steps[0].1, shown.contacts);
        prop_assert!(steps.windows(2).all(|two| two[0].1 >= two[1].1), "{:?}", steps);
        let over: u32 = told.hours.values().flat_map(|outcomes| outcomes.values()).sum();
        prop_assert_eq!(over + told.in_flight, told.attempts, "{:?}", told.hours);
        prop_assert!(told.ended_calls <= over);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_contact_is_in_one_state_and_every_attempt_is_counted_once(
        moves in proptest::collection::vec((any::<u8>(), any::<u16>()), 1..160),
    ) {
        let mut state = State::default();
        let moves = moves.into_iter().map(|(kind, pick)| Move { kind, pick, bend: None });
        for (at, step) in story().into_iter().chain(moves).enumerate() {
            let (origin, event) = next(&state, step);
            state.apply(&recorded(&state, at as u64 * 1_000_000, origin, event));
            right(&state)?;
        }
    }
}

#[test]
fn a_contact_takes_no_more_memory_than_before() {
    assert!(size_of::<Contact>() <= 80, "{}", size_of::<Contact>());
}

/// Two campaigns share a fleet: each has the share of its cost that its attempts' time in slots is.
#[test]
fn what_the_nodes_cost_is_shared_by_slot_time() {
    let mut lab = Lab::new();
    lab.plan(); // before a campaign waits nothing is launched, and prices are set
    let price = Price { call_micro: 10_000, minute_micro: 0, currency: "USD".into() };
    for (id, person) in ["long", "short"].into_iter().zip(support::rows(2)) {
        lab.campaign_with(
            id,
            vec![person],
            1,
            CampaignRules { price: price.clone(), ..CampaignRules::default() },
        );
    }
    lab.plan();
    lab.boot_all();
    lab.tick();
    let open = lab.in_flight();
    assert_eq!(open.len(), 2);
    for (id, minutes) in [("short", 10), ("long", 30)] {
        lab.now = 1_000 + minutes * 60_000;
        let (attempt, node) = open.iter().find(|(attempt, _)| attempt.campaign == id).unwrap();
        lab.end(attempt, node, Outcome::Answered);
        lab.tick(); // it completes
    }
    let cost = |id: &str| numbers::numbers(&lab.state, id).unwrap().cost;
    let (long, short) = (cost("long"), cost("short"));
    // One node at 0.10 USD an hour: 10 minutes when the short one ended, of which each has half; 30 when the long one did,
    // of which it has 30 of 40 minutes of slot time.
    assert_eq!(short.fleet.as_deref(), Some("0.016666 USD"), "{short:?}");
    assert_eq!(short.nodes.as_deref(), Some("0.008333 USD"), "{short:?}");
    assert_eq!(long.fleet.as_deref(), Some("0.05 USD"), "{long:?}");
    assert_eq!(long.nodes.as_deref(), Some("0.0375 USD"), "{long:?}");
    assert_eq!((long.calls.as_deref(), long.per_answer.as_deref()), (Some("0.01 USD"), Some("0.0475 USD")));
}

fn taken(call: AttemptId, reply: &str) -> Event {
    Event::StepTaken {
        call,
        step: 1,
        reply: reply.into(),
        source: StepSource::Fallback,
        decision: None,
        input: String::new(),
        reason: "nobody answered".into(),
        tags: vec!["late".into()],
    }
}

#[test]
fn a_call_is_finished_when_the_flow_hangs_up_and_not_when_the_callee_does() {
    let mut lab = Lab::new();
    lab.campaign("c", 2, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let none = numbers::numbers(&lab.state, "c").unwrap();
    assert_eq!(
        (none.cost.per_answer, none.average_talk_ms, none.answer_seizure_permille),
        (None, None, None)
    );
    for (attempt, node) in lab.in_flight() {
        let call = attempt.clone();
        lab.node(&node, Event::AttemptAccepted { attempt: call.clone(), order_term: 1 });
        lab.node(&node, Event::AttemptOriginating { attempt: call.clone(), boot_id: "b".into() });
        lab.node(&node, Event::AttemptAnswered { attempt: call.clone() });
        let reply = if call.contact == 0 { "hangup|16" } else { "play|m/hello" };
        lab.node(&node, taken(call, reply));
    }
    let told = numbers::numbers(&lab.state, "c").unwrap();
    assert_eq!(told.funnel.steps().map(|(_, count)| count), [2, 2, 2, 2, 2, 1]);
    assert_eq!((told.answer_seizure_permille, told.in_flight, told.tags["late"]), (Some(1_000), 2, 2));
}
