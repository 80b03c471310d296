//! The fold beside the check: state, invariants at every position, state hashes.

use std::collections::BTreeMap;

use asterism_domain::event::Event;
use asterism_domain::invariant::{self, Finding, Judge, Verdict};
use asterism_domain::{REDUCER, Recorded, State};
use asterism_event_log::LogFolder;
use asterism_event_log::sealed::Reader;
use asterism_proto::hash::Hash;
use asterism_proto::v1::{self, EventType};
use prost::Message;

use super::Compared;

/// Most state hashes of a log that are compared; a log has a few for each seal.
pub const STATE_HASHES_MAX: usize = 100_000;

/// Sizes at which the log names its state's hash. Read without checks, as a hint where to hash; the claim itself is
/// compared when its own verified event comes.
fn hashed_sizes(log: &LogFolder) -> BTreeMap<u64, Option<Hash>> {
    let mut sizes = BTreeMap::new();
    for (_, _, path) in log.segments() {
        let Ok(mut reader) = Reader::open(path) else { return sizes };
        while let Ok(Some(stored)) = reader.next_frame() {
            for bytes in &stored.frame.events {
                let event = v1::Event::decode(bytes).ok();
                let hashed = event.filter(|event| event.r#type == EventType::StateHashed as u32);
                let body = hashed.and_then(|event| v1::StateHashed::decode(event.body.as_slice()).ok());
                if let Some(body) = body.filter(|_| sizes.len() < STATE_HASHES_MAX) {
                    sizes.insert(body.size, None);
                }
            }
        }
    }
    sizes
}

/// What the log folds to, and what was found on the way. An event costs what it touches; only at a state hash of the log
/// and at the end is the whole state hashed, and judged whole as the second opinion.
pub(super) struct Folded {
    pub(super) state: State,
    judge: Judge,
    hashes: BTreeMap<u64, Option<Hash>>,
    /// Broken by the whole state alone: told once.
    differs: Vec<&'static str>,
    pub(super) state_hashes: Compared,
    /// Positions the judge looked at.
    pub(super) positions: u64,
    /// Of these, those at which the whole state was judged too.
    pub(super) whole: u64,
    /// Events that cannot be read, and the first of them.
    pub(super) unreadable: (u64, Option<u64>),
}

/// Problems found at one event, each with the position it is bad at.
pub(super) type Problems = Vec<(u64, String)>;

impl Folded {
    /// For a log; the state is hashed at these sizes too.
    pub(super) fn new(log: &LogFolder, sizes: impl Iterator<Item = u64>) -> Self {
        let mut hashes = hashed_sizes(log);
        hashes.extend(sizes.map(|size| (size, None)));
        Self {
            state: State::default(),
            judge: Judge::new(),
            hashes,
            differs: Vec::new(),
            state_hashes: Compared::default(),
            positions: 0,
            whole: 0,
            unreadable: (0, None),
        }
    }

    pub(super) fn event(&mut self, event: &Recorded) -> Problems {
        let position = event.sequence;
        let broken = self.judge.apply(&mut self.state, event);
        self.positions += 1;
        let mut problems: Problems =
            broken.iter().filter_map(|one| Some((position, broken_at(one, position)?))).collect();
        if self.hashes.contains_key(&self.state.size) {
            let hash = self.state.hash();
            self.hashes.insert(self.state.size, Some(hash));
            self.judge_whole(&mut problems);
        }
        match &event.event {
            Event::StateHashed { size, hash, reducer } => {
                let problem = self.state_hash(position, *size, hash, reducer);
                problems.extend(problem.map(|text| (position, text)));
            }
            Event::Unreadable { .. } => {
                self.unreadable.0 += 1;
                self.unreadable.1.get_or_insert(position);
            }
            _ => {}
        }
        problems
    }

    /// Hash of the state after this many events, if it was asked for.
    pub(super) fn hash_at(&self, size: u64) -> Option<Hash> {
        self.hashes.get(&size).copied().flatten()
    }

    /// The second opinion: what the whole state shows, and no event up to here was seen to break.
    fn judge_whole(&mut self, problems: &mut Problems) {
        self.whole += 1;
        let size = self.state.size;
        for one in invariant::broken(&self.state) {
            let known = |id| self.judge.is_broken(id) || self.differs.contains(&id);
            if let (Verdict::Broken(why), false) = (&one.verdict, known(one.id)) {
                let text = format!(
                    "the state after {size} events breaks {} ({}): {why}; no single event was seen to break it: \
                     report this as a mistake of asterism-replay",
                    one.id, one.rule
                );
                problems.push((size.saturating_sub(1), text));
                self.differs.push(one.id);
            }
        }
    }

    /// A leader's word on its state against the fold.
    fn state_hash(&mut self, position: u64, size: u64, hash: &[u8], reducer: &str) -> Option<String> {
        let ours = self.hashes.get(&size).copied().flatten();
        match ours.filter(|_| size <= position) {
            _ if reducer != REDUCER => self.state_hashes.unchecked += 1,
            Some(ours) if ours == hash => self.state_hashes.agreed += 1,
            Some(ours) => {
                self.state_hashes.differed += 1;
                return Some(format!(
                    "position {position}: the state at {size} had hash {}, the replay has {} (INV-08)",
                    hex::encode(hash),
                    hex::encode(ours)
                ));
            }
            None => {
                self.state_hashes.differed += 1;
                return Some(format!("position {position}: it hashes a state at {size} that never was"));
            }
        }
        None
    }

    /// Everything at the end of what was folded. `checkpoints` are those of the log; `whole` says that the log was read
    /// to its end, every frame judged by the sequencer's rules.
    pub(super) fn finish(&mut self, checkpoints: Compared, whole: bool) -> (Vec<Finding>, Problems) {
        let mut problems = Problems::new();
        self.judge_whole(&mut problems);
        let mut findings = self.judge.findings(&self.state);
        for finding in &mut findings {
            let verdict = match finding.id {
                "INV-08" => compared(self.state_hashes, "state hash of this version's reducers"),
                "INV-09" => compared(checkpoints, "checkpoint that could be compared"),
                // Frames of another term are not in a log whose every frame was judged again.
                "INV-13" if whole && !self.judge.is_broken("INV-13") => Verdict::Holds,
                _ => continue,
            };
            finding.verdict = verdict;
        }
        (findings, problems)
    }
}

fn broken_at(finding: &Finding, position: u64) -> Option<String> {
    let Verdict::Broken(why) = &finding.verdict else { return None };
    Some(format!("position {position}: {} is broken ({}): {why}", finding.id, finding.rule))
}

fn compared(counts: Compared, what: &str) -> Verdict {
    match counts {
        Compared { differed: 0, agreed: 0, .. } => Verdict::NotApplicable(format!("the log has no {what}")),
        Compared { differed: 0, .. } => Verdict::Holds,
        Compared { differed, .. } => Verdict::Broken(format!("{differed} differ")),
    }
}
