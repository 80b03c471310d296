//! Events about the log itself and about people taken out of it: what they fold to.

#![allow(clippy::unwrap_used)]

mod support;

use asterism_domain::campaign::command::ImportRow;
use asterism_domain::campaign::{CampaignCommand, ContactStatus, DialTick, decide};
use asterism_domain::event::SealedContact;
use asterism_domain::{Event, Outcome};
use asterism_proto::{Origin, Role};
use support::Lab;

const LEDGER: Origin = Origin::Role(Role::Ledger);

fn erase(lab: &mut Lab, import: &str, contacts: Vec<[u8; 16]>) {
    let event = Event::ContactsErased { import: import.into(), contacts, reason: "asked to".into() };
    lab.write(Origin::Role(Role::Dialer), event);
}

#[test]
fn who_is_erased_is_not_dialled_and_what_happened_stands() {
    let mut lab = Lab::new();
    lab.campaign("c", 5, 2);
    lab.plan();
    lab.boot_all();
    lab.tick();
    // Capacity is 3 a node: all five are in flight; one settles, one comes back to waiting, one stays in flight.
    let flights = lab.in_flight();
    lab.end(&flights[0].0, &flights[0].1, Outcome::Answered);
    lab.end(&flights[1].0, &flights[1].1, Outcome::Busy);
    erase(&mut lab, "c-1", vec![[0; 16], [1; 16], [2; 16]]);
    lab.end(&flights[2].0, &flights[2].1, Outcome::Busy);
    lab.end(&flights[3].0, &flights[3].1, Outcome::Busy);
    let campaign = &lab.state.campaigns["c"];
    let statuses: Vec<ContactStatus> = campaign.contacts.iter().map(|one| one.status.clone()).collect();
    let settled = ContactStatus::Settled(Outcome::Answered);
    let rest =
        [ContactStatus::Erased, ContactStatus::Erased, ContactStatus::Waiting, ContactStatus::InFlight];
    assert_eq!((&statuses[0], &statuses[1..]), (&settled, rest.as_slice()));
    assert!(campaign.contacts[..3].iter().all(|one| one.erased && one.sealed.is_empty()));
    assert!(campaign.contacts[3..].iter().all(|one| !one.erased && !one.sealed.is_empty()));
    assert_eq!((campaign.counts.erased, campaign.counts.waiting, campaign.counts.rang), (2, 1, 4));
    assert_eq!(
        campaign.numbers.len(),
        5,
        "the keyed hashes stay: an import of the same number is a duplicate"
    );
    let dialled = lab.tick();
    assert!(matches!(dialled.as_slice(), [Event::AttemptIntended { attempt, .. }] if attempt.contact == 3));
    // The rest of the import; whoever is gone already is not counted twice.
    erase(&mut lab, "c-1", vec![]);
    for (attempt, node) in lab.in_flight() {
        lab.end(&attempt, &node, Outcome::Busy);
    }
    assert_eq!(lab.state.campaigns["c"].counts.erased, 3, "the one that had its two attempts is settled");
    assert!(matches!(lab.tick().as_slice(), [Event::CampaignCompleted { .. }]));
    assert!(lab.state.erasures["c-1"].whole);
    assert_eq!((lab.state.voids, lab.state.incidents), (0, 0));
    erase(&mut lab, "nobody", vec![]);
    assert_eq!((lab.state.voids, lab.state.erasures.len()), (1, 1));
}

#[test]
fn archived_is_the_end_of_what_stands_without_a_gap() {
    let mut lab = Lab::new();
    let archive = |lab: &mut Lab, first, end| {
        let (object, sha256, root) = ("segments/x".into(), vec![1; 32], vec![2; 32]);
        lab.write(LEDGER, Event::SegmentArchived { first, end, object, sha256, size_bytes: 9, root });
    };
    archive(&mut lab, 0, 10);
    archive(&mut lab, 20, 30);
    assert_eq!((lab.state.archived, lab.state.voids), (10, 1));
    archive(&mut lab, 10, 20);
    archive(&mut lab, 10, 20);
    archive(&mut lab, 0, 10);
    assert_eq!((lab.state.archived, lab.state.voids), (20, 1));
}

#[test]
fn lost_frames_are_an_incident_with_its_text_and_only_the_ledger_says_so() {
    let mut lab = Lab::new();
    let lost = |from| Event::FramesLost {
        origin: "node/i-1".into(),
        epoch: vec![1; 16],
        from,
        to: 9,
        reason: "no step of repair found them".into(),
    };
    lab.write(LEDGER, lost(5));
    let text = &lab.state.incident_list[0].reason;
    assert_eq!(text, "frames 5 to 9 of node/i-1 are lost: no step of repair found them");
    lab.write(Origin::Role(Role::Scaler), lost(7));
    assert!(lab.state.incident_list[1].reason.contains("may not write"));
}

#[test]
fn any_leader_or_process_tells_of_its_repair_and_no_node_does() {
    let mut lab = Lab::new();
    let repaired = Event::LogRepaired {
        holder: "dialer-1".into(),
        reason: "a block's checksum".into(),
        kept: 5,
        promised: 9,
        set_aside: "suspect-0".into(),
        refilled_from: "ledger".into(),
        size: 12,
        beyond: 0,
    };
    lab.write(Origin::Role(Role::Dialer), repaired.clone());
    lab.write(Origin::Proc(Role::LogicResponder, "1".into()), repaired.clone());
    assert_eq!((lab.state.repairs, lab.state.incidents), (2, 0));
    lab.write(Origin::Node("i-1".into()), repaired);
    assert_eq!((lab.state.repairs, lab.state.incidents), (2, 1));
}

#[test]
fn what_a_copy_had_beyond_the_log_is_an_incident() {
    let mut lab = Lab::new();
    let repaired = Event::LogRepaired {
        holder: "dialer-1".into(),
        reason: "the stream continues at 5 events, the copy had 12".into(),
        kept: 0,
        promised: 0,
        set_aside: "log-dialer.aside-1".into(),
        refilled_from: "archive".into(),
        size: 5,
        beyond: 7,
    };
    lab.write(Origin::Role(Role::Dialer), repaired);
    assert_eq!((lab.state.repairs, lab.state.incidents), (1, 1));
    let text = &lab.state.incident_list[0].reason;
    assert!(
        text.starts_with("7 events of dialer-1 are not in the log") && text.contains("aside-1"),
        "{text}"
    );
}

#[test]
fn with_too_much_unarchived_nothing_new_is_dialled_until_it_is_less() {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    lab.plan();
    lab.boot_all();
    let behind = |hold: bool| Event::ArchiveBehind {
        hold,
        reason: "half of the stream is not archived".into(),
        events: 9,
        age_ms: 1,
        bytes: 50,
        max_age_ms: 9,
        max_bytes: 100,
    };
    lab.write(Origin::Role(Role::Dialer), behind(true));
    assert_eq!((lab.state.archive_hold.as_str(), lab.state.incidents), ("", 1), "the ledger alone says so");
    let tick = DialTick { fresh: lab.ready(), order_window_ms: 2_000, max_intents: 100, caps: None };
    let decided = decide(&lab.state, &CampaignCommand::Tick(tick), lab.now).unwrap();
    assert_eq!(decided.len(), 3);
    lab.write(LEDGER, behind(true));
    assert_eq!(lab.tick(), []);
    // What was decided before the hold and landed behind it is kept, void, and costs the contact no attempt.
    for attempt in &decided {
        lab.write(Origin::Role(Role::Dialer), attempt.clone());
    }
    assert_eq!((lab.state.voids, lab.state.in_flight, lab.state.incidents), (3, 0, 1));
    lab.write(LEDGER, behind(false));
    assert_eq!(lab.tick(), decided);
    assert_eq!((lab.state.voids, lab.state.in_flight), (3, 3));
}

#[test]
fn an_erasure_is_decided_once_and_its_import_takes_nobody_any_more() {
    let mut lab = Lab::new();
    lab.campaign("c", 3, 1);
    let command = |import: &str, contacts: Vec<[u8; 16]>, reason: &str| CampaignCommand::Erase {
        import: import.into(),
        contacts,
        reason: reason.into(),
    };
    let refused = |lab: &Lab, command: &CampaignCommand| decide(&lab.state, command, 1).unwrap_err().code;
    assert_eq!(refused(&lab, &command("c-1", vec![], " ")), "AST-D016");
    assert_eq!(refused(&lab, &command("c-1", vec![[0; 16]; 257], "r")), "AST-D017");
    assert_eq!(refused(&lab, &command("d-1", vec![], "r")), "AST-D018");
    assert_eq!(refused(&lab, &command("c-1", vec![[9; 16]], "r")), "AST-D019");
    assert_eq!(lab.dialer(&command("c-1", vec![[1; 16]], "r")).len(), 1);
    assert_eq!(lab.dialer(&command("c-1", vec![[1; 16]], "again")), []);
    assert_eq!(lab.dialer(&command("c-1", vec![], "all")).len(), 1);
    assert_eq!(lab.dialer(&command("c-1", vec![[2; 16]], "again")), []);
    assert_eq!(lab.dialer(&command("c-1", vec![], "again")), []);
    let row = ImportRow { number_hash: [7; 16], sealed: vec![1; 60], ..ImportRow::default() };
    let import = |campaign: &str| CampaignCommand::Import {
        campaign: campaign.into(),
        import: "c-1".into(),
        rows: vec![row.clone()],
        last: true,
        skip_known: vec![],
    };
    assert_eq!(refused(&lab, &import("c")), "AST-D015");
    // One that was decided before and landed after is void.
    let voids = lab.state.voids;
    let contact =
        SealedContact { contact: 3, number_hash: [7; 16], sealed: vec![1; 60], ..SealedContact::default() };
    let late = Event::ContactsImported {
        campaign: "c".into(),
        import: "c-1".into(),
        contacts: vec![contact],
        duplicates: 0,
        last: false,
        zones: vec![],
        skip_known: vec![],
        known: 0,
    };
    lab.write(Origin::Role(Role::Dialer), late);
    assert_eq!((lab.state.voids, lab.state.campaigns["c"].contacts.len()), (voids + 1, 3));
}

#[test]
fn a_campaign_with_contacts_to_dial_is_not_complete_whoever_says_so() {
    let mut lab = Lab::new();
    lab.campaign("c", 2, 1);
    lab.write(Origin::Role(Role::Dialer), Event::CampaignCompleted { campaign: "c".into() });
    assert_eq!((lab.state.voids, lab.state.campaigns["c"].ended_at), (1, None));
}

#[test]
fn an_instance_that_another_intent_has_launched_is_an_incident_and_keeps_its_calls() {
    let mut lab = Lab::new();
    lab.campaign("c", 4, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let (_, node) = lab.in_flight()[0].clone();
    let scaler = Origin::Role(Role::Scaler);
    let intent = "another".to_owned();
    let launch =
        Event::LaunchIntended { intent: intent.clone(), reason: String::new(), instance_type: String::new() };
    lab.write(scaler.clone(), launch);
    let before = lab.state.fleet.nodes.clone();
    lab.write(scaler, Event::NodeLaunched { intent, node });
    assert_eq!((lab.state.incidents, &lab.state.fleet.nodes), (1, &before));
}

/// Frames of a node are lost: what it had taken and holds no more has ended in them.
#[test]
fn an_attempt_whose_end_is_in_lost_frames_is_uncertain_once_its_node_names_what_it_holds() {
    let mut lab = Lab::new();
    lab.campaign("c", 6, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let mut of_first = lab.in_flight();
    let node = of_first[0].1.clone();
    of_first.retain(|(_, home)| *home == node);
    let [(held, _), (ended, _), (unanswered, _)] = &of_first[..] else { panic!("{of_first:?}") };
    for attempt in [held, ended] {
        lab.node(&node, Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 });
    }
    let says = |lab: &mut Lab, attempts: Vec<_>, after: &str, until: &str| {
        let (after, until) = (after.to_owned(), until.to_owned());
        lab.node(&node, Event::NodeHolds { node: node.clone(), attempts, after, until });
        lab.state.campaigns["c"].counts.uncertain
    };
    // It names what it holds in parts: what is not in a part is not said to have ended.
    assert_eq!(says(&mut lab, vec![], "", &(held.to_string().replace("c-", "b-"))), 0);
    assert_eq!(says(&mut lab, vec![], &ended.to_string().replace("c-", "d-"), ""), 0);
    assert_eq!(says(&mut lab, vec![held.clone()], "", ""), 1);
    let contacts = &lab.state.campaigns["c"].contacts;
    let status = |attempt: &asterism_domain::AttemptId| &contacts[attempt.contact as usize].status;
    assert_eq!(*status(ended), ContactStatus::Uncertain);
    // An order it has not answered may still be on its way.
    assert_eq!((status(held), status(unanswered)), (&ContactStatus::InFlight, &ContactStatus::InFlight));
    assert!(lab.state.fleet.nodes[&node].attempts.contains(unanswered));
    // Said again it changes nothing.
    assert_eq!(says(&mut lab, vec![held.clone()], "", ""), 1);
    assert_eq!((lab.state.voids, lab.state.incidents), (0, 0));
}
