//! `explain` by the segments' index: only the chunks that name the contact are read. What is shown is checked, one by
//! one; that nothing else is there is not, and so nothing is ever denied from here.

use std::collections::BTreeMap;

use asterism_domain::ids::NumberHash;
use asterism_domain::wire::{self, contacts_of, recorded};
use asterism_domain::{CampaignId, ContactId, Event, Recorded};
use asterism_event_log::sealed::{Found, Key, Reader};
use asterism_event_log::sequencer::LogCreated;
use asterism_event_log::{LogFolder, Sequencer, SignatureCheck, Verdict};
use asterism_proto::{Origin, PublicKey, Role};

use super::calls::Calls;
use super::{Explanation, LINES_MAX, Line, Subject, line};
use crate::Error;
use crate::fold::Pass;

/// The keys that frames are checked with: those of frame 1, and what the scaler admitted.
struct Keys<'a> {
    log: &'a LogFolder,
    created: LogCreated,
    nodes: BTreeMap<(String, [u8; 16]), Option<PublicKey>>,
}

impl<'a> Keys<'a> {
    /// Judges frame 1 by the log's own rule.
    fn read(log: &'a LogFolder, pass: &Pass<'_>) -> Result<Option<Self>, Error> {
        let Some((0, _, path)) = log.segments().first() else { return Ok(None) };
        let Some(first) = Reader::open(path)?.next_frame()? else { return Ok(None) };
        let mut sequencer = Sequencer::new(log.fleet(), pass.anchor);
        let Verdict::Accepted(_) = sequencer.readmit(first, SignatureCheck::Check) else { return Ok(None) };
        Ok(sequencer.created().cloned().map(|created| Self { log, created, nodes: BTreeMap::new() }))
    }

    /// Whether a frame is by who it says, in this fleet.
    fn signed(&mut self, found: &Found) -> Result<bool, Error> {
        let frame = &found.frame.frame;
        let key = match &frame.origin {
            Origin::Role(role) | Origin::Proc(role, _) => self.created.role_key(*role),
            Origin::Node(node) => self.of_node(node, frame.epoch, found.first)?,
        };
        Ok(frame.header.fleet == self.log.fleet() && key.is_some_and(|key| frame.signed_by(&key)))
    }

    /// The key a node was admitted with, by the scaler's own signed word before this position.
    fn of_node(&mut self, node: &str, epoch: [u8; 16], before: u64) -> Result<Option<PublicKey>, Error> {
        let id = (node.to_owned(), epoch);
        if let Some(known) = self.nodes.get(&id) {
            return Ok(*known);
        }
        let mut admitted = None;
        for found in self.log.find(Key::Node(node.to_owned()), contacts_of) {
            let found = found?;
            if found.first > before {
                break;
            }
            let scaler = found.frame.frame.origin == Origin::Role(Role::Scaler);
            if !scaler || !self.signed(&found)? {
                continue;
            }
            let event = |bytes: &[u8]| wire::decode_bytes(bytes).ok().map(|(_, event)| event);
            admitted = found.frame.frame.events.iter().filter_map(event).find_map(|event| match event {
                Event::NodeAdmitted { node: of, public_key, epoch: of_epoch, .. }
                    if of == node && of_epoch == epoch =>
                {
                    PublicKey::from_bytes(&public_key).ok()
                }
                _ => None,
            });
            if admitted.is_some() {
                break;
            }
        }
        self.nodes.insert(id, admitted);
        Ok(admitted)
    }
}

/// Explains a contact or a call by the index. `None`: only the whole log can answer, or what was found does not check.
pub(super) fn quick(pass: &Pass<'_>, subject: &Subject) -> Result<Option<Explanation>, Error> {
    let (campaign, contact, only): (CampaignId, ContactId, _) = match subject {
        Subject::Contact { campaign, contact } => (campaign.clone(), *contact, None),
        Subject::Call(call) => (call.campaign.clone(), call.contact, Some(call.clone())),
        Subject::Number { .. } | Subject::Node(_) | Subject::Moment { .. } => return Ok(None),
    };
    let log = LogFolder::open(pass.folder, pass.anchor)?;
    let Some(mut keys) = Keys::read(&log, pass)? else { return Ok(None) };
    let (mut calls, mut lines, mut frames, mut more) = (Calls::default(), Vec::<Line>::new(), 0u64, 0u64);
    let mut imported = None;
    let mut search =
        log.find(Key::Contact { campaign: campaign.clone(), contact: contact.into() }, contacts_of);
    for found in &mut search {
        let Ok(found) = found else { return Ok(None) };
        if !keys.signed(&found)? {
            return Ok(None);
        }
        let (before, inner) = (lines.len() as u64 + more, &found.frame.frame);
        for (index, position) in (0..inner.events.len() as u32).zip(found.first..) {
            let Ok(event) = recorded(inner, index, position, found.frame.record_time_ms) else { continue };
            if !is_about(&event.event, &campaign, contact, only.as_ref()) {
                continue;
            }
            if let Event::ContactsImported { import, contacts, .. } = &event.event {
                let row = contacts.iter().find(|row| row.contact == contact);
                imported = row.map(|row| (import.clone(), row.number_hash));
            }
            calls.hear(&event);
            if lines.len() < LINES_MAX {
                lines.push(line(&event, None));
            } else {
                more += 1;
            }
        }
        frames += u64::from(lines.len() as u64 + more > before);
    }
    let calls = calls.into_list();
    // Nothing is denied here: "no" takes the whole log.
    if !calls.iter().any(super::calls::Call::may_have_rung) {
        return Ok(None);
    }
    let Some(erased) = erasure(&log, &mut keys, imported)? else { return Ok(None) };
    let (chunks, opened) = search.chunks();
    let checked = format!(
        "by the index, {opened} of {chunks} chunks read: of the {frames} frames shown, the chunk's checksum, the events \
         against the signed header, and the signature by the key that frame 1 or the scaler's signed admission names. \
         Not checked: that nothing else is there, order, terms, roots, and what took effect; --full checks the \
         whole log"
    );
    let events = log.segments().last().map_or(0, |(_, end, _)| *end);
    let mut answer = super::yes(&calls);
    if !erased.is_empty() {
        let gone = "its number and fields are erased; what happened stands";
        answer.push(format!("contact {contact} of campaign {campaign}: {gone}"));
        lines.extend(erased.iter().map(|event| line(event, None)));
    }
    Ok(Some(Explanation {
        subject: subject.to_string(),
        called: Some(true),
        answer,
        calls,
        checked,
        full: false,
        lines,
        more,
        events,
    }))
}

/// The erasures of a contact that the index has; `None` if what was found does not check.
fn erasure(
    log: &LogFolder,
    keys: &mut Keys<'_>,
    imported: Option<(String, NumberHash)>,
) -> Result<Option<Vec<Recorded>>, Error> {
    let mut erasures = Vec::new();
    let Some((import, hash)) = imported else { return Ok(Some(erasures)) };
    let key = Key::Contact { campaign: wire::ERASURES.to_owned(), contact: 0 };
    for found in log.find(key, contacts_of) {
        let Ok(found) = found else { return Ok(None) };
        if !keys.signed(&found)? {
            return Ok(None);
        }
        let inner = &found.frame.frame;
        for (index, position) in (0..inner.events.len() as u32).zip(found.first..) {
            let Ok(event) = recorded(inner, index, position, found.frame.record_time_ms) else { continue };
            let covers = matches!(&event.event, Event::ContactsErased { import: of, contacts, .. }
                if *of == import && (contacts.is_empty() || contacts.contains(&hash)));
            if covers && inner.origin == Origin::Role(Role::Dialer) {
                erasures.push(event);
            }
        }
    }
    Ok(Some(erasures))
}

fn is_about(
    event: &Event,
    campaign: &str,
    contact: ContactId,
    only: Option<&asterism_domain::AttemptId>,
) -> bool {
    match (event, only) {
        (Event::ContactsImported { campaign: of, contacts, .. }, _) => {
            of == campaign && contacts.iter().any(|row| row.contact == contact)
        }
        (other, Some(call)) => other.attempt() == Some(call),
        (other, None) => other.attempt().is_some_and(|id| id.campaign == campaign && id.contact == contact),
    }
}
