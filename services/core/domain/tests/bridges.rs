//! Calls that can be joined with somebody: each may need a second channel of its trunk, so the trunk's cap keeps one for it.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::{CampaignCommand, ContactStatus, waits};
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::Heard;
use asterism_domain::{Event, Outcome};
use asterism_proto::{Origin, Role};
use support::trunks::{end, first, intended, judged, new};
use support::{Lab, loopback, rows};

/// A lab with one trunk `a` and two flows: `f` joins nobody, `g` may.
fn lab(cap: u32) -> Lab {
    let mut lab = Lab::new();
    lab.now = 1_000_000;
    let published = Event::FlowPublished {
        flow: "g".into(),
        name: "g".into(),
        object: "o".into(),
        sha256: vec![],
        bridges: true,
    };
    lab.write(Origin::Role(Role::MediaSync), published);
    lab.trunk("a", TrunkSettings { max_channels: cap, ..first() });
    lab.wide_node(200);
    lab
}

fn campaign_of(lab: &mut Lab, id: &str, flow: &str, people: u8) {
    let mut new = new(id, &["a"], &[]);
    new.flow = flow.into();
    lab.dialer(&CampaignCommand::Create(Box::new(new)));
    let people = rows(people).into_iter().map(|mut row| {
        row.number_hash[15] = id.as_bytes()[0];
        row
    });
    lab.dialer(&CampaignCommand::Import {
        campaign: id.into(),
        import: format!("{id}-1"),
        rows: people.collect(),
        last: true,
        skip_known: vec![],
    });
    lab.dialer(&CampaignCommand::Start { campaign: id.into() });
}

#[test]
fn a_call_that_may_be_joined_has_two_channels_of_its_trunk_until_it_ends() {
    let mut lab = lab(5);
    campaign_of(&mut lab, "x", "g", 9);
    let out = intended(&lab.tick());
    assert_eq!(out.len(), 2, "two of them need four channels of five");
    assert_eq!((lab.state.trunks["a"].in_flight, lab.state.trunks["a"].channels), (2, 4));
    assert_eq!(intended(&lab.tick()), []);
    let campaign = &lab.state.campaigns["x"];
    let (why, _) = waits::waits_for(&lab.state, "x", &campaign.contacts[5], lab.now);
    assert!(why.contains("at its cap of 5 channels"), "{why}");
    // One that joins nobody fits into the fifth.
    campaign_of(&mut lab, "y", "f", 3);
    assert_eq!(intended(&lab.tick()).len(), 1);
    assert_eq!((lab.state.trunks["a"].in_flight, lab.state.trunks["a"].channels), (3, 5));
    end(&mut lab, &out[0].0, Outcome::Busy, 486, Heard::OnlyTheEnd);
    assert_eq!((lab.state.trunks["a"].in_flight, lab.state.trunks["a"].channels), (2, 3));
    assert_eq!(judged(&lab), []);
}

#[test]
fn a_leader_that_counts_one_channel_for_it_is_void_where_it_lands() {
    let mut lab = lab(4);
    campaign_of(&mut lab, "x", "g", 9);
    let more = lab.decided();
    assert_eq!(intended(&lab.tick()).len(), 2);
    // The cap is lowered: what is kept ends in its own time, and nothing new comes.
    lab.trunk("a", TrunkSettings { max_channels: 3, ..first() });
    assert_eq!(lab.state.trunks["a"].above_cap, 4);
    assert_eq!(judged(&lab), []);
    let Some(Event::AttemptIntended { attempt, .. }) = more.into_iter().last() else { panic!() };
    let ours = asterism_domain::AttemptId { contact: 7, ..attempt };
    let first = lab.in_flight()[0].0.clone();
    end(&mut lab, &first, Outcome::Busy, 486, Heard::OnlyTheEnd);
    let lie = Event::AttemptIntended {
        attempt: ours,
        node: "i-wide".into(),
        trunk: "a".into(),
        not_before_ms: lab.now,
        not_after_ms: lab.now + 500,
        reason: "r".into(),
        closes_at_ms: 0,
        caller_id: String::new(),
        manifest: String::new(),
    };
    let voids = lab.state.voids;
    lab.write(Origin::Role(Role::Dialer), lie);
    assert_eq!(
        (lab.state.voids, lab.state.trunks["a"].channels),
        (voids + 1, 2),
        "two and two are not three"
    );
}

#[test]
fn a_trunk_with_no_room_for_both_legs_is_refused_when_a_campaign_is_made() {
    let mut lab = lab(1);
    let mut both = new("x", &["a"], &[]);
    both.flow = "g".into();
    let refused = asterism_domain::campaign::decide(
        &lab.state,
        &CampaignCommand::Create(Box::new(both.clone())),
        lab.now,
    );
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, "AST-A180");
    // Another trunk has.
    lab.trunk("b", loopback());
    both.trunks.push("b".into());
    lab.dialer(&CampaignCommand::Create(Box::new(both)));
}

#[test]
fn the_end_of_a_leg_is_its_nodes_word_and_changes_no_count() {
    let mut lab = lab(0);
    campaign_of(&mut lab, "x", "g", 1);
    let attempt = intended(&lab.tick())[0].0.clone();
    lab.node("i-wide", Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 });
    lab.node("i-wide", Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() });
    lab.node("i-wide", Event::AttemptAnswered { attempt: attempt.clone() });
    let leg = Event::BridgeEnded {
        attempt: attempt.clone(),
        step: 3,
        status: "ANSWER".into(),
        cause: 16,
        ring_ms: 900,
        talk_ms: 5_000,
    };
    let campaign = lab.state.campaigns["x"].clone();
    lab.node("i-wide", leg.clone());
    assert_eq!(lab.state.campaigns["x"], campaign);
    assert_eq!((lab.state.voids, lab.state.incidents), (0, 0));
    lab.node("i-other", leg);
    assert_eq!(lab.state.incidents, 1, "no node speaks of another's call");
    assert_eq!(lab.state.campaigns["x"].contacts[0].status, ContactStatus::InFlight);
}
