//! The outbox of notices: what is owed follows from the log, once for each contact and campaign, under a name that stays.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::campaign::{CampaignCommand, ContactStatus, decide};
use asterism_domain::rules::Exclusion;
use asterism_domain::webhook::decide::WebhookCommand;
use asterism_domain::webhook::finished::{Asked, FINISHED_KEPT, Standing, find, report};
use asterism_domain::webhook::{Notice, NoticeId, NoticeKind};
use asterism_domain::{Event, Outcome, State};
use support::Lab;

fn set(lab: &mut Lab, kinds: &[NoticeKind]) -> Vec<Event> {
    let kinds: BTreeSet<NoticeKind> = kinds.iter().copied().collect();
    let endpoint = if kinds.is_empty() { String::new() } else { "https://example.com".to_owned() };
    lab.dialer(&CampaignCommand::Webhook(WebhookCommand::Configured { endpoint, kinds }))
}

fn tell(lab: &mut Lab, command: WebhookCommand) -> Vec<Event> {
    lab.dialer(&CampaignCommand::Webhook(command))
}

fn owed(lab: &Lab) -> Vec<(NoticeId, Notice)> {
    lab.state.webhook.owed.iter().map(|(id, notice)| (*id, notice.clone())).collect()
}

fn end(lab: &mut Lab, contact: u32, outcome: Outcome) {
    let all = lab.in_flight();
    let (attempt, node) = all.iter().find(|(attempt, _)| attempt.contact == contact).unwrap().clone();
    lab.end(&attempt, &node, outcome);
}

#[test]
fn each_contact_and_campaign_is_owed_once_whatever_settles_it() {
    let mut lab = Lab::new();
    let kinds = [NoticeKind::ContactSettled, NoticeKind::CampaignEnded];
    assert_eq!(set(&mut lab, &kinds).len(), 1);
    assert_eq!(set(&mut lab, &kinds), [], "the log has it");
    lab.campaign("c", 5, 2);
    lab.plan();
    lab.boot_all();
    lab.tick();
    let in_flight = lab.in_flight();
    assert!(in_flight.len() >= 3, "{in_flight:?}");
    end(&mut lab, 0, Outcome::NoAnswer);
    assert_eq!(owed(&lab), [], "it is dialled again");
    end(&mut lab, 1, Outcome::Answered);
    let (id, notice) = owed(&lab).remove(0);
    assert_eq!(id.position(), lab.state.size - 1, "it is named by its event's position");
    assert_eq!(id.to_string(), format!("{}-0", lab.state.size - 1));
    let settled = notice.contact.unwrap();
    assert_eq!((settled.contact, settled.status), (1, ContactStatus::Settled(Outcome::Answered)));
    assert_eq!((settled.digits.as_str(), settled.attempts, settled.rang), ("1", 1, 1));
    assert_eq!(settled.end.unwrap().path, "thanks");
    // Two at once, one of whom is settled already.
    let rest: Vec<u32> = vec![1, 3, 4];
    let waits = |lab: &Lab, one: &u32| {
        lab.state.campaigns["c"].contacts[*one as usize].status == ContactStatus::Waiting
    };
    let excluded = rest.iter().filter(|one| waits(&lab, one)).count();
    let (rule, detail) = (Exclusion::DoNotCallPrefix, String::new());
    lab.dialer(&CampaignCommand::Exclude { campaign: "c".into(), contacts: rest, rule, detail });
    assert_eq!(owed(&lab).len(), 1 + excluded);
    // Whoever is in flight when a node is lost is uncertain, or waits again.
    let nodes: BTreeSet<String> = lab.in_flight().into_iter().map(|(_, node)| node).collect();
    for node in nodes {
        lab.lose(&node);
    }
    for _ in 0..50 {
        lab.now += 1_000;
        lab.plan();
        lab.boot_all();
        lab.tick();
        for (attempt, node) in lab.in_flight() {
            lab.end(&attempt, &node, Outcome::Busy);
        }
    }
    let counts = &lab.state.campaigns["c"].counts;
    assert_eq!(counts.settled_total() + counts.uncertain, 5, "{counts:?}");
    assert!(lab.state.campaigns["c"].ended_at.is_some());
    let owed = owed(&lab);
    let mut contacts: Vec<u32> =
        owed.iter().filter_map(|(_, notice)| notice.contact.as_ref().map(|one| one.contact)).collect();
    contacts.sort_unstable();
    assert_eq!(contacts, [0, 1, 2, 3, 4], "each once");
    let ended: Vec<NoticeKind> =
        owed.iter().filter(|(_, one)| one.contact.is_none()).map(|(_, one)| one.kind).collect();
    assert_eq!(ended, [NoticeKind::CampaignEnded]);
    // Whoever folds the log comes to the same outbox.
    let mut again = State::default();
    lab.written.iter().for_each(|recorded| again.apply(recorded));
    assert_eq!(again.webhook, lab.state.webhook);
}

#[test]
fn what_was_delivered_or_given_up_is_owed_no_more_and_a_repeat_changes_nothing() {
    let mut lab = Lab::new();
    set(&mut lab, &[NoticeKind::ContactSettled, NoticeKind::CampaignEnded]);
    lab.campaign("c", 3, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    for contact in 0..3 {
        end(&mut lab, contact, Outcome::Answered);
    }
    let ids: Vec<NoticeId> = lab.state.webhook.owed.keys().copied().collect();
    let delivered = WebhookCommand::Delivered { notices: vec![ids[0], NoticeId(7)] };
    assert_eq!(tell(&mut lab, delivered.clone()), [Event::WebhookDelivered { notices: vec![ids[0].0] }]);
    assert_eq!(tell(&mut lab, delivered), [], "it is not owed");
    let given_up =
        WebhookCommand::GivenUp { notices: vec![ids[1]], tries: 3, reason: "it said 500".to_owned() };
    assert_eq!(tell(&mut lab, given_up).len(), 1);
    let outbox = &lab.state.webhook;
    assert_eq!((outbox.delivered, outbox.given_up, outbox.owed.len()), (1, 1, 1));
    // One that lands behind another is void.
    let voids = lab.state.voids;
    let late = Event::WebhookDelivered { notices: vec![ids[0].0] };
    lab.write(asterism_proto::Origin::Role(asterism_proto::Role::Dialer), late);
    assert_eq!((lab.state.voids, lab.state.webhook.delivered), (voids + 1, 1));
    // Nobody wants any: nothing is owed, and nothing will be.
    set(&mut lab, &[]);
    assert!(lab.state.webhook.owed.is_empty());
    lab.tick();
    assert!(lab.state.campaigns["c"].ended_at.is_some() && lab.state.webhook.owed.is_empty());
}

#[test]
fn only_the_kinds_wanted_are_owed_and_the_erased_are_told_nobody() {
    let mut lab = Lab::new();
    set(&mut lab, &[NoticeKind::ContactSettled]);
    lab.campaign("c", 2, 1);
    let erase = CampaignCommand::Erase { import: "c-1".into(), contacts: vec![], reason: "asked".into() };
    lab.dialer(&erase);
    lab.dialer(&CampaignCommand::Stop { campaign: "c".into(), reason: String::new() });
    assert_eq!(owed(&lab), []);
    set(&mut lab, &[NoticeKind::CampaignEnded, NoticeKind::RecordingStored]);
    lab.campaign("d", 1, 1);
    lab.dialer(&CampaignCommand::Stop { campaign: "d".into(), reason: String::new() });
    let kinds: Vec<NoticeKind> = owed(&lab).into_iter().map(|(_, notice)| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::CampaignEnded]);
}

#[test]
fn what_was_delivered_or_given_up_is_kept_and_can_be_owed_once_more_under_its_name() {
    let mut lab = Lab::new();
    set(&mut lab, &[NoticeKind::ContactSettled, NoticeKind::CampaignEnded]);
    lab.campaign("c", 3, 1);
    lab.plan();
    lab.boot_all();
    lab.tick();
    for contact in 0..3 {
        end(&mut lab, contact, Outcome::Answered);
    }
    let before = owed(&lab);
    let ids: Vec<NoticeId> = before.iter().map(|(id, _)| *id).collect();
    tell(&mut lab, WebhookCommand::Delivered { notices: vec![ids[0]] });
    let reason = "it said 500".to_owned();
    tell(&mut lab, WebhookCommand::GivenUp { notices: vec![ids[1]], tries: 3, reason });
    let list = |lab: &Lab, standing| {
        let asked = Asked { standing, ..Asked::default() };
        report(&lab.state, &asked).notices.into_iter().map(|line| line.id).collect::<Vec<_>>()
    };
    assert_eq!(list(&lab, Some(Standing::Delivered)), [ids[0].to_string()]);
    assert_eq!(list(&lab, Some(Standing::GivenUp)), [ids[1].to_string()]);
    assert_eq!(list(&lab, None).len(), before.len());
    let (line, notice) = find(&lab.state, ids[1]).unwrap();
    assert_eq!((line.standing, line.tries, line.reason.as_str()), (Standing::GivenUp, 3, "it said 500"));
    assert_eq!((notice, line.settled.as_deref()), (before[1].1.clone(), Some("answered")));
    assert_eq!(format!("5f1c0a9b-{}", ids[1]).parse(), Ok(ids[1]), "as its receiver was told");
    for text in ["", "7", "7-x", "7-65536", "x-0"] {
        assert!(text.parse::<NoticeId>().is_err(), "{text}");
    }
    // All that were given up; then one that was delivered, by name.
    let again = |notices: Vec<NoticeId>, campaign: &str| WebhookCommand::Resend {
        notices,
        campaign: campaign.to_owned(),
        reason: "the receiver is back".to_owned(),
    };
    let refused = |lab: &Lab, command: WebhookCommand| {
        decide(&lab.state, &CampaignCommand::Webhook(command), lab.now).unwrap_err().code
    };
    assert_eq!(refused(&lab, again(vec![], "d")), "AST-D153");
    assert_eq!(refused(&lab, again(vec![NoticeId(7)], "")), "AST-D152");
    assert_eq!(refused(&lab, again(vec![ids[2]], "")), "AST-D152", "it is owed already");
    tell(&mut lab, again(vec![], "c"));
    tell(&mut lab, again(vec![ids[0]], ""));
    assert_eq!(owed(&lab), before, "as they were");
    assert_eq!(list(&lab, Some(Standing::Delivered)).len() + list(&lab, Some(Standing::GivenUp)).len(), 0);
    // One that lands behind another is void; a kind nobody wants any more is refused.
    let voids = lab.state.voids;
    let late = Event::WebhookResent { notices: vec![ids[0].0], reason: String::new() };
    lab.write(asterism_proto::Origin::Role(asterism_proto::Role::Dialer), late);
    assert_eq!((lab.state.voids, owed(&lab).len()), (voids + 1, before.len()));
    tell(&mut lab, WebhookCommand::Delivered { notices: vec![ids[0]] });
    set(&mut lab, &[NoticeKind::CampaignEnded]);
    assert_eq!(refused(&lab, again(vec![ids[0]], "")), "AST-D154");
    set(&mut lab, &[]);
    assert_eq!(refused(&lab, again(vec![ids[0]], "")), "AST-D151");
    let mut folded = State::default();
    lab.written.iter().for_each(|recorded| folded.apply(recorded));
    assert_eq!(folded.webhook, lab.state.webhook);
}

#[test]
fn so_many_are_kept_and_no_more() {
    let mut lab = Lab::new();
    set(&mut lab, &[NoticeKind::CampaignEnded]);
    for n in 0..FINISHED_KEPT + 3 {
        let id = format!("c{n}");
        lab.campaign(&id, 1, 1);
        lab.dialer(&CampaignCommand::Stop { campaign: id, reason: String::new() });
    }
    let ids: Vec<NoticeId> = lab.state.webhook.owed.keys().copied().collect();
    for chunk in ids.chunks(500) {
        tell(&mut lab, WebhookCommand::Delivered { notices: chunk.to_vec() });
    }
    assert_eq!((lab.state.webhook.taken.len(), lab.state.webhook.delivered), (FINISHED_KEPT, 1_003));
    assert!(find(&lab.state, ids[2]).is_none() && find(&lab.state, ids[3]).is_some(), "the oldest go");
}
