//! The whole check: files, chain, signatures, numbers, terms, tree, checkpoints, fold, state hashes, invariants.

use std::collections::BTreeMap;
use std::path::Path;

use asterism_domain::event::Event;
use asterism_domain::invariant::{self, Finding, Verdict};
use asterism_domain::{REDUCER, Recorded, State};
use asterism_event_log::sealed::Reader;
use asterism_event_log::sequencer::{CheckpointCheck, CheckpointCounts};
use asterism_event_log::{AcceptedFrame, LogFolder};
use asterism_proto::hash::Hash;
use asterism_proto::v1::{self, EventType};
use prost::Message;
use serde::Serialize;

use crate::{Error, fold};

/// Most problems listed with their text; all are counted.
pub const PROBLEMS_LISTED_MAX: usize = 100;
/// Most state hashes of a log that are compared; a log has a few for each seal.
pub const STATE_HASHES_MAX: usize = 100_000;

/// How the hashes in the log compared with what was recomputed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Equal.
    pub agreed: u64,
    /// Not equal.
    pub differed: u64,
    /// Not comparable: too old to be remembered, or of other reducers.
    pub unchecked: u64,
}

impl From<CheckpointCounts> for Compared {
    fn from(counts: CheckpointCounts) -> Self {
        Self { agreed: counts.agreed, differed: counts.differed, unchecked: counts.unchecked }
    }
}

/// What was checked and found. Claims nothing beyond `events`.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Fleet whose log it is.
    pub fleet: String,
    /// Header hash of its first frame, hexadecimal.
    pub anchor: Option<String>,
    /// Whether that was compared with an anchor given from outside.
    pub anchor_given: bool,
    /// Sealed segments.
    pub segments: usize,
    /// Frames verified.
    pub frames: u64,
    /// Events verified.
    pub events: u64,
    /// RFC 6962 root over them, hexadecimal.
    pub root: String,
    /// Hash of the state they fold to, hexadecimal; none if the fold had to stop.
    pub state_hash: Option<String>,
    /// The reducers' fingerprint.
    pub reducer: &'static str,
    /// Checkpoints in the log against the recomputed roots.
    pub checkpoints: Compared,
    /// State hashes in the log against the fold.
    pub state_hashes: Compared,
    /// Events by origin.
    pub origins: BTreeMap<String, u64>,
    /// Decisions that came too late to take effect: normal.
    pub voids: u64,
    /// Events that fit nothing.
    pub incidents: u64,
    /// Events in a hot segment that its owner has not sealed: not checked. None if there is no such segment.
    pub unsealed_events: Option<u64>,
    /// Number of positions the invariants were judged at.
    pub invariant_checks: u64,
    /// The invariants at the end of the log.
    pub invariants: Vec<Finding>,
    /// Number of problems.
    pub problem_count: u64,
    /// The first of them, in log order.
    pub problems: Vec<String>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
    /// No problem, and everything was folded.
    pub replay_ok: bool,
}

/// Sizes at which the log names its state's hash. Read without checks, as a hint where to hash; the claim itself is
/// compared when its own verified event comes.
fn hashed_sizes(log: &LogFolder) -> BTreeMap<u64, Option<Hash>> {
    let mut sizes = BTreeMap::new();
    for (_, _, path) in log.segments() {
        let Ok(mut reader) = Reader::open(path) else { return sizes };
        while let Ok(Some(stored)) = reader.next_frame() {
            for bytes in &stored.frame.events {
                let event = v1::Event::decode(bytes.as_slice()).ok();
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

struct Verifier {
    state: Option<State>,
    hashes: BTreeMap<u64, Option<Hash>>,
    state_hashes: Compared,
    differed_checkpoints: u64,
    frames: u64,
    origins: BTreeMap<String, u64>,
    invariant_checks: u64,
    broken: Vec<&'static str>,
    problem_count: u64,
    problems: Vec<String>,
}

/// Verifies a folder of sealed segments. `progress` is told the number of events now and then. An error only if there
/// is no log to verify; what is wrong with one is in the result.
pub fn verify(
    folder: &Path,
    anchor: Option<Hash>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, Error> {
    let log = LogFolder::open(folder, anchor)?;
    let mut verifier = Verifier::new(hashed_sizes(&log));
    let mut frames = log.frames();
    while let Some(frame) = frames.next() {
        match frame {
            Ok(frame) => {
                verifier.frame(&frame);
                let counts = frames.sequencer().checkpoint_counts();
                verifier.checkpoints(counts.differed, frames.sequencer().checkpoint());
                progress(frame.end());
            }
            Err(error) => verifier.problem(error.to_string()),
        }
    }
    let sequencer = frames.sequencer();
    let mut notes = Vec::new();
    let unsealed_events = log.unsealed().map(|unsealed| unsealed.events.unwrap_or(0));
    if let Some(events) = unsealed_events {
        notes.push(format!(
            "the hot segment with {events} events by HEAD is not sealed and was not read; its owner seals on request"
        ));
    }
    if anchor.is_none() {
        notes.push("no --anchor given: the log agrees with itself, not with an anchor you trust".into());
    }
    let checkpoints = Compared::from(sequencer.checkpoint_counts());
    let mut result = Verification {
        fleet: log.fleet().to_owned(),
        anchor: sequencer.anchor().map(hex::encode),
        anchor_given: anchor.is_some(),
        segments: log.segments().len(),
        frames: verifier.frames,
        events: sequencer.size(),
        root: hex::encode(sequencer.root()),
        state_hash: None,
        reducer: REDUCER,
        checkpoints,
        state_hashes: verifier.state_hashes,
        origins: BTreeMap::new(),
        voids: 0,
        incidents: 0,
        unsealed_events,
        invariant_checks: 0,
        invariants: Vec::new(),
        problem_count: 0,
        problems: Vec::new(),
        notes,
        replay_ok: false,
    };
    verifier.finish(&mut result);
    Ok(result)
}

impl Verifier {
    fn new(hashes: BTreeMap<u64, Option<Hash>>) -> Self {
        Self {
            state: Some(State::default()),
            hashes,
            state_hashes: Compared::default(),
            differed_checkpoints: 0,
            frames: 0,
            origins: BTreeMap::new(),
            invariant_checks: 0,
            broken: Vec::new(),
            problem_count: 0,
            problems: Vec::new(),
        }
    }

    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(text);
        }
    }

    fn frame(&mut self, frame: &AcceptedFrame) {
        self.frames += 1;
        *self.origins.entry(frame.frame.header.origin.clone()).or_default() += frame.leaves.len() as u64;
        let mut hold = self.state.take();
        for event in fold::events(frame) {
            let Some(state) = &mut hold else { break };
            match event {
                Ok(event) => self.event(state, &event),
                Err((position, why)) => {
                    self.problem(format!(
                        "position {position}: {why}; the fold stopped there, use a newer asterism-replay"
                    ));
                    hold = None;
                }
            }
        }
        self.state = hold;
    }

    fn event(&mut self, state: &mut State, event: &Recorded) {
        state.apply(event);
        if let Some(hash) = self.hashes.get_mut(&state.size) {
            *hash = Some(state.hash());
        }
        match &event.event {
            Event::StateHashed { size, hash, reducer } => {
                self.state_hash(event.sequence, *size, hash, reducer);
            }
            Event::Checkpoint { .. } => self.invariants(state, event.sequence),
            _ => {}
        }
    }

    /// A leader's word on its state against the fold.
    fn state_hash(&mut self, position: u64, size: u64, hash: &[u8], reducer: &str) {
        let ours = self.hashes.get(&size).copied().flatten();
        match ours.filter(|_| size <= position) {
            _ if reducer != REDUCER => self.state_hashes.unchecked += 1,
            Some(ours) if ours == hash => self.state_hashes.agreed += 1,
            Some(ours) => {
                self.state_hashes.differed += 1;
                self.problem(format!(
                    "position {position}: the state at {size} had hash {}, the replay has {} (INV-08)",
                    hex::encode(hash),
                    hex::encode(ours)
                ));
            }
            None => {
                self.state_hashes.differed += 1;
                self.problem(format!("position {position}: it hashes a state at {size} that never was"));
            }
        }
    }

    /// Judges the invariants; each is reported broken once, at the first position judged.
    fn invariants(&mut self, state: &State, position: u64) {
        self.invariant_checks += 1;
        for finding in invariant::broken(state) {
            if let Verdict::Broken(why) = &finding.verdict
                && !self.broken.contains(&finding.id)
            {
                self.broken.push(finding.id);
                self.problem(format!(
                    "position {position}: {} is broken ({}): {why}",
                    finding.id, finding.rule
                ));
            }
        }
    }

    fn checkpoints(&mut self, differed: u64, newest: Option<&asterism_event_log::sequencer::SeenCheckpoint>) {
        if differed == self.differed_checkpoints {
            return;
        }
        self.differed_checkpoints = differed;
        if let Some(seen) = newest.filter(|seen| seen.check == CheckpointCheck::Differs) {
            self.problem(format!(
                "position {}: the checkpoint names root {} at size {}, the log has another (INV-09)",
                seen.position,
                hex::encode(seen.root),
                seen.size
            ));
        }
    }

    fn finish(mut self, result: &mut Verification) {
        if let Some(state) = self.state.take() {
            self.invariants(&state, state.size);
            result.state_hash = Some(hex::encode(state.hash()));
            result.invariants = invariant::check_all(&state);
            (result.voids, result.incidents) = (state.voids, state.incidents);
        }
        result.origins = self.origins;
        result.invariant_checks = self.invariant_checks;
        result.state_hashes = self.state_hashes;
        result.replay_ok = self.problem_count == 0 && result.state_hash.is_some();
        result.problem_count = self.problem_count;
        result.problems = self.problems;
    }
}
