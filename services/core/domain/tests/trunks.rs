//! Trunks as stories: set, held by nodes, capped and paced from the log alone; failover, breaker, pace; caller ids.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::{CampaignCommand, ContactStatus, waits};
use asterism_domain::invariant::Judge;
use asterism_domain::trunk::health::{BreakerState, Heard, OPEN_MS};
use asterism_domain::trunk::{TrunkCommand, TrunkSettings};
use asterism_domain::{Event, Outcome, State};
use asterism_proto::{Origin, Role};
use support::trunks::{A, B, create, end, first, intended, judged, lab, new, refused};
use support::{Lab, loopback};

#[test]
fn a_trunk_is_added_changed_and_removed_and_a_configured_one_only_by_its_configuration() {
    let mut lab = Lab::new();
    let set = |settings: TrunkSettings, new| {
        CampaignCommand::Trunk(TrunkCommand::Set {
            trunk: "x".into(),
            settings: Box::new(settings),
            new,
            reason: "r".into(),
        })
    };
    let remove = CampaignCommand::Trunk(TrunkCommand::Remove { trunk: "x".into(), reason: "r".into() });
    assert_eq!(refused(&lab.state, &remove).0, "AST-D104");
    assert_eq!(refused(&lab.state, &set(loopback(), false)).0, "AST-D104");
    let bad = TrunkSettings { srtp: true, codecs: vec![], ..loopback() };
    let (code, why) = refused(&lab.state, &set(bad, true));
    assert!(
        code == "AST-D100" && why.contains("AST-T007: codecs") && why.contains("AST-T008: srtp"),
        "{why}"
    );
    lab.dialer(&set(loopback(), true));
    assert_eq!(refused(&lab.state, &set(loopback(), true)).0, "AST-D102");
    assert_eq!(lab.dialer(&set(loopback(), false)), [], "as it is already");
    assert_eq!(lab.dialer(&set(first(), false)).len(), 1);
    lab.dialer(&create(&["x"], &[]));
    let (code, why) = refused(&lab.state, &remove);
    assert!(code == "AST-D105" && why.contains("use it: c;"), "{why}");
    lab.dialer(&CampaignCommand::Stop { campaign: "c".into(), reason: String::new() });
    lab.dialer(&remove);
    assert!(lab.state.trunks["x"].usable().is_none());
    let configured = |trunks: &[(&str, TrunkSettings)]| {
        let trunks = trunks.iter().map(|(name, set)| ((*name).to_owned(), set.clone())).collect();
        CampaignCommand::Trunk(TrunkCommand::Configured(trunks))
    };
    let mine = configured(&[("t", loopback()), ("x", first())]);
    assert_eq!(lab.dialer(&mine).len(), 1, "t is as it was");
    assert_eq!(lab.dialer(&mine), []);
    assert_eq!(refused(&lab.state, &set(loopback(), false)).0, "AST-D101");
    assert_eq!(refused(&lab.state, &remove).0, "AST-D101");
    let gone = lab.dialer(&configured(&[("x", first())]));
    assert!(matches!(gone.as_slice(), [Event::TrunkRemoved { trunk, .. }] if trunk == "t"), "{gone:?}");
    assert_eq!((lab.state.voids, lab.state.incidents), (0, 0));
}

#[test]
fn nothing_is_dialled_on_a_trunk_its_node_does_not_have() {
    let mut lab = lab(first(), loopback(), 4, &[]);
    let other = TrunkSettings { hosts: vec!["127.0.0.1:5070".into()], ..first() };
    lab.trunk("a", other.clone());
    lab.dialer(&CampaignCommand::Pause { campaign: "c".into(), reason: String::new() });
    lab.dialer(&CampaignCommand::Resume { campaign: "c".into() });
    let on_b = intended(&lab.tick());
    assert!(on_b.len() == 4 && on_b.iter().all(|(_, trunk, _)| trunk == "b"), "{on_b:?}");
    assert_eq!(asterism_domain::trunk::decide::owed(&lab.state).count(), 1);
    // A leader that does not care is void.
    for (attempt, _, _) in on_b {
        lab.node("i-wide", Event::AttemptRefused { attempt, reason: "no slot".into() });
    }

    let mut lie = lab.decided();
    let Some(Event::AttemptIntended { trunk, .. }) = lie.first_mut() else { panic!("{lie:?}") };
    "a".clone_into(trunk);
    lab.write(Origin::Role(Role::Dialer), lie.remove(0));
    assert_eq!((lab.state.voids, lab.in_flight().len()), (1, 0));
    lab.hold_trunks("i-wide");
    assert_eq!(asterism_domain::trunk::decide::owed(&lab.state).count(), 0);
    assert!(intended(&lab.tick()).iter().all(|(_, trunk, _)| trunk == "a"));
    assert_eq!(judged(&lab), []);
}

#[test]
fn caps_and_paces_are_judged_from_the_log_alone() {
    let mut lab = lab(TrunkSettings { max_channels: 2, ..first() }, loopback(), 6, &[]);
    let on: Vec<String> = intended(&lab.tick()).into_iter().map(|(_, trunk, _)| trunk).collect();
    assert_eq!(on, ["a", "a", "b", "b", "b", "b"], "what is full spills over");
    // Lowered below what is in flight: that ends in its own time, and nothing new comes.
    lab.trunk("a", TrunkSettings { max_channels: 1, ..first() });
    assert_eq!(lab.state.trunks["a"].above_cap, 2);
    assert_eq!(judged(&lab), []);
    let (first_one, second) = (lab.in_flight()[0].0.clone(), lab.in_flight()[1].0.clone());
    let moved = lab.state.clone();
    let sequence = lab.state.size;
    // Someone who bent the reducer: the cap is broken, and the judge says so.
    let mut bent = lab.state.clone();
    let known = bent.trunks.get_mut("a").unwrap();
    (known.channels, known.above_cap) = (2, 0);
    let broken = asterism_domain::invariant::broken(&bent);
    assert!(broken.iter().any(|finding| finding.id == "INV-03"), "{broken:?}");
    assert_eq!((moved, sequence), (lab.state.clone(), lab.state.size));
    end(&mut lab, &first_one, Outcome::Busy, 486, Heard::OnlyTheEnd);
    end(&mut lab, &second, Outcome::Busy, 486, Heard::OnlyTheEnd);
    assert_eq!(lab.state.trunks["a"].above_cap, 0);
}

/// Whatever a leader decides about trunks is judged again where it lands: each of these is without effect, and for its
/// own reason.
#[test]
fn what_a_leader_decides_against_a_trunk_is_void_where_it_lands() {
    type Lie = fn(&mut Lab) -> &'static str;
    let lies: [(&str, Lie); 5] = [
        ("the cap", |lab| {
            lab.trunk("a", TrunkSettings { max_channels: 1, ..first() });
            let taken = lab.decided().remove(0);
            lab.write(Origin::Role(Role::Dialer), taken);
            "a"
        }),
        ("the breaker", |lab| {
            let (trunk, reason, state) = ("a".to_owned(), String::new(), BreakerState::Open);
            let (until_ms, causes) = (lab.now + 1, vec![]);
            let rest = Event::TrunkBreaker { trunk, state, until_ms, ends: 0, trouble: 0, causes, reason };
            lab.write(Origin::Role(Role::Dialer), rest);
            "a"
        }),
        ("turned away", |lab| {
            let one = lab.decided().remove(0);
            let on_a = intended(std::slice::from_ref(&one)).remove(0).0;
            lab.write(Origin::Role(Role::Dialer), one);
            end(lab, &on_a, Outcome::Congestion, 503, Heard::OnlyTheEnd);
            "a"
        }),
        ("removed", |lab| {
            let (trunk, reason) = ("a".to_owned(), String::new());
            lab.write(Origin::Role(Role::Dialer), Event::TrunkRemoved { trunk, reason });
            lab.state.fleet.nodes.get_mut("i-wide").unwrap().trunks.insert("a".into(), first().revision());
            "a"
        }),
        ("none of the campaign's", |_| "t"),
    ];
    for (what, lie) in lies {
        let mut lab = lab(first(), loopback(), 2, &[]);
        let on = lie(&mut lab);
        let before = lab.in_flight().len();
        let mut decided = lab.decided();
        let told = decided.iter_mut().find_map(|event| match event {
            Event::AttemptIntended { trunk, .. } => Some((trunk.clone(), trunk)),
            _ => None,
        });
        let (honest, trunk) = told.unwrap();
        assert_ne!(honest, on, "{what}: a leader that follows the rules does not");
        on.clone_into(trunk);
        let intended_event =
            decided.into_iter().find(|event| matches!(event, Event::AttemptIntended { .. })).unwrap();
        lab.write(Origin::Role(Role::Dialer), intended_event);
        assert_eq!((lab.state.voids, lab.in_flight().len()), (1, before), "{what}");
    }
}

#[test]
fn a_start_before_its_time_is_void_and_one_a_reducer_let_pass_breaks_inv_03() {
    let paced = TrunkSettings { calls_per_second: 2, ..first() };
    let mut lab = lab(paced.clone(), TrunkSettings { calls_per_second: 1, ..loopback() }, 9, &[]);
    let mut starts = Vec::new();
    for _ in 0..200 {
        for event in lab.tick() {
            if let Event::AttemptIntended { not_before_ms, trunk, .. } = event
                && trunk == "a"
            {
                starts.push(not_before_ms);
            }
        }
        lab.now += 50;
    }
    assert!(starts.windows(2).all(|two| two[1] - two[0] >= 500), "{starts:?}");
    assert_eq!((lab.state.voids, judged(&lab)), (0, vec![]));
    // The same log, one start moved: the reducer keeps it without effect.
    let mut bent = lab.written.clone();
    let last = bent
        .iter()
        .rposition(|one| matches!(&one.event, Event::AttemptIntended { trunk, .. } if trunk == "a"))
        .unwrap();
    if let Event::AttemptIntended { not_before_ms, .. } = &mut bent[last].event {
        *not_before_ms -= 200;
    }
    let (mut state, mut judge) = (State::default(), Judge::new());
    let found: Vec<_> = bent.iter().take(last + 1).flat_map(|one| judge.apply(&mut state, one)).collect();
    assert_eq!((found, state.voids), (vec![], 1));
    // And with a reducer that does not look at its pace, the judge finds it.
    let (mut state, mut judge) = (State::default(), Judge::new());
    let mut found = Vec::new();
    for one in bent.iter().take(last + 1) {
        let look = judge.before(&state, one);
        if one.sequence == last as u64 {
            state.trunks.get_mut("a").unwrap().last_start_ms = 0;
        }
        state.apply(one);
        found.extend(judge.after(&state, one, look).into_iter().map(|finding| finding.id));
    }
    assert_eq!(found, ["INV-03"]);
}

#[test]
fn a_contact_turned_away_is_tried_on_the_next_trunk_and_pays_nothing() {
    let mut lab = lab(first(), loopback(), 1, &[]);
    let on_a = intended(&lab.tick());
    assert_eq!(on_a[0].1, "a");
    end(&mut lab, &on_a[0].0, Outcome::Congestion, 503, Heard::OnlyTheEnd);
    let campaign = &lab.state.campaigns["c"];
    let person = &campaign.contacts[0];
    assert_eq!((person.rang, person.turned_away, person.tried), (0, 1, 1));
    assert_eq!((campaign.counts.rang, campaign.counts.turned_away, campaign.counts.waiting), (0, 1, 1));
    assert!(lab.state.numbers.is_empty(), "nobody was rung");
    let on_b = intended(&lab.tick());
    assert_eq!((on_b[0].0.ordinal, on_b[0].1.as_str()), (2, "b"), "at once");
    assert!(lab.written.iter().any(
        |one| matches!(&one.event, Event::AttemptIntended { reason, .. } if reason.contains("turned away"))
    ));
    // The last one has no room either: put back by the rule of congestion, still for nothing.
    end(&mut lab, &on_b[0].0, Outcome::Failed, 504, Heard::OnlyTheEnd);
    let person = &lab.state.campaigns["c"].contacts[0];
    assert_eq!((person.status.clone(), person.tried), (ContactStatus::Waiting, 0));
    assert_eq!(person.due_ms, lab.now + 5_000);
    assert!(lab.state.numbers.is_empty());
    lab.now += 5_000;
    let again = intended(&lab.tick());
    assert_eq!((again[0].0.ordinal, again[0].1.as_str()), (3, "a"));
    end(&mut lab, &again[0].0, Outcome::Answered, 200, Heard::Ringing);
    assert_eq!(lab.state.campaigns["c"].contacts[0].status, ContactStatus::Settled(Outcome::Answered));
    assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
}

#[test]
fn nobody_who_may_have_been_rung_is_tried_on_another_trunk() {
    let ends = [
        (Outcome::Congestion, 503, Heard::Ringing),  // 180, then 503
        (Outcome::Congestion, 503, Heard::Unknown),  // something may have been missed
        (Outcome::NoAnswer, 0, Heard::Silence),      // nothing at all until it was given up
        (Outcome::Busy, 486, Heard::OnlyTheEnd),     // the callee's own
        (Outcome::Answered, 503, Heard::OnlyTheEnd), // it was up
    ];
    for (outcome, sip, heard) in ends {
        let mut lab = lab(first(), loopback(), 1, &[]);
        let on_a = intended(&lab.tick());
        end(&mut lab, &on_a[0].0, outcome, sip, heard);
        let person = &lab.state.campaigns["c"].contacts[0];
        assert_eq!((person.rang, person.turned_away), (1, 0), "{outcome:?} {sip} {heard:?}");
        assert_eq!(intended(&lab.tick()), [], "{outcome:?} {sip} {heard:?}");
        assert_eq!(lab.state.numbers.len(), 1, "it counts as rung");
    }
}

#[test]
fn a_breaker_opens_on_the_mix_of_causes_probes_and_closes_or_rests_twice_as_long() {
    let mut lab = lab(
        TrunkSettings { max_channels: 12, ..first() },
        TrunkSettings { max_channels: 5, ..loopback() },
        60,
        &[],
    );
    // `a` turns everybody away, `b` carries everybody.
    let run = |lab: &mut Lab| {
        let events = lab.tick();
        for (attempt, trunk, _) in intended(&events) {
            match trunk.as_str() {
                "a" => end(lab, &attempt, Outcome::Congestion, 503, Heard::OnlyTheEnd),
                _ => end(lab, &attempt, Outcome::Answered, 200, Heard::Ringing),
            }
        }
        events
    };
    let opened = {
        run(&mut lab);
        let events = run(&mut lab);
        let breaker = events.iter().find_map(|event| match event {
            Event::TrunkBreaker { trunk, state, until_ms, ends, trouble, causes, reason } => {
                Some((trunk.clone(), *state, *until_ms, *ends, *trouble, causes.clone(), reason.clone()))
            }
            _ => None,
        });
        breaker.unwrap()
    };
    let (trunk, state, until, ends, trouble, causes, reason) = opened;
    assert_eq!((trunk.as_str(), state, until), ("a", BreakerState::Open, lab.now + OPEN_MS));
    assert!(ends == trouble && ends >= 10 && causes == [format!("503 x {trouble}")], "{causes:?}");
    assert_eq!(reason, format!("{trouble} of its last {ends} attempts were not carried"));
    let on = intended(&run(&mut lab));
    assert!(!on.is_empty() && on.iter().all(|(_, trunk, _)| trunk == "b"), "b takes over");

    lab.now += OPEN_MS;
    let half_open =
        |event: &Event| matches!(event, Event::TrunkBreaker { state: BreakerState::HalfOpen, .. });
    assert!(lab.tick().iter().any(half_open));
    let probes = intended(&run(&mut lab));
    assert_eq!(probes.iter().filter(|(_, trunk, _)| trunk == "a").count(), 4, "{probes:?}");
    let again = lab.tick();
    let Some(Event::TrunkBreaker { state, until_ms, .. }) = again.first() else { panic!("{again:?}") };
    assert_eq!((*state, *until_ms), (BreakerState::Open, lab.now + 2 * OPEN_MS));
    lab.now += 2 * OPEN_MS;
    lab.tick();
    for (attempt, _, _) in intended(&lab.tick()) {
        end(&mut lab, &attempt, Outcome::Answered, 200, Heard::Ringing);
    }
    assert!(lab.tick().iter().any(|event| matches!(
        event,
        Event::TrunkBreaker { state: BreakerState::Closed, reason, .. } if reason == "4 of 4 probes were carried"
    )));
    assert_eq!(lab.state.trunks["a"].health.breaker.opened, 0);
    assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
}

#[test]
fn congestion_halves_the_pace_and_room_gives_it_back_a_tenth_at_a_time() {
    let fast = TrunkSettings { calls_per_second: 20, ..first() };
    let mut lab = lab(fast, TrunkSettings { calls_per_second: 1, ..loopback() }, 190, &[]);
    let mut paces = Vec::new();
    for round in 0..900u32 {
        for event in lab.tick() {
            match event {
                Event::TrunkPaced { trunk, per_1000_s, .. } if trunk == "a" => paces.push(per_1000_s),
                Event::AttemptIntended { attempt, trunk, .. } => {
                    // For a while one of five has no room.
                    let full = trunk == "a" && round < 20 && attempt.contact % 5 == 0;
                    let (outcome, sip) =
                        if full { (Outcome::Congestion, 503) } else { (Outcome::Answered, 200) };
                    let heard = if full { Heard::OnlyTheEnd } else { Heard::Ringing };
                    end(&mut lab, &attempt, outcome, sip, heard);
                }
                _ => {}
            }
        }
        lab.now += 100;
    }
    assert_eq!(paces.first(), Some(&10_000), "half of 20 a second: {paces:?}");
    assert_eq!(paces.last(), Some(&0), "full again: {paces:?}");
    let grows: Vec<u32> = paces
        .iter()
        .copied()
        .skip_while(|pace| *pace != *paces.iter().filter(|p| **p > 0).min().unwrap())
        .collect();
    assert!(grows.windows(2).all(|two| two[1] == two[0] + 2_000 || two[1] == 0), "{paces:?}");
    assert_eq!((judged(&lab), lab.state.voids), (vec![], 0));
}

#[test]
fn each_attempt_shows_the_number_whose_turn_it_is_and_the_trunk_allows() {
    let only = |number: &str| vec![number.to_owned()];
    let none = lab(first(), TrunkSettings { caller_ids: only(B), ..loopback() }, 1, &[]);
    let again =
        |trunks: &[&str], numbers: &[&str]| CampaignCommand::Create(Box::new(new("d", trunks, numbers)));
    let (code, why) = refused(&none.state, &again(&["b"], &[A]));
    assert!(code == "AST-D009" && why.contains(&format!("may show {A}")), "{why}");
    assert_eq!(refused(&none.state, &again(&["b"], &["12"])).0, "AST-D009");
    assert_eq!(refused(&none.state, &again(&["a", "b"], &[A])).0, "AST-D009", "b shows none of them");
    let (code, why) = refused(&none.state, &again(&["a", "x", "a"], &[]));
    assert!(code == "AST-D043" && why.contains("no trunk `x`") && why.contains("a is named twice"), "{why}");
    let mut lab = lab(
        TrunkSettings { max_channels: 2, ..first() },
        TrunkSettings { caller_ids: only(B), ..loopback() },
        4,
        &[A, B],
    );
    let shown: Vec<(String, String)> =
        intended(&lab.tick()).into_iter().map(|(_, trunk, number)| (trunk, number)).collect();
    let is = |trunk: &str, number: &str| (trunk.to_owned(), number.to_owned());
    assert_eq!(shown, [is("a", A), is("a", B), is("b", B), is("b", B)]);
    // The next attempt of a contact shows the next number.
    let first_one = lab.in_flight()[0].0.clone();
    end(&mut lab, &first_one, Outcome::Congestion, 0, Heard::Unknown);
    lab.now += 5_000;
    let mut decided = lab.decided();
    assert_eq!(intended(&decided)[0].2, B);
    if let Some(Event::AttemptIntended { caller_id, .. }) = decided.first_mut() {
        A.clone_into(caller_id);
    }
    lab.write(Origin::Role(Role::Dialer), decided.remove(0));
    assert_eq!(lab.state.voids, 1, "a leader shows what it likes");
}

#[test]
fn why_somebody_waits_is_said_in_plain_words() {
    let mut lab = lab(first(), TrunkSettings { max_channels: 1, ..loopback() }, 1, &[]);
    let on_a = intended(&lab.tick());
    end(&mut lab, &on_a[0].0, Outcome::Congestion, 503, Heard::OnlyTheEnd);
    let says =
        |lab: &Lab| waits::waits_for(&lab.state, "c", &lab.state.campaigns["c"].contacts[0], lab.now).0;
    lab.state.trunks.get_mut("b").unwrap().channels = 1;
    assert_eq!(says(&lab), "for a trunk: a: it turned this contact away; b: it is at its cap of 1 channels");
    let gone = TrunkCommand::Configured([("a".to_owned(), first())].into());
    lab.dialer(&CampaignCommand::Trunk(gone));
    assert_eq!(says(&lab), "for its turn: it can be dialled now", "on each that is left once more");
}
