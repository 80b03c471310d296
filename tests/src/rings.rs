//! What the carrier's recorder saw against what the log says, attempt by attempt and number by number.

use std::collections::BTreeMap;
use std::path::Path;

use asterism_domain::campaign::{Campaign, ContactStatus};
use asterism_domain::{AttemptId, Event, wire};
use asterism_event_log::LogFolder;
use asterism_proto::hash::Hash;

/// What the log says of one attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    /// Its node was about to send it, or told its end: it may have rung.
    pub may_have_rung: bool,
    /// Its node told its end, or an answer: it rang.
    pub rang: bool,
    /// Its node told that nothing was sent.
    pub never_rang: bool,
}

/// A ring: its attempt and the keyed hash of the number that was called.
pub type Seen = (AttemptId, [u8; 16]);

/// The fate of every attempt of a sealed log.
pub fn fates(folder: &Path, anchor: Hash) -> BTreeMap<AttemptId, Fate> {
    let mut fates: BTreeMap<AttemptId, Fate> = BTreeMap::new();
    for frame in LogFolder::open(folder, Some(anchor)).unwrap().frames() {
        let frame = frame.unwrap();
        for index in 0..frame.frame.events.len() as u32 {
            let sequence = frame.first + u64::from(index);
            let event = wire::recorded(&frame.frame, index, sequence, frame.record_time_ms).unwrap().event;
            let Some(attempt) = event.attempt() else { continue };
            let fate = fates.entry(attempt.clone()).or_default();
            match &event {
                Event::AttemptOriginating { .. } => fate.may_have_rung = true,
                Event::AttemptEnded { never_rang: true, .. } => fate.never_rang = true,
                Event::AttemptAnswered { .. } | Event::AttemptEnded { .. } => {
                    (fate.may_have_rung, fate.rang) = (true, true);
                }
                _ => {}
            }
        }
    }
    fates
}

/// Every way in which the carrier's rings and the log of a campaign differ.
pub fn differences(
    id: &str,
    campaign: &Campaign,
    fates: &BTreeMap<AttemptId, Fate>,
    seen: &[Seen],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut rings: BTreeMap<&AttemptId, u32> = BTreeMap::new();
    let mut of_number: BTreeMap<[u8; 16], u32> = BTreeMap::new();
    for (attempt, number) in seen {
        *rings.entry(attempt).or_default() += 1;
        *of_number.entry(*number).or_default() += 1;
        let contact = campaign.contacts.get(attempt.contact as usize).filter(|_| attempt.campaign == id);
        match (fates.get(attempt), contact) {
            (Some(fate), Some(contact)) => {
                // What a node did that is gone is in nobody's words.
                let orphan =
                    contact.status == ContactStatus::Uncertain && contact.attempts == attempt.ordinal;
                if !(fate.may_have_rung || orphan) || fate.never_rang {
                    wrong.push(format!("{attempt} rang, and the log says it did not: {fate:?}"));
                }
                if contact.number_hash != *number {
                    wrong.push(format!("{attempt} rang at another number than its contact's"));
                }
            }
            _ => wrong.push(format!("{attempt} rang and is not in the log")),
        }
    }
    let twice = rings.iter().filter(|(_, count)| **count > 1);
    wrong.extend(twice.map(|(attempt, count)| format!("{attempt} rang {count} times")));
    let silent = fates.iter().filter(|(attempt, fate)| fate.rang && !rings.contains_key(attempt));
    wrong.extend(silent.map(|(attempt, _)| format!("{attempt} did not ring, and the log says it did")));
    for (index, contact) in campaign.contacts.iter().enumerate() {
        let (rang, said) =
            (of_number.get(&contact.number_hash).copied().unwrap_or_default(), u32::from(contact.rang));
        // Of an uncertain one nobody knows whether its last attempt rang.
        let least = said - u32::from(contact.status == ContactStatus::Uncertain && said > 0);
        if !(least..=said).contains(&rang) {
            wrong.push(format!("contact {index} of {id} rang {rang} times, and the log says {said}"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use asterism_domain::State;
    use asterism_domain::campaign::Contact;
    use asterism_domain::ids::Outcome;

    /// Contact 0 settled after one ring, contact 1 uncertain, contact 2 settled after two.
    fn told() -> (Campaign, BTreeMap<AttemptId, Fate>, Vec<Seen>) {
        let contact = |n: u8, status, rang: u16| Contact {
            import: 0,
            status,
            erased: false,
            attempts: u32::from(rang),
            rang,
            never_rang: 0,
            turned_away: 0,
            tried: 0,
            kept_off: asterism_domain::campaign::KeptOff::default(),
            zone: 0,
            consent: false,
            finished: false,
            due_ms: 0,
            ended: [0; Outcome::ALL.len()],
            barred: None,
            digits: asterism_domain::campaign::Digits::default(),
            number_hash: [n; 16],
            sealed: Box::default(),
        };
        let settled = ContactStatus::Settled(Outcome::Busy);
        let mut campaign = campaign();
        campaign.contacts = vec![
            contact(0, settled.clone(), 1),
            contact(1, ContactStatus::Uncertain, 1),
            contact(2, settled, 2),
        ];
        let sure = Fate { may_have_rung: true, rang: true, never_rang: false };
        let fates =
            [("c-0-1", sure), ("c-1-1", Fate { rang: false, ..sure }), ("c-2-1", sure), ("c-2-2", sure)];
        let fates = fates.map(|(id, fate)| (id.parse().unwrap(), fate)).into();
        (campaign, fates, vec![ring("c-0-1", 0), ring("c-2-1", 2), ring("c-2-2", 2)])
    }

    fn ring(attempt: &str, number: u8) -> Seen {
        (attempt.parse().unwrap(), [number; 16])
    }

    /// A campaign as the reducer makes it.
    fn campaign() -> Campaign {
        let event = Event::CampaignCreated {
            campaign: "c".into(),
            name: "c".into(),
            flow: "f".into(),
            manifest: "m".into(),
            trunk: "t".into(),
            max_channels: 0,
            calls_per_second: 0,
            ring_timeout_ms: 30_000,
            max_attempts: 2,
            caller_id: String::new(),
            live: false,
            allowed_hashes: vec![],
            rules: None,
            trunks: vec![],
            caller_ids: vec![],
        };
        let origin = asterism_proto::Origin::Role(asterism_proto::Role::Dialer);
        let id = asterism_domain::EventRef { origin: origin.to_string(), epoch: vec![], frame: 1, index: 0 };
        let (command_id, actor) = (String::new(), String::new());
        let mut state = State::default();
        state.apply(&asterism_domain::Recorded {
            sequence: 0,
            at: 1,
            origin,
            id,
            term: 1,
            command_id,
            actor,
            event,
        });
        state.campaigns.remove("c").unwrap()
    }

    #[test]
    fn what_agrees_is_silent_and_an_uncertain_contact_may_have_rung() {
        let (campaign, fates, mut seen) = told();
        assert_eq!(differences("c", &campaign, &fates, &seen), Vec::<String>::new());
        seen.push(ring("c-1-1", 1));
        assert_eq!(differences("c", &campaign, &fates, &seen), Vec::<String>::new());
    }

    #[test]
    fn an_attempt_whose_node_was_gone_before_it_spoke_may_have_rung_and_no_other() {
        let (campaign, mut fates, mut seen) = told();
        fates.insert("c-1-1".parse().unwrap(), Fate::default());
        seen.push(ring("c-1-1", 1));
        assert_eq!(differences("c", &campaign, &fates, &seen), Vec::<String>::new());
        fates.insert("c-0-1".parse().unwrap(), Fate::default());
        assert_eq!(differences("c", &campaign, &fates, &seen).len(), 1, "a settled one had to be told");
    }

    #[test]
    fn each_difference_is_found() {
        let (campaign, fates, seen) = told();
        let with = |more: Seen| differences("c", &campaign, &fates, &[seen.as_slice(), &[more]].concat());
        assert_eq!(
            with(ring("c-0-1", 0)),
            ["c-0-1 rang 2 times", "contact 0 of c rang 2 times, and the log says 1"]
        );
        assert_eq!(with(ring("c-1-2", 1)), ["c-1-2 rang and is not in the log"]);
        assert_eq!(with(ring("c-1-1", 9)), ["c-1-1 rang at another number than its contact's"]);
        assert_eq!(
            differences("c", &campaign, &fates, &seen[1..]),
            [
                "c-0-1 did not ring, and the log says it did",
                "contact 0 of c rang 0 times, and the log says 1"
            ]
        );
        let mut refused = fates.clone();
        refused.insert("c-2-2".parse().unwrap(), Fate::default());
        let said = differences("c", &campaign, &refused, &seen);
        assert!(
            said.len() == 1 && said[0].starts_with("c-2-2 rang, and the log says it did not"),
            "{said:?}"
        );
        // The totals agree, the numbers do not: what a comparison of counts alone cannot see.
        let swapped = [ring("c-0-1", 2), ring("c-2-1", 0), ring("c-2-2", 2)];
        assert_eq!(differences("c", &campaign, &fates, &swapped).len(), 2);
    }
}
