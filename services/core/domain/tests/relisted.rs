//! A campaign that is given other trunks while it runs: who is tried where afterwards, what becomes of calls on a trunk that
//! left, and what is refused.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use asterism_domain::campaign::{CampaignCommand, ContactStatus};
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::Heard;
use asterism_domain::{AttemptId, Event, Outcome, State};
use proptest::prelude::*;
use support::trunks::{A, B, end, first, intended, judged, lab, limits, refused};
use support::{Lab, loopback};

fn change(trunks: &[&str], caller_ids: &[&str]) -> CampaignCommand {
    CampaignCommand::Change {
        campaign: "c".into(),
        limits: Box::new(limits(caller_ids)),
        trunks: trunks.iter().map(ToString::to_string).collect(),
        manifest: String::new(),
        reason: "a is ill".into(),
    }
}

fn away(lab: &mut Lab, attempt: &AttemptId) {
    end(lab, attempt, Outcome::Congestion, 503, Heard::OnlyTheEnd);
}

#[test]
fn who_was_turned_away_by_a_trunk_that_stays_is_not_tried_there_again() {
    let mut lab = lab(first(), loopback(), 1, &[]);
    let on_a = intended(&lab.tick()).remove(0);
    assert_eq!(on_a.1, "a");
    away(&mut lab, &on_a.0);
    // `a` has another place now, and still the highest priority.
    let said = lab.dialer(&change(&["t", "a"], &[]));
    assert!(
        matches!(said.as_slice(), [Event::CampaignChanged { trunks, .. }] if *trunks == ["t", "a"]),
        "{said:?}"
    );
    assert_eq!(
        (lab.state.campaigns["c"].trunk.as_str(), lab.state.campaigns["c"].contacts[0].tried),
        ("t", 0b10)
    );
    let on_t = intended(&lab.tick()).remove(0);
    assert_eq!((on_t.0.ordinal, on_t.1.as_str()), (2, "t"));
    // Its trunk leaves while it is called, and turns it away: `b` is new to it, `a` is not.
    lab.dialer(&change(&["a", "b"], &[]));
    away(&mut lab, &on_t.0);
    assert_eq!(lab.state.campaigns["c"].contacts[0].tried, 0b01);
    let on_b = intended(&lab.tick()).remove(0);
    assert_eq!((on_b.0.ordinal, on_b.1.as_str()), (3, "b"));
    away(&mut lab, &on_b.0);
    assert_eq!(
        lab.state.campaigns["c"].contacts[0].tried, 0,
        "put off by the rule of congestion, and tried anew then"
    );
    assert_eq!((judged(&lab), lab.state.voids, lab.state.incidents), (vec![], 0, 0));
}

#[test]
fn who_has_no_trunk_left_is_tried_on_each_once_more_and_nobody_who_was_rung_is() {
    let mut lab = lab(first(), loopback(), 2, &[]);
    let on_a = intended(&lab.tick());
    away(&mut lab, &on_a[0].0);
    end(&mut lab, &on_a[1].0, Outcome::Busy, 486, Heard::OnlyTheEnd);
    lab.dialer(&change(&["a"], &[]));
    let again: Vec<(u32, u32, String)> =
        intended(&lab.tick()).into_iter().map(|(id, trunk, _)| (id.contact, id.ordinal, trunk)).collect();
    assert_eq!(again, [(0, 2, "a".to_owned())], "its one attempt is spent for the other");
}

#[test]
fn calls_on_a_trunk_that_left_end_as_they_would_have_and_nothing_new_comes_on_it() {
    let mut lab = lab(TrunkSettings { max_channels: 3, ..first() }, loopback(), 8, &[]);
    let on = intended(&lab.tick());
    assert_eq!(on.iter().filter(|(_, trunk, _)| trunk == "a").count(), 3);
    lab.dialer(&change(&["b"], &[]));
    assert_eq!((lab.state.trunks["a"].in_flight, lab.state.trunks["b"].in_flight), (3, 5));
    end(&mut lab, &on[0].0, Outcome::Answered, 200, Heard::Ringing);
    away(&mut lab, &on[1].0);
    let node = lab.in_flight()[0].1.clone();
    lab.node(&node, Event::AttemptRefused { attempt: on[2].0.clone(), reason: "late".into() });
    assert_eq!(lab.state.trunks["a"].in_flight, 0);
    assert_eq!(lab.state.trunks["a"].health.ends.len(), 2, "its carrier said something all the same");
    let of = |lab: &Lab, contact: usize| lab.state.campaigns["c"].contacts[contact].clone();
    assert_eq!(of(&lab, 0).status, ContactStatus::Settled(Outcome::Answered));
    assert_eq!((of(&lab, 1).turned_away, of(&lab, 1).rang, of(&lab, 1).tried), (1, 0, 0));
    let next = intended(&lab.tick());
    assert!(next.len() == 2 && next.iter().all(|(_, trunk, _)| trunk == "b"), "{next:?}");
    // A leader that decides on the trunk that left has no effect.
    lab.dialer(&CampaignCommand::Import {
        campaign: "c".into(),
        import: "c-2".into(),
        rows: vec![asterism_domain::campaign::command::ImportRow {
            number_hash: [99; 16],
            sealed: vec![9; 60],
            ..Default::default()
        }],
        last: true,
        skip_known: vec![],
    });
    let mut lie = lab.decided().remove(0);
    if let Event::AttemptIntended { trunk, .. } = &mut lie {
        "a".clone_into(trunk);
    }
    lab.write(asterism_proto::Origin::Role(asterism_proto::Role::Dialer), lie);
    assert_eq!((lab.state.voids, lab.state.trunks["a"].in_flight), (1, 0));
    assert_eq!((judged(&lab), lab.state.incidents), (vec![], 0));
}

#[test]
fn all_that_is_wrong_with_other_trunks_is_said_at_once_and_nothing_is_changed() {
    let mut lab = lab(first(), TrunkSettings { caller_ids: vec![B.to_owned()], ..loopback() }, 1, &[A, B]);
    lab.trunk("far", TrunkSettings { hosts: vec!["192.0.2.10".into()], ..TrunkSettings::default() });
    let before = lab.state.clone();
    let (code, why) = refused(&lab.state, &change(&["b", "far", "gone", "b"], &[A]));
    assert_eq!(code, "AST-D043");
    for wrong in [
        "AST-D043: there is no trunk `gone`",
        "AST-D008: the trunk b is named twice",
        "AST-D009: the trunk b may show none of the campaign's caller ids",
        "AST-D044: a trunk leads outside this machine",
    ] {
        assert!(why.contains(wrong), "{wrong:?} is missing in\n{why}");
    }
    assert_eq!(refused(&lab.state, &change(&["t"; 9], &[])).0, "AST-D008");
    assert_eq!(lab.state, before);
    // Its own, in another order, are others; named as they are, they are not.
    let same = lab.dialer(&change(&["a", "b"], &[A, B]));
    assert!(
        matches!(same.as_slice(), [Event::CampaignChanged { trunks, .. }] if trunks.is_empty()),
        "{same:?}"
    );
    lab.dialer(&CampaignCommand::GoLive { campaign: "c".into(), reason: String::new() });
    lab.dialer(&change(&["far"], &[A]));
    assert_eq!(lab.state.campaigns["c"].trunks, ["far"]);
    lab.dialer(&CampaignCommand::Stop { campaign: "c".into(), reason: String::new() });
    assert_eq!(refused(&lab.state, &change(&["a"], &[A])).0, "AST-D012");
}

/// Every list of these three, in every order.
fn lists() -> Vec<Vec<&'static str>> {
    let names = ["a", "b", "t"];
    let mut all: Vec<Vec<&'static str>> = names.iter().map(|one| vec![*one]).collect();
    for one in names {
        for two in names.iter().filter(|two| **two != one) {
            all.push(vec![one, two]);
            all.extend(
                names
                    .iter()
                    .filter(|three| **three != one && *three != two)
                    .map(|three| vec![one, two, *three]),
            );
        }
    }
    all
}

/// By whom each contact was turned away since it was last rung or put off, by name: what the bits of the state are to say.
#[derive(Default)]
struct Remembered {
    by: BTreeMap<u32, BTreeSet<String>>,
    on: BTreeMap<AttemptId, String>,
    listed: Vec<String>,
}

impl Remembered {
    /// Looks at an event before it is applied; why it may not be, if so.
    fn see(&mut self, state: &State, event: &Event) -> Option<String> {
        match event {
            Event::AttemptIntended { attempt, trunk, .. } => {
                self.on.insert(attempt.clone(), trunk.clone());
                let turned_away = self.by.get(&attempt.contact).is_some_and(|by| by.contains(trunk));
                let wrong = turned_away || !self.listed.contains(trunk);
                wrong.then(|| format!("{attempt} on {trunk} of {:?}", self.listed))
            }
            Event::AttemptEnded { attempt, sip_status, heard, outcome, .. } => {
                let on = self.on.get(attempt)?.clone();
                let by = self.by.entry(attempt.contact).or_default();
                let refused = *heard == Heard::OnlyTheEnd && [500, 503].contains(sip_status);
                let usable = |name: &String| state.trunks[name].usable().is_some();
                let left = self.listed.iter().any(|name| *name != on && !by.contains(name) && usable(name));
                if refused && left && *outcome != Outcome::Answered {
                    by.extend(self.listed.contains(&on).then_some(on));
                } else {
                    by.clear();
                }
                None
            }
            Event::CampaignChanged { trunks, .. } if !trunks.is_empty() => {
                self.listed.clone_from(trunks);
                for by in self.by.values_mut() {
                    by.retain(|name| trunks.contains(name));
                    if by.len() == trunks.len() {
                        by.clear();
                    }
                }
                None
            }
            _ => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Trunks come and go while carriers turn people away: nobody is tried where he was turned away by a trunk that stayed,
    /// unless all have; nothing is decided on a trunk that left; each attempt that was on one ends and gives back its room.
    #[test]
    fn nobody_is_tried_twice_where_he_was_turned_away(
        moves in proptest::collection::vec((0u8..8, any::<u8>()), 1..160)
    ) {
        let mut lab = lab(first(), loopback(), 12, &[A, B]);
        for (kind, pick) in moves {
            let pick = usize::from(pick);
            let flying = lab.in_flight();
            let one = flying.get(pick % flying.len().max(1)).cloned();
            match (kind, one) {
                (0..=2, Some((id, _))) => end(&mut lab, &id, Outcome::Congestion, [503, 500][pick % 2], Heard::OnlyTheEnd),
                (3, Some((id, _))) => end(&mut lab, &id, Outcome::ALL[pick % 8], 486, Heard::Ringing),
                (4, Some((id, node))) => lab.node(&node, Event::AttemptRefused { attempt: id, reason: String::new() }),
                (5, _) if lab.state.campaigns["c"].ended_at.is_none() => { lab.dialer(&change(&lists()[pick % lists().len()], &[A, B])); }
                (6, _) => lab.now += 6_000,
                _ => { lab.tick(); }
            }
            lab.now += pick as u64;
        }
        for (id, _) in lab.in_flight() {
            end(&mut lab, &id, Outcome::Answered, 200, Heard::Ringing);
        }
        prop_assert!(lab.state.trunks.values().all(|trunk| trunk.in_flight == 0));
        prop_assert_eq!((lab.state.voids, lab.state.incidents), (0, 0));
        prop_assert_eq!(judged(&lab), vec![]);
        let mut remembered = Remembered { listed: vec!["a".into(), "b".into()], ..Remembered::default() };
        let mut state = State::default();
        for one in &lab.written {
            prop_assert_eq!(remembered.see(&state, &one.event), None, "at {}", one.sequence);
            state.apply(one);
        }
        prop_assert_eq!(State::from_bytes(&lab.state.to_bytes()).unwrap(), lab.state);
    }
}
