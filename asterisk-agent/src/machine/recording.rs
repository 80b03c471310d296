//! Recordings: expected from the step that records, told to the log once the file is hashed and synced, kept until the log
//! has that the store has them.
//!
//! The store knows of a recording before the dialplan hears that it is to record, so there is no file that nobody knows of:
//! one that is found without being known is a file that outlived its removal, and goes the whole way again.

use std::collections::{BTreeMap, BTreeSet};

use asterism_domain::AttemptId;
use asterism_proto::hash::Hash;
use asterism_proto::v1;
use serde::{Deserialize, Serialize};

use super::{Change, Effect, Machine, Output};
use crate::fact::{Body, Fact};

/// Files hashed at the same time.
const TAKEN_AT_ONCE: usize = 2;
/// How a reply begins that records.
const RECORDS: &str = "record|";

/// A recording of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The call.
    pub call: String,
    /// The step that recorded.
    pub step: u32,
    /// The campaign.
    pub campaign: String,
    /// What its file is; `None` = it is not finished, or not looked at yet.
    pub made: Option<Made>,
}

/// A file that is whole, synced and told to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its SHA-256.
    pub sha256: Hash,
    /// Its bytes.
    pub size_bytes: u64,
    /// How long it is; 0 = unknown.
    pub duration_ms: u32,
}

/// All recordings this node has, by name: `<call>-<step>`.
#[derive(Debug, Clone, Default)]
pub(super) struct Recordings {
    all: BTreeMap<String, Recording>,
    /// Those that are not made, so that a tick looks at no others.
    expected: BTreeSet<String>,
    /// Those of them whose file is being looked at.
    taking: BTreeSet<String>,
}

impl Recordings {
    pub(super) fn load(all: BTreeMap<String, Recording>) -> Self {
        let expected = all.iter().filter(|(_, it)| it.made.is_none()).map(|(name, _)| name.clone()).collect();
        Self { all, expected, taking: BTreeSet::new() }
    }

    /// Whether the log was told of every one.
    pub(super) fn are_told(&self) -> bool {
        self.expected.is_empty()
    }
}

impl Recording {
    fn made_fact(&self, node: &str, made: &Made) -> Fact {
        let body = v1::RecordingMade {
            node: node.to_owned(),
            call: self.call.clone(),
            step: self.step,
            sha256: made.sha256.to_vec(),
            size_bytes: made.size_bytes,
            duration_ms: made.duration_ms,
        };
        Fact::of_campaign(&self.campaign, Body::RecordingMade(body))
    }
}

impl Machine {
    /// Recordings that are not known to be in the store.
    pub fn unsent(&self) -> u32 {
        u32::try_from(self.recordings.all.len()).unwrap_or(u32::MAX)
    }

    /// A reply is about to be given: one that records makes a file.
    pub(super) fn expect_recording(&mut self, call: &str, step: u32, reply: &str, out: &mut Output) {
        if !reply.starts_with(RECORDS) {
            return;
        }
        let campaign = self.active.get(call).map(|attempt| attempt.campaign.clone()).unwrap_or_default();
        self.expect(Recording { call: call.to_owned(), step, campaign, made: None }, out);
    }

    fn expect(&mut self, recording: Recording, out: &mut Output) {
        let name = format!("{}-{}", recording.call, recording.step);
        out.changes.push(Change::PutRecording(name.clone(), Box::new(recording.clone())));
        self.recordings.expected.insert(name.clone());
        self.recordings.all.insert(name, recording);
    }

    /// The agent starts: names of the files that are there. What was told before is to be sent.
    pub fn on_boot_recordings(&mut self, names: &[String]) -> Output {
        let mut out = Output::default();
        for name in
            names.iter().filter(|name| !self.recordings.all.contains_key(*name)).cloned().collect::<Vec<_>>()
        {
            let Some((call, step)) = name.rsplit_once('-') else { continue };
            let Ok(step) = step.parse() else { continue };
            let campaign = call.parse::<AttemptId>().map(|id| id.campaign).unwrap_or_default();
            self.expect(Recording { call: call.to_owned(), step, campaign, made: None }, &mut out);
        }
        for (name, recording) in &self.recordings.all {
            if let Some(made) = recording.made {
                out.effects.push(Effect::SendRecording { name: name.clone(), made });
            }
        }
        out
    }

    /// Time passed: files of recordings that ended are looked at.
    pub(super) fn take_recordings(&mut self, out: &mut Output) {
        let room = TAKEN_AT_ONCE.saturating_sub(self.recordings.taking.len());
        if room == 0 || self.recordings.expected.is_empty() {
            return;
        }
        let over = |name: &&String| {
            let Some(recording) = self.recordings.all.get(*name) else { return false };
            let step = recording.step;
            let goes_on = |attempt: &super::Attempt| attempt.talk.step.max(attempt.watch.heard_step) <= step;
            !self.recordings.taking.contains(*name) && !self.active.get(&recording.call).is_some_and(goes_on)
        };
        let now: Vec<String> = self.recordings.expected.iter().filter(over).take(room).cloned().collect();
        for name in now {
            self.recordings.taking.insert(name.clone());
            out.effects.push(Effect::TakeRecording(name));
        }
    }

    /// A file was looked at: it is whole and synced, or why nobody will ever have it. `None`: it is looked at again.
    pub fn on_recording_taken(&mut self, name: &str, taken: Option<Result<Made, String>>) -> Output {
        let mut out = Output::default();
        self.recordings.taking.remove(name);
        let Some(recording) = self.recordings.all.get_mut(name).filter(|it| it.made.is_none()) else {
            return out;
        };
        match taken {
            Some(Ok(made)) => {
                recording.made = Some(made);
                out.facts.push(recording.made_fact(&self.node, &made));
                out.changes.push(Change::PutRecording(name.to_owned(), Box::new(recording.clone())));
                self.recordings.expected.remove(name);
                out.effects.push(Effect::SendRecording { name: name.to_owned(), made });
            }
            Some(Err(why)) => self.lose(name, &why, &mut out),
            None => {}
        }
        out
    }

    /// Its file is gone or is another one: nobody will ever have it.
    pub fn on_recording_gone(&mut self, name: &str, why: &str) -> Output {
        let mut out = Output::default();
        self.lose(name, why, &mut out);
        out
    }

    fn lose(&mut self, name: &str, why: &str, out: &mut Output) {
        let Some(recording) = self.recordings.all.remove(name) else { return };
        self.recordings.expected.remove(name);
        let Recording { call, step, campaign, .. } = recording;
        let body = v1::RecordingLost { node: self.node.clone(), call, step, reason: why.to_owned() };
        out.facts.push(Fact::of_campaign(&campaign, Body::RecordingLost(body)));
        out.changes.push(Change::DropRecording(name.to_owned()));
        out.effects.push(Effect::RemoveRecording(name.to_owned()));
    }

    /// The log has that the store has it: its file goes.
    pub fn on_recording_stored(&mut self, name: &str) -> Output {
        let mut out = Output::default();
        if self.recordings.all.remove(name).is_some() {
            out.changes.push(Change::DropRecording(name.to_owned()));
            out.effects.push(Effect::RemoveRecording(name.to_owned()));
        }
        out
    }

    /// What the log was told of and the store does not have, after frames were lost.
    pub(super) fn names_its_recordings(&self) -> impl Iterator<Item = Fact> {
        let made = |it: &Recording| it.made.map(|made| it.made_fact(&self.node, &made));
        self.recordings.all.values().filter_map(made)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{NOW, answer, answered, question};
    use super::*;
    use crate::dialplan::LastVerb;
    use crate::machine::{Machine, PbxEvent, Saved, SpoolView};

    const NAME: &str = "a-1";
    const MADE: Made = Made { sha256: [7; 32], size_bytes: 16_044, duration_ms: 1_000 };

    fn takes(out: &Output) -> Vec<&str> {
        out.effects
            .iter()
            .filter_map(
                |effect| if let Effect::TakeRecording(name) = effect { Some(name.as_str()) } else { None },
            )
            .collect()
    }

    /// A call in its first step, which records.
    fn recording() -> (Machine, Output) {
        let mut machine = answered();
        machine.on_question(&question(1, LastVerb::Start, "", ""), NOW);
        let out = machine.on_answer("a", 1, answer("record|60|3|#", "message"));
        (machine, out)
    }

    fn tick(machine: &mut Machine) -> Output {
        machine.on_tick(NOW + 5_000, 0, SpoolView { settled: true, ..SpoolView::default() })
    }

    #[test]
    fn it_is_known_before_the_dialplan_records_and_taken_when_the_step_is_over() {
        let (mut machine, out) = recording();
        assert!(
            out.changes.iter().any(|change| matches!(change, Change::PutRecording(name, _) if name == NAME))
        );
        assert_eq!(machine.unsent(), 1);
        assert!(takes(&tick(&mut machine)).is_empty(), "it records");
        machine.on_question(&question(2, LastVerb::Record, "SILENCE", ""), NOW + 4_000);
        assert_eq!(takes(&tick(&mut machine)), [NAME]);
        assert!(takes(&tick(&mut machine)).is_empty(), "it is being looked at");
        machine.on_recording_taken(NAME, None);
        assert_eq!(takes(&tick(&mut machine)), [NAME], "the disk did not answer: again");
        let out = machine.on_recording_taken(NAME, Some(Ok(MADE)));
        assert!(matches!(&out.facts[0].body, Body::RecordingMade(made) if made.size_bytes == 16_044));
        assert_eq!(out.effects, [Effect::SendRecording { name: NAME.into(), made: MADE }]);
        assert!(out.effects[0].waits_for_sync(), "nothing leaves before it is written down");
        assert!(machine.on_recording_taken(NAME, Some(Ok(MADE))).is_empty(), "told once");
        let out = machine.on_recording_stored(NAME);
        assert_eq!(out.effects, [Effect::RemoveRecording(NAME.into())]);
        assert!(out.effects[0].waits_for_sync());
        assert!(machine.on_recording_stored(NAME).is_empty());
        assert_eq!(machine.unsent(), 0);
    }

    #[test]
    fn a_hang_up_ends_it_and_an_empty_node_has_told_of_all() {
        let (mut machine, _) = recording();
        machine.on_pbx_event(PbxEvent::Hangup { attempt: "a".into(), cause: 16, sip_status: 0 }, NOW + 10);
        machine.on_drain(1, &v1::DrainOrder { term: 1, drain: 3, undrain: false });
        let is_empty = |out: &Output| out.facts.iter().any(|fact| matches!(fact.body, Body::NodeEmpty(_)));
        let out = tick(&mut machine);
        assert_eq!(takes(&out), [NAME]);
        assert!(!is_empty(&out) && !is_empty(&tick(&mut machine)), "the log was not told of it");
        machine.on_recording_taken(NAME, Some(Ok(MADE)));
        assert!(is_empty(&tick(&mut machine)), "told, and still to be sent: that is the log's affair");
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let (mut machine, _) = recording();
        machine.on_question(&question(2, LastVerb::Record, "ERROR", ""), NOW + 4_000);
        tick(&mut machine);
        let out = machine.on_recording_taken(NAME, Some(Err("the PBX left no file".into())));
        assert!(
            matches!(&out.facts[0].body, Body::RecordingLost(lost) if lost.reason == "the PBX left no file")
        );
        assert_eq!(machine.unsent(), 0);
    }

    #[test]
    fn after_a_restart_it_goes_on_and_a_file_nobody_knows_goes_the_whole_way_again() {
        let (mut machine, _) = recording();
        machine.on_question(&question(2, LastVerb::Record, "SILENCE", ""), NOW + 4_000);
        tick(&mut machine);
        machine.on_recording_taken(NAME, Some(Ok(MADE)));
        let saved = Saved { recordings: machine.recordings.all.clone(), ..Saved::default() };
        let mut again = Machine::new("i-1", 2, saved);
        let out = again.on_boot_recordings(&[NAME.to_owned(), "spring-0-1-4".to_owned(), "odd".to_owned()]);
        assert_eq!(out.effects, [Effect::SendRecording { name: NAME.into(), made: MADE }]);
        assert_eq!(takes(&tick(&mut again)), ["spring-0-1-4"]);
        let out = again.on_recording_taken("spring-0-1-4", Some(Ok(MADE)));
        assert_eq!(out.facts[0].campaign, "spring");
        assert_eq!(
            again.on_frames_lost(3).facts.iter().filter(|f| matches!(f.body, Body::RecordingMade(_))).count(),
            2
        );
    }
}
