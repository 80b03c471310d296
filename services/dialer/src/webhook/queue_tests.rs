//! What is posted when: batches, a notice nobody likes, pauses, and what is given up.
#![allow(clippy::unwrap_used)]
use super::*;
use asterism_domain::campaign::ContactStatus;
use asterism_domain::webhook::{NoticeKind, SettledContact};

fn limits() -> Limits {
    Limits { batch: 4, first_ms: 100, max_ms: 1_000, max_tries: 3, give_up_after_ms: 60_000, max_owed: 8 }
}

fn of(campaign: &str, contact: Option<u32>) -> Notice {
    let contact = contact.map(|contact| SettledContact {
        contact,
        status: ContactStatus::Uncertain,
        attempts: 1,
        rang: 1,
        digits: String::new(),
        end: None,
    });
    Notice {
        kind: NoticeKind::ContactSettled,
        at: 0,
        campaign: campaign.to_owned(),
        contact,
        recording: None,
    }
}

fn owed(contacts: &[u32]) -> BTreeMap<NoticeId, Notice> {
    (0..).map(NoticeId).zip(contacts.iter().map(|contact| of("c", Some(*contact)))).collect()
}

fn ids(of: &[u64]) -> Vec<NoticeId> {
    of.iter().copied().map(NoticeId).collect()
}

#[test]
fn notices_go_in_order_many_at_a_time() {
    let (mut queue, mut owed) = (Queue::new(limits()), owed(&[0, 1, 2, 0, 4]));
    assert_eq!(queue.next(&BTreeMap::new(), 0), Next::Idle);
    assert_eq!(queue.next(&owed, 0), Next::Send(ids(&[0, 1, 2, 3])));
    queue.delivered(&ids(&[0, 1, 2, 3]));
    owed = owed.split_off(&NoticeId(4));
    assert_eq!(queue.next(&owed, 0), Next::Send(ids(&[4])));
}

#[test]
fn one_that_the_receiver_does_not_like_is_found_and_holds_up_its_own_contact_alone() {
    let mut owed = owed(&[0, 1, 2, 1, 3]);
    owed.insert(NoticeId(9), of("c", None));
    owed.insert(NoticeId(10), of("d", None));
    let (mut queue, mut now, mut sent) = (Queue::new(limits()), 0, Vec::new());
    while owed.len() > 3 {
        match queue.next(&owed, now) {
            Next::Send(batch) if batch.contains(&NoticeId(1)) => queue.failed(&batch, now, 0),
            Next::Send(batch) => {
                queue.delivered(&batch);
                for id in batch {
                    owed.remove(&id);
                    sent.push(id.0);
                }
            }
            Next::Wait { until, .. } => now = until.max(now + 1),
            other => panic!("{other:?}"),
        }
        assert!(queue.give_up(&owed, now).is_none(), "not yet: {sent:?}");
    }
    assert_eq!(sent, [0, 2, 4, 10], "neither what is behind it of its contact, nor its campaign's end");
    // And in the end it is given up, and the rest goes.
    loop {
        match queue.next(&owed, now) {
            Next::Send(batch) => {
                assert_eq!(batch, ids(&[1]), "alone");
                queue.failed(&batch, now, 0);
            }
            Next::Wait { until, .. } => now = until,
            other => panic!("{other:?}"),
        }
        if let Some(lost) = queue.give_up(&owed, now) {
            assert_eq!(lost, (ids(&[1]), 3));
            owed.remove(&NoticeId(1));
            break;
        }
    }
    now += 10_000;
    // One at a time until one gets through.
    assert_eq!(queue.next(&owed, now), Next::Send(ids(&[3])));
}

#[test]
fn pauses_double_up_to_the_longest_and_everything_waits() {
    let (mut queue, owed) = (Queue::new(limits()), owed(&[0, 1]));
    let (mut now, mut pauses) = (0, Vec::new());
    for _ in 0..6 {
        queue.failed(&ids(&[0, 1]), now, u16::MAX);
        let Next::Wait { until, all: true } = queue.next(&owed, now) else { panic!("it must wait") };
        pauses.push(until - now);
        now = until;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    queue.failed(&ids(&[0, 1]), now, 0);
    assert_eq!(queue.next(&owed, now), Next::Wait { until: now + 500, all: true }, "never less than half");
}

#[test]
fn what_is_old_is_given_up_once_the_receiver_has_failed_for_a_while() {
    let (mut queue, owed) = (Queue::new(limits()), owed(&[0, 1]));
    queue.failed(&ids(&[0, 1]), 100_000, 0);
    assert_eq!(queue.give_up(&owed, 100_000), None, "after a night without anybody one failure is nothing");
    for now in 0..4 {
        queue.failed(&ids(&[0, 1]), 100_000 + now, 0);
    }
    assert_eq!(queue.give_up(&owed, 59_999), None);
    assert_eq!(queue.give_up(&owed, 100_010), Some((ids(&[0, 1]), 0)));
}

#[test]
fn more_than_may_be_owed_costs_the_oldest() {
    let mut queue = Queue::new(limits());
    assert_eq!(queue.next(&owed(&[0; 10]), 0), Next::TooMany(ids(&[0, 1])));
}
