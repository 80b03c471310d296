//! Campaigns as stories: commands in, events and counts out; and the same under random interleavings.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use asterism_domain::campaign::{CampaignCommand, CampaignStatus, decide};
use asterism_domain::fleet::NodeStatus;
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::Heard;
use asterism_domain::{Event, EventRef, Outcome, State};
use proptest::prelude::*;
use support::Lab;
use support::trunks::new;

#[test]
fn a_campaign_runs_on_a_fleet_that_comes_and_goes() {
    let mut lab = Lab::new();
    lab.campaign("spring", 7, 1);
    assert_eq!(lab.plan().iter().filter(|e| matches!(e, Event::LaunchIntended { .. })).count(), 3);
    lab.boot_all();
    assert_eq!(lab.tick().len(), 7);
    for (index, (attempt, node)) in lab.in_flight().into_iter().enumerate() {
        let outcome = if index % 2 == 0 { Outcome::Answered } else { Outcome::Busy };
        lab.end(&attempt, &node, outcome);
    }
    assert!(matches!(lab.tick().as_slice(), [Event::CampaignCompleted { .. }]));
    assert_eq!(lab.plan().iter().filter(|e| matches!(e, Event::NodeDraining { .. })).count(), 3);
    let draining: Vec<String> = lab.state.fleet.nodes.keys().cloned().collect();
    for node in &draining {
        lab.node(node, Event::NodeEmpty { node: node.clone(), drain: 1 });
    }
    assert_eq!(lab.plan().iter().filter(|e| matches!(e, Event::NodeTerminating { .. })).count(), 3);
    for node in &draining {
        lab.lose(node);
        assert_eq!(lab.state.fleet.nodes[node].status, NodeStatus::Terminated);
    }
    let campaign = &lab.state.campaigns["spring"];
    assert_eq!(campaign.status, CampaignStatus::Completed);
    assert_eq!(campaign.counts.settled[&Outcome::Answered], 4);
    assert_eq!(campaign.counts.settled[&Outcome::Busy], 3);
    assert_eq!(campaign.counts.digits["1"], 4);
    assert_eq!((lab.state.incidents, lab.state.voids), (0, 0));
}

#[test]
fn a_refused_order_is_dialled_again_as_a_new_attempt_and_an_uncertain_one_never() {
    let mut lab = Lab::new();
    lab.campaign("c", 2, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let flights = lab.in_flight();
    let (refused, node) = flights[0].clone();
    lab.node(&node, Event::AttemptRefused { attempt: refused, reason: "expired".into() });
    let (lost, node) = flights[1].clone();
    lab.node(&node, Event::AttemptUncertain { attempt: lost, reason: "no trace".into() });
    let again = lab.tick();
    assert!(matches!(again.as_slice(), [Event::AttemptIntended { attempt, .. }] if attempt.ordinal == 2));
    let (attempt, node) = lab.in_flight()[0].clone();
    lab.end(&attempt, &node, Outcome::NoAnswer);
    assert!(matches!(lab.tick().as_slice(), [Event::CampaignCompleted { .. }]));
    let counts = &lab.state.campaigns["c"].counts;
    // The uncertain one may have rung, though nobody said that it was about to.
    assert_eq!((counts.uncertain, counts.refused, counts.rang), (1, 1, 2));
}

#[test]
fn an_attempt_that_never_rang_is_no_ring_and_still_an_attempt() {
    let mut lab = Lab::new();
    lab.campaign("c", 2, 2);
    lab.plan();
    lab.boot_all();
    let fail = |lab: &mut Lab, outcome, told: &[&str], never_rang| {
        let (attempt, node) = lab.in_flight()[0].clone();
        lab.node(&node, Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 });
        if told.contains(&"originating") {
            lab.node(&node, Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() });
        }
        if told.contains(&"answered") {
            lab.node(&node, Event::AttemptAnswered { attempt: attempt.clone() });
        }
        let (digits, path) = (String::new(), String::new());
        let (cause, reason, ring_ms, talk_ms) = (0, 0, 0, 0);
        let end = Event::AttemptEnded {
            attempt,
            outcome,
            cause,
            reason,
            ring_ms,
            talk_ms,
            digits,
            path,
            never_rang,
            sip_status: 0,
            heard: Heard::Unknown,
        };
        lab.node(&node, end);
    };
    // Twice the PBX failed before it sent anything, once told of the originate and once not: the contact had its two.
    lab.tick();
    fail(&mut lab, Outcome::Failed, &["originating"], true);
    fail(&mut lab, Outcome::Failed, &[], true);
    lab.tick();
    fail(&mut lab, Outcome::Failed, &["originating"], true);
    fail(&mut lab, Outcome::NoAnswer, &["originating"], false);
    let campaign = &lab.state.campaigns["c"];
    assert_eq!((campaign.counts.rang, campaign.counts.never_rang), (1, 3));
    assert_eq!(campaign.counts.settled.values().sum::<u32>(), 2, "as many attempts as it may have");
    assert_eq!(lab.state.incidents, 0);
    // What was answered did ring, whatever else is said.
    lab.campaign("d", 1, 1);
    lab.tick();
    fail(&mut lab, Outcome::Answered, &["originating", "answered"], true);
    let counts = &lab.state.campaigns["d"].counts;
    assert_eq!((counts.rang, counts.never_rang, lab.state.incidents), (1, 0, 1));
    assert!(asterism_domain::invariant::broken(&lab.state).is_empty());
}

#[test]
fn a_lost_nodes_attempts_are_uncertain_and_what_it_says_later_has_no_effect() {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let (attempt, node) = lab.in_flight()[0].clone();
    lab.lose(&node);
    assert_eq!(lab.state.campaigns["c"].counts.uncertain, 3);
    lab.node(&node, Event::AttemptAccepted { attempt, order_term: 1 });
    assert_eq!(lab.state.incidents, 1);
}

#[test]
fn an_intent_that_lands_after_a_drain_is_void_and_its_contact_still_waits() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 1);
    lab.plan();
    lab.boot_all();
    let before: State = lab.state.clone();
    let decided = decide(
        &before,
        &CampaignCommand::Tick(asterism_domain::campaign::DialTick {
            fresh: lab.ready(),
            order_window_ms: 2_000,
            max_intents: 9,
            caps: None,
        }),
        lab.now,
    )
    .unwrap();
    let node = lab.ready().into_iter().next().unwrap();
    lab.write(
        asterism_proto::Origin::Role(asterism_proto::Role::Scaler),
        Event::NodeDraining { node: node.clone(), reason: "test".into(), drain: 1, held: false },
    );
    lab.write(asterism_proto::Origin::Role(asterism_proto::Role::Dialer), decided[0].clone());
    assert_eq!(lab.state.voids, 1);
    assert!(lab.state.fleet.nodes[&node].unanswered.is_empty(), "pending offers nothing for a void decision");
    assert_eq!(lab.state.campaigns["c"].counts.waiting, 1);
}

#[test]
fn a_nodes_facts_may_lag_behind_the_decisions_of_later_steps() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let (call, node) = lab.in_flight()[0].clone();
    lab.node(&node, Event::AttemptAccepted { attempt: call.clone(), order_term: 1 });
    lab.node(&node, Event::AttemptOriginating { attempt: call.clone(), boot_id: "b".into() });
    lab.node(&node, Event::AttemptAnswered { attempt: call.clone() });
    let responder = asterism_proto::Origin::Proc(asterism_proto::Role::LogicResponder, "r".into());
    let mut decisions = Vec::new();
    for step in [1, 1, 2] {
        let decided = Event::StepDecided {
            call: call.clone(),
            step,
            flow: "f".into(),
            state: String::new(),
            next_state: "menu".into(),
            reply: "pause|1".into(),
            input: String::new(),
            tags: vec![],
        };
        lab.write(responder.clone(), decided);
        decisions.push(lab.written.last().map(|recorded| recorded.id.clone()));
    }
    for (step, decision) in [(1, decisions[0].clone()), (2, decisions[2].clone())] {
        let taken = Event::StepTaken {
            call: call.clone(),
            step,
            reply: "pause|1".into(),
            source: asterism_domain::event::StepSource::Responder,
            decision,
            input: String::new(),
            reason: String::new(),
            tags: vec![],
        };
        lab.node(&node, taken);
    }
    assert_eq!((lab.state.incidents, lab.state.superseded_decisions, lab.state.steps), (0, 1, 2));
}

/// A decision of the responder, and its place in the log.
fn decide_step(lab: &mut Lab, call: &asterism_domain::AttemptId, step: u32, reply: &str) -> EventRef {
    let responder = asterism_proto::Origin::Proc(asterism_proto::Role::LogicResponder, "r".into());
    let decided = Event::StepDecided {
        call: call.clone(),
        step,
        flow: "f".into(),
        state: "menu".into(),
        next_state: "bye".into(),
        reply: reply.into(),
        input: "OK 9".into(),
        tags: vec!["angry".into()],
    };
    lab.write(responder, decided);
    lab.written.last().unwrap().id.clone()
}

#[test]
fn who_opts_out_is_on_the_list_before_the_goodbye_and_a_tag_counts_when_its_step_is_taken() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 2);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let (call, node) = lab.in_flight()[0].clone();
    lab.node(&node, Event::AttemptAccepted { attempt: call.clone(), order_term: 1 });
    lab.node(&node, Event::AttemptOriginating { attempt: call.clone(), boot_id: "b".into() });
    lab.node(&node, Event::AttemptAnswered { attempt: call.clone() });
    let number = lab.state.campaigns["c"].contacts[call.contact as usize].number_hash;
    let listed =
        |lab: &Lab| lab.state.do_not_call.get("global").is_some_and(|list| list.numbers.contains(&number));
    decide_step(&mut lab, &call, 1, "play|menu|0");
    assert!(!listed(&lab));
    // Two replicas decide; whichever the call takes, nobody calls here again.
    let lost = decide_step(&mut lab, &call, 2, "optout|goodbye");
    assert!(listed(&lab));
    let taken_one = decide_step(&mut lab, &call, 2, "optout|goodbye");
    assert_ne!(lost, taken_one);
    assert!(lab.state.campaigns["c"].counts.tags.is_empty());
    let taken = Event::StepTaken {
        call: call.clone(),
        step: 2,
        reply: "optout|goodbye".into(),
        source: asterism_domain::event::StepSource::Responder,
        decision: Some(taken_one),
        input: String::new(),
        reason: String::new(),
        tags: vec!["angry".into(), "no tag".into()],
    };
    lab.node(&node, taken);
    assert_eq!(lab.state.campaigns["c"].counts.tags, BTreeMap::from([("angry".to_owned(), 1)]));
    // Its second attempt never comes.
    let ended = Event::AttemptUncertain { attempt: call.clone(), reason: "gone".into() };
    lab.node(&node, ended);
    lab.tick();
    assert_eq!((lab.in_flight(), lab.state.incidents), (vec![], 0));
}

#[test]
fn a_trunk_outside_dials_only_allowed_numbers_until_go_live() {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    lab.plan();
    lab.boot_all();
    lab.trunk("t", TrunkSettings { hosts: vec!["192.0.2.10".into()], ..support::loopback() });
    let node = lab.ready().into_iter().next().unwrap();
    lab.hold_trunks(&node);
    assert_eq!(lab.tick(), []);
    lab.dialer(&CampaignCommand::GoLive { campaign: "c".into(), reason: "tested".into() });
    assert_eq!(lab.tick().len(), 3);
}

#[test]
fn a_name_whose_calls_would_begin_another_campaigns_calls_is_refused_while_that_one_goes_on() {
    let mut lab = Lab::new();
    lab.campaign("c", 1, 1);
    lab.campaign("spring-2026-12", 1, 1);
    let refused = |lab: &Lab, id: &str| {
        let create = CampaignCommand::Create(Box::new(new(id, &["t"], &[])));
        decide(&lab.state, &create, lab.now).err().map(|rejection| rejection.code)
    };
    for id in ["c-1-1", "c-17-20-x", "c-0-1x", "spring-2026-12-1-1", "spring"] {
        assert_eq!(refused(&lab, id), Some("AST-D164"), "{id}");
    }
    for id in ["c-1", "c-1-", "c-1-x", "c-x-1", "d-1-1", "cc-1-1", "spring-2026", "sprin", "spring-2027-12"] {
        assert_eq!(refused(&lab, id), None, "{id}");
    }
    lab.dialer(&CampaignCommand::Stop { campaign: "c".into(), reason: "over".into() });
    assert_eq!(refused(&lab, "c-1-1"), None);
}

#[test]
fn starts_keep_the_trunks_pace() {
    let mut lab = Lab::new();
    lab.campaign("c", 9, 1);
    lab.plan();
    lab.boot_all();
    lab.trunk("t", TrunkSettings { calls_per_second: 10, ..support::loopback() });
    let mut starts = Vec::new();
    for _ in 0..40 {
        for event in lab.tick() {
            let Event::AttemptIntended { not_before_ms, .. } = event else { continue };
            starts.push(not_before_ms);
        }
        lab.now += 50;
    }
    assert_eq!(starts.len(), 9);
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 100), "{starts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens in whatever order, every invariant holds after every event, and a replay folds to the same.
    #[test]
    fn invariants_hold_under_any_interleaving(moves in proptest::collection::vec((0u8..10, any::<u8>()), 1..120)) {
        let mut lab = Lab::new();
        lab.campaign("c", 20, 2);
        for (kind, pick) in moves {
            step(&mut lab, kind, usize::from(pick));
            lab.now += u64::from(pick);
        }
        let mut replayed = State::default();
        for recorded in &lab.written {
            replayed.apply(recorded);
        }
        prop_assert_eq!(replayed.hash(), lab.state.hash());
    }
}

fn step(lab: &mut Lab, kind: u8, pick: usize) {
    let flights = lab.in_flight();
    let flight = (!flights.is_empty()).then(|| flights[pick % flights.len()].clone());
    let nodes: Vec<String> = lab.state.fleet.existing().map(|(id, _)| id.clone()).collect();
    match (kind, flight) {
        (0, _) => drop(lab.tick()),
        (1, _) => drop(lab.plan()),
        (2, _) => lab.boot_all(),
        (3, Some((attempt, node))) => lab.end(&attempt, &node, Outcome::Answered),
        (4, Some((attempt, node))) => lab.end(&attempt, &node, Outcome::NoAnswer),
        (5, Some((attempt, node))) => {
            lab.node(&node, Event::AttemptRefused { attempt, reason: "expired".into() });
        }
        (6, Some((attempt, node))) => {
            lab.node(&node, Event::AttemptUncertain { attempt, reason: "no trace".into() });
        }
        // A fact of another node about somebody else's attempt: an incident without effect.
        (7, Some((attempt, _))) => lab.node("i-stranger", Event::AttemptAnswered { attempt }),
        (8, _) if !nodes.is_empty() => {
            let node = nodes[pick % nodes.len()].clone();
            let drain = lab.state.fleet.nodes[&node].drain;
            if pick.is_multiple_of(2) {
                lab.lose(&node);
            } else if lab.state.fleet.nodes[&node].attempts.is_empty() {
                lab.node(&node.clone(), Event::NodeEmpty { node, drain });
            }
        }
        _ => {
            // Both sides twice in a row: nothing is decided twice.
            lab.tick();
            assert!(lab.tick().is_empty());
        }
    }
}
