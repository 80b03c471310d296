//! Whom the dialer rings and when, through decision, log and reducer: windows, lists, caps, consent, retries, turns.
#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::command::{DoNotCallChange, ImportRow, Limits};
use asterism_domain::campaign::{CampaignCommand, CampaignStatus, ContactStatus, judge};
use asterism_domain::ids::NumberHash;
use asterism_domain::invariant::Judge;
use asterism_domain::rules::{AttemptCap, CallingWindow, CampaignRules, Exclusion, RetryRule};
use asterism_domain::{AttemptId, Event, Outcome, State};
use support::Lab;

/// Tuesday, 1 December 2026, 00:00 UTC.
const MIDNIGHT: u64 = 1_796_083_200_000;
const HOUR: u64 = 3_600_000;
const DAYTIME: CallingWindow =
    CallingWindow { weekdays: 0b111_1111, from_minute: 9 * 60, to_minute: 21 * 60 };

fn lab_at(at: u64) -> Lab {
    let mut lab = Lab::new();
    lab.now = at;
    lab
}

fn row(n: u8, zone: &str) -> ImportRow {
    ImportRow { number_hash: [n; 16], sealed: vec![n; 60], zone: zone.into(), consent: false }
}

fn rows(count: u8) -> Vec<ImportRow> {
    (0..count).map(|n| row(n, "")).collect()
}

/// Boots what the plan asks for and returns whom the dialer rings now, by campaign and contact.
fn dialled(lab: &mut Lab) -> Vec<String> {
    lab.plan();
    lab.boot_all();
    let intended = |event: Event| match event {
        Event::AttemptIntended { attempt, .. } => Some(attempt.to_string()),
        _ => None,
    };
    lab.tick().into_iter().filter_map(intended).collect()
}

fn end_all(lab: &mut Lab, outcome: Outcome) {
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, outcome);
    }
}

fn status(lab: &Lab, campaign: &str, contact: usize) -> ContactStatus {
    lab.state.campaigns[campaign].contacts[contact].status.clone()
}

fn list(lab: &mut Lab, add: bool, numbers: &[NumberHash], prefixes: &[&str]) -> Vec<Event> {
    lab.dialer(&CampaignCommand::DoNotCall(DoNotCallChange {
        list: "global".into(),
        add,
        numbers: numbers.to_vec(),
        prefixes: prefixes.iter().map(|text| (*text).to_owned()).collect(),
        reason: "asked for".into(),
    }))
}

#[test]
fn nobody_is_rung_outside_the_hours_of_his_own_zone() {
    let mut lab = lab_at(MIDNIGHT + 15 * HOUR); // 10 in New York, 7 in Los Angeles, 0 in Tokyo
    let rules = CampaignRules { windows: vec![DAYTIME], ..CampaignRules::default() };
    let people = [
        row(0, "America/New_York"),
        row(1, "America/Los_Angeles"),
        row(2, "Asia/Tokyo"),
        row(3, "America/New_York,America/Los_Angeles"),
        row(4, ""),
    ];
    lab.campaign_with("c", people.to_vec(), 1, rules);
    assert_eq!(dialled(&mut lab), ["c-0-1"]);
    assert_eq!(
        status(&lab, "c", 4),
        ContactStatus::Excluded(Exclusion::NoZone),
        "nobody knows when it is day there"
    );
    let campaign = &lab.state.campaigns["c"];
    assert_eq!((campaign.counts.waiting, campaign.counts.excluded), (3, 1));
    assert_eq!(judge::next_due(campaign, lab.now), Some(MIDNIGHT + 17 * HOUR), "9 in Los Angeles");
    end_all(&mut lab, Outcome::Answered);
    lab.now = MIDNIGHT + 17 * HOUR;
    assert_eq!(dialled(&mut lab), ["c-1-1", "c-3-1"], "both coasts are awake");
    end_all(&mut lab, Outcome::Answered);
    lab.now = MIDNIGHT + 24 * HOUR; // Tokyo, 9 in the morning
    assert_eq!(dialled(&mut lab), ["c-2-1"]);
}

#[test]
fn an_order_never_outlasts_the_window_it_was_made_in() {
    let mut lab = lab_at(MIDNIGHT + 21 * HOUR - 700);
    let rules =
        CampaignRules { windows: vec![DAYTIME], default_zone: "UTC".into(), ..CampaignRules::default() };
    lab.campaign_with("c", rows(1), 1, rules);
    lab.plan();
    lab.boot_all();
    let events = lab.tick();
    let Some(Event::AttemptIntended { not_after_ms, closes_at_ms, .. }) = events.first() else { panic!() };
    assert_eq!((*not_after_ms, *closes_at_ms), (MIDNIGHT + 21 * HOUR, MIDNIGHT + 21 * HOUR));
}

#[test]
fn fleets_are_not_kept_for_callees_who_sleep() {
    let mut lab = lab_at(MIDNIGHT + 3 * HOUR);
    let rules =
        CampaignRules { windows: vec![DAYTIME], default_zone: "UTC".into(), ..CampaignRules::default() };
    lab.campaign_with("c", rows(9), 1, rules);
    assert_eq!(dialled(&mut lab), Vec::<String>::new());
    assert_eq!(lab.state.fleet.existing().count(), 0);
    lab.now = MIDNIGHT + 9 * HOUR - 30_000;
    lab.plan();
    assert!(lab.state.fleet.owed_launches().count() > 0, "the window opens by the time they have booted");
}

#[test]
fn a_list_is_obeyed_from_the_moment_it_is_in_the_log() {
    let mut lab = lab_at(MIDNIGHT);
    lab.campaign("c", 3, 2);
    list(&mut lab, true, &[[1; 16]], &[]);
    assert_eq!(dialled(&mut lab), ["c-0-1", "c-2-1"]);
    assert_eq!(status(&lab, "c", 1), ContactStatus::Excluded(Exclusion::DoNotCall));
    // Put on the list while it rings: it is not rung again, though an attempt is left.
    list(&mut lab, true, &[[2; 16]], &[]);
    end_all(&mut lab, Outcome::Busy);
    assert_eq!(dialled(&mut lab), ["c-0-2"]);
    assert_eq!(status(&lab, "c", 2), ContactStatus::Excluded(Exclusion::DoNotCall));
    assert_eq!(lab.state.campaigns["c"].counts.excluded_by[&Exclusion::DoNotCall], 2);
    assert_eq!(list(&mut lab, true, &[[2; 16]], &[]), [], "it is there already");
    list(&mut lab, false, &[[2; 16]], &[]);
    assert!(!lab.state.do_not_call["global"].numbers.contains(&[2; 16]));
}

#[test]
fn a_list_that_grows_between_decision_and_log_voids_the_decision() {
    let mut lab = lab_at(MIDNIGHT);
    lab.campaign("c", 1, 1);
    lab.plan();
    lab.boot_all();
    let decided = {
        let state = lab.state.clone();
        let events = lab.tick();
        lab.state = state;
        events
    };
    list(&mut lab, true, &[[0; 16]], &[]);
    let voids = lab.state.voids;
    lab.write(asterism_proto::Origin::Role(asterism_proto::Role::Dialer), decided[0].clone());
    assert_eq!((lab.state.voids, lab.state.in_flight), (voids + 1, 0));
}

#[test]
fn a_prefix_is_found_by_whoever_opens_the_number_and_excludes_what_comes_back() {
    let mut lab = lab_at(MIDNIGHT);
    lab.campaign("c", 2, 3);
    list(&mut lab, true, &[], &["1900", "4487"]);
    let campaign = &lab.state.campaigns["c"];
    let found = |digits| judge::on_prefix(&lab.state, &campaign.rules, digits);
    assert_eq!(found("19005550123"), Some(("global".into(), "1900".into())));
    assert_eq!((found("19015550123"), found("190"), found("")), (None, None, None));
    dialled(&mut lab);
    let exclude = CampaignCommand::Exclude {
        campaign: "c".into(),
        contacts: vec![0, 7],
        rule: Exclusion::DoNotCallPrefix,
        detail: "prefix 1900 of list global".into(),
    };
    lab.dialer(&exclude);
    assert_eq!(status(&lab, "c", 0), ContactStatus::InFlight, "what the log says of the attempt comes first");
    assert_eq!(lab.dialer(&exclude), [], "said once is enough");
    let (attempt, node) = lab.in_flight()[0].clone();
    lab.node(&node, Event::AttemptRefused { attempt, reason: "expired".into() });
    assert_eq!(status(&lab, "c", 0), ContactStatus::Excluded(Exclusion::DoNotCallPrefix));
}

#[test]
fn caps_and_gaps_hold_over_all_campaigns_and_after_the_contact_is_erased() {
    let mut lab = lab_at(MIDNIGHT);
    let rules = CampaignRules {
        caps: vec![AttemptCap { period_ms: 24 * HOUR, max: 2 }, AttemptCap { period_ms: 0, max: 3 }],
        min_gap_ms: HOUR,
        ..CampaignRules::default()
    };
    lab.campaign_with("one", rows(1), 9, rules.clone());
    lab.campaign_with("two", rows(1), 9, rules);
    assert_eq!(dialled(&mut lab), ["one-0-1"], "two campaigns, one telephone");
    end_all(&mut lab, Outcome::Busy);
    lab.now += 1_000;
    assert_eq!(dialled(&mut lab), Vec::<String>::new(), "within the hour");
    lab.now += HOUR;
    assert_eq!(dialled(&mut lab).len(), 1);
    end_all(&mut lab, Outcome::Busy);
    lab.now += 2 * HOUR;
    assert_eq!(dialled(&mut lab), Vec::<String>::new(), "twice a day");
    let reason = "asked to be forgotten".into();
    lab.dialer(&CampaignCommand::Erase { import: "one-1".into(), contacts: vec![], reason });
    lab.now = MIDNIGHT + 24 * HOUR + 2_000;
    assert_eq!(dialled(&mut lab), ["two-0-1"], "a day after the first");
    end_all(&mut lab, Outcome::Busy);
    lab.now += 48 * HOUR;
    dialled(&mut lab);
    assert_eq!(status(&lab, "two", 0), ContactStatus::Excluded(Exclusion::CapForEver));
    assert_eq!(lab.state.numbers[&[0; 16]].rings, 3);
}

#[test]
fn an_attempt_that_never_rang_is_no_ring_of_its_number() {
    let mut lab = lab_at(MIDNIGHT);
    lab.campaign("c", 1, 5);
    dialled(&mut lab);
    let (attempt, node) = lab.in_flight()[0].clone();
    assert!(lab.state.numbers[&[0; 16]].in_flight);
    lab.node(&node, Event::AttemptRefused { attempt, reason: "late".into() });
    assert_eq!(lab.state.numbers.len(), 0);
    dialled(&mut lab);
    let (attempt, node) = lab.in_flight()[0].clone();
    lab.node(&node, Event::AttemptUncertain { attempt, reason: "crash".into() });
    assert_eq!(lab.state.numbers[&[0; 16]].rings, 1, "who may have been rung counts as rung");
}

#[test]
fn consent_is_asked_for_where_the_campaign_says_so() {
    let mut lab = lab_at(MIDNIGHT);
    let rules = CampaignRules { consent_required: true, ..CampaignRules::default() };
    let mut people = rows(2);
    people[1].consent = true;
    lab.campaign_with("c", people, 1, rules);
    assert_eq!(dialled(&mut lab), ["c-1-1"]);
    assert_eq!(status(&lab, "c", 0), ContactStatus::Excluded(Exclusion::NoConsent));
}

#[test]
fn outcomes_lead_to_their_own_delays_and_a_campaign_ends_when_nothing_is_left_to_do() {
    let mut lab = lab_at(MIDNIGHT);
    let retries = vec![
        RetryRule { outcome: Outcome::Busy, delay_ms: 60_000, max: 1, doubling: false, another_trunk: false },
        RetryRule {
            outcome: Outcome::NoAnswer,
            delay_ms: 2 * HOUR,
            max: 3,
            doubling: false,
            another_trunk: false,
        },
    ];
    lab.campaign_with("c", rows(1), 3, CampaignRules { retries, ..CampaignRules::default() });
    for (wait_ms, outcome) in [(0, Outcome::NoAnswer), (2 * HOUR, Outcome::Busy), (60_000, Outcome::Busy)] {
        lab.now += wait_ms.max(1) - 1;
        assert_eq!(dialled(&mut lab).len(), usize::from(wait_ms == 0), "not a millisecond early");
        lab.now += 1;
        if wait_ms > 0 {
            assert_eq!(dialled(&mut lab).len(), 1);
        }
        end_all(&mut lab, outcome);
    }
    assert_eq!(status(&lab, "c", 0), ContactStatus::Settled(Outcome::Busy), "one retry after busy");
    lab.tick();
    assert_eq!(lab.state.campaigns["c"].status, CampaignStatus::Completed);
}

#[test]
fn congestion_costs_the_contact_no_attempt() {
    let mut lab = lab_at(MIDNIGHT);
    lab.campaign("c", 1, 1);
    for _ in 0..3 {
        assert_eq!(dialled(&mut lab).len(), 1);
        end_all(&mut lab, Outcome::Congestion);
        assert_eq!(status(&lab, "c", 0), ContactStatus::Waiting);
        assert_eq!(dialled(&mut lab), Vec::<String>::new(), "not at once");
        lab.now += 60_000;
    }
    dialled(&mut lab);
    end_all(&mut lab, Outcome::Busy);
    assert_eq!(status(&lab, "c", 0), ContactStatus::Settled(Outcome::Busy), "its one attempt");
}

#[test]
fn campaigns_share_by_weight_and_a_higher_priority_goes_first() {
    let mut lab = lab_at(MIDNIGHT);
    let share = |weight, priority| CampaignRules { weight, priority, ..CampaignRules::default() };
    let people = |from: u8| (from..from + 30).map(|n| row(n, "")).collect::<Vec<_>>();
    lab.campaign_with("a", people(0), 1, share(1, 0));
    lab.campaign_with("b", people(50), 1, share(3, 0));
    lab.plan();
    lab.boot_all();
    lab.tick();
    let flying = |lab: &Lab, id: &str| lab.state.campaigns[id].counts.in_flight;
    let (a, b) = (flying(&lab, "a"), flying(&lab, "b"));
    assert!(a > 0 && b.abs_diff(3 * a) <= 3, "{a} and {b}");
    lab.campaign_with("urgent", people(100), 1, share(1, 5));
    end_all(&mut lab, Outcome::Answered);
    lab.tick();
    assert_eq!((flying(&lab, "a"), flying(&lab, "b")), (0, 0));
    assert_eq!(flying(&lab, "urgent"), a + b);
}

#[test]
fn a_campaign_begins_and_ends_when_it_says() {
    let mut lab = lab_at(MIDNIGHT);
    let (starts_at_ms, ends_at_ms) = (MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR);
    lab.campaign_with(
        "c",
        rows(40),
        1,
        CampaignRules { starts_at_ms, ends_at_ms, ..CampaignRules::default() },
    );
    assert_eq!(dialled(&mut lab), Vec::<String>::new());
    lab.now = starts_at_ms;
    assert!(!dialled(&mut lab).is_empty());
    lab.now = ends_at_ms;
    lab.tick();
    assert_eq!(lab.state.campaigns["c"].status, CampaignStatus::Stopped);
    assert!(lab.in_flight().len() > 1, "calls in flight go on");
}

#[test]
fn rules_change_while_a_campaign_runs() {
    let mut lab = lab_at(MIDNIGHT);
    lab.campaign("c", 30, 1);
    let limits = Limits {
        max_channels: 2,
        calls_per_second: 0,
        ring_timeout_ms: 20_000,
        max_attempts: 1,
        caller_id: String::new(),
        caller_ids: vec![],
        rules: CampaignRules::default(),
    };
    lab.dialer(&CampaignCommand::Change {
        campaign: "c".into(),
        limits: Box::new(limits),
        trunks: vec![],
        manifest: String::new(),
        reason: "fewer lines".into(),
    });
    assert_eq!(dialled(&mut lab).len(), 2);
}

/// Folds what was written once more, with a judge looking on; what broke.
fn judged(lab: &Lab) -> Vec<(&'static str, u64)> {
    let (mut state, mut judge) = (State::default(), Judge::new());
    let mut found = Vec::new();
    for recorded in &lab.written {
        let broken = judge.apply(&mut state, recorded);
        found.extend(broken.into_iter().map(|finding| (finding.id, recorded.sequence)));
    }
    found
}

#[test]
fn a_leader_that_lies_about_the_hours_is_found_out_by_whoever_reads_the_log() {
    let mut lab = lab_at(MIDNIGHT + 20 * HOUR);
    let rules =
        CampaignRules { windows: vec![DAYTIME], default_zone: "UTC".into(), ..CampaignRules::default() };
    lab.campaign_with("c", rows(30), 1, rules);
    assert!(!dialled(&mut lab).is_empty());
    end_all(&mut lab, Outcome::Answered);
    assert_eq!(judged(&lab), [], "in the daytime");
    lab.now = MIDNIGHT + 23 * HOUR;
    let contact = (0..30).find(|n| status(&lab, "c", *n) == ContactStatus::Waiting).unwrap();
    let node = lab.ready().into_iter().next().unwrap();
    let lie = Event::AttemptIntended {
        attempt: AttemptId { campaign: "c".into(), contact: contact as u32, ordinal: 1 },
        node,
        trunk: "t".into(),
        not_before_ms: lab.now,
        not_after_ms: lab.now + 1_000,
        reason: "it is day".into(),
        closes_at_ms: lab.now + HOUR,
        caller_id: String::new(),
        manifest: String::new(),
    };
    lab.write(asterism_proto::Origin::Role(asterism_proto::Role::Dialer), lie);
    assert_eq!(lab.in_flight().len(), 1, "the reducer has no clock of the callee's");
    assert_eq!(judged(&lab), [("INV-12", lab.state.size - 1)]);
}
