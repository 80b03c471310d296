//! The whole check: files, chain, signatures, numbers, terms, tree, checkpoints, fold, state hashes, invariants.

use std::collections::BTreeMap;
use std::path::Path;

use asterism_domain::event::Event;
use asterism_domain::invariant::{self, Finding, Verdict};
use asterism_domain::{REDUCER, Recorded, State};
use asterism_event_log::sealed::Reader;
use asterism_event_log::sequencer::{CheckpointCheck, CheckpointCounts};
use asterism_event_log::{AcceptedFrame, LogFolder, Sequencer};
use asterism_proto::hash::Hash;
use asterism_proto::v1::{self, EventType};
use prost::Message;
use serde::Serialize;

use crate::{Error, fold};

mod outside;

use outside::Outside;

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
    /// Size of the checkpoint given from outside, if this log has its root at that size.
    pub checkpoint_agreed: Option<u64>,
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
    /// First position that is not what it must be. Everything below `trusted` stands all the same.
    pub first_bad: Option<u64>,
    /// Events under a checkpoint that agreed: the first change is at or behind this position.
    pub trusted: u64,
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

/// What is held against a log from outside.
#[derive(Debug, Default)]
pub struct Against<'a> {
    /// The only first frame accepted, by its header hash.
    pub anchor: Option<Hash>,
    /// Text of a checkpoint kept outside (C2SP signed note): only it can tell that a log was rolled back.
    pub checkpoint: Option<&'a str>,
}

struct Verifier {
    state: Option<State>,
    first_bad: Option<u64>,
    trusted: u64,
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
    against: &Against<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verification, Error> {
    let log = LogFolder::open(folder, against.anchor)?;
    let mut verifier = Verifier::new(hashed_sizes(&log));
    let mut outside = against.checkpoint.map(Outside::new);
    let mut frames = log.frames();
    while let Some(frame) = frames.next() {
        match frame {
            Ok(frame) => {
                verifier.frame(&frame);
                verifier.checkpoints(frames.sequencer());
                if let Some(outside) = &mut outside {
                    outside.pass(frames.sequencer(), &mut verifier);
                }
                progress(frame.end());
            }
            Err(error) => {
                let position = error.position().unwrap_or_else(|| frames.sequencer().size());
                verifier.problem(position, error.to_string());
            }
        }
    }
    let sequencer = frames.sequencer();
    if let Some(outside) = &mut outside {
        outside.finish(sequencer, &mut verifier);
    }
    let unsealed_events = log.unsealed().map(|unsealed| unsealed.events.unwrap_or(0));
    let mut result = Verification {
        fleet: log.fleet().to_owned(),
        anchor: sequencer.anchor().map(hex::encode),
        anchor_given: against.anchor.is_some(),
        checkpoint_agreed: outside.and_then(|outside| outside.agreed),
        segments: log.segments().len(),
        frames: verifier.frames,
        events: sequencer.size(),
        root: hex::encode(sequencer.root()),
        state_hash: None,
        reducer: REDUCER,
        checkpoints: Compared::from(sequencer.checkpoint_counts()),
        state_hashes: verifier.state_hashes,
        origins: BTreeMap::new(),
        voids: 0,
        incidents: 0,
        unsealed_events,
        invariant_checks: 0,
        invariants: Vec::new(),
        first_bad: None,
        trusted: 0,
        problem_count: 0,
        problems: Vec::new(),
        notes: notes(against, unsealed_events),
        replay_ok: false,
    };
    verifier.finish(&mut result);
    Ok(result)
}

/// What was not checked, and what would check it.
fn notes(against: &Against<'_>, unsealed_events: Option<u64>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(events) = unsealed_events {
        notes.push(format!(
            "the hot segment with {events} events by HEAD is not sealed and was not read; its owner seals on request"
        ));
    }
    if against.anchor.is_none() {
        notes.push("no --anchor given: the log agrees with itself, not with an anchor you trust".into());
    }
    if against.checkpoint.is_none() {
        notes.push(
            "no --checkpoint given: nothing says whether the log once was longer than this, or cut at its end".into(),
        );
    }
    notes
}

impl Verifier {
    fn new(hashes: BTreeMap<u64, Option<Hash>>) -> Self {
        Self {
            state: Some(State::default()),
            first_bad: None,
            trusted: 0,
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

    pub(crate) fn problem(&mut self, position: u64, text: String) {
        self.first_bad = Some(self.first_bad.map_or(position, |first| first.min(position)));
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(text);
        }
    }

    /// A checkpoint agreed: what it covers stands, unless something before was wrong.
    fn trust(&mut self, size: u64) {
        if self.problem_count == 0 {
            self.trusted = self.trusted.max(size);
        }
    }

    const fn trusted(&self) -> u64 {
        self.trusted
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
                    self.problem(
                        position,
                        format!(
                            "position {position}: {why}; the fold stopped there, use a newer asterism-replay"
                        ),
                    );
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
                self.problem(
                    position,
                    format!(
                        "position {position}: the state at {size} had hash {}, the replay has {} (INV-08)",
                        hex::encode(hash),
                        hex::encode(ours)
                    ),
                );
            }
            None => {
                self.state_hashes.differed += 1;
                self.problem(
                    position,
                    format!("position {position}: it hashes a state at {size} that never was"),
                );
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
                self.problem(
                    position,
                    format!("position {position}: {} is broken ({}): {why}", finding.id, finding.rule),
                );
            }
        }
    }

    /// A checkpoint in the log against the recomputed root. What differs differs somewhere behind the last that agreed.
    fn checkpoints(&mut self, sequencer: &Sequencer) {
        let Some(seen) = sequencer.checkpoint() else { return };
        let differed = sequencer.checkpoint_counts().differed;
        if seen.check == CheckpointCheck::Agrees {
            self.trust(seen.size);
        }
        if differed == self.differed_checkpoints {
            return;
        }
        self.differed_checkpoints = differed;
        if seen.check == CheckpointCheck::Differs {
            let (position, root, size) = (seen.position, hex::encode(seen.root), seen.size);
            self.problem(self.trusted.min(position), format!(
                "position {position}: the checkpoint names root {root} at size {size}, the log has another (INV-09); \
                 the first change is at or behind position {}",
                self.trusted
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
        (result.first_bad, result.trusted) = (self.first_bad, self.trusted);
        result.problem_count = self.problem_count;
        result.problems = self.problems;
    }
}
