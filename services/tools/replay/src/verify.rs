//! The whole check: files, chain, signatures, numbers, terms, tree, checkpoints, fold, state hashes, invariants.

use std::collections::BTreeMap;
use std::path::Path;

use asterism_domain::REDUCER;
use asterism_domain::invariant::Finding;
use asterism_event_log::sequencer::{CheckpointCheck, CheckpointCounts};
use asterism_event_log::{AcceptedFrame, LogFolder, Sequencer};
use asterism_proto::hash::Hash;
use serde::Serialize;

use crate::{Error, fold};

mod beside;
mod folded;
mod outside;

use beside::Beside;
use folded::Folded;
pub use folded::STATE_HASHES_MAX;
use outside::Outside;

/// Most problems listed with their text; all are counted.
pub const PROBLEMS_LISTED_MAX: usize = 100;

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
    /// Tiles beside the segments against the events; `unchecked` are not there.
    pub tiles: Compared,
    /// Snapshots beside the segments against the fold; `unchecked` are of other reducers or of what is not sealed.
    pub snapshots: Compared,
    /// Events by origin.
    pub origins: BTreeMap<String, u64>,
    /// Decisions that came too late to take effect: normal.
    pub voids: u64,
    /// Events that fit nothing.
    pub incidents: u64,
    /// Events in a hot segment that its owner has not sealed: not checked. None if there is no such segment.
    pub unsealed_events: Option<u64>,
    /// Number of positions the invariants were judged at: after each event, at what it touched.
    pub invariant_checks: u64,
    /// Of these, positions at which the whole state was judged as a second opinion: at state hashes and at the end.
    pub whole_state_checks: u64,
    /// Events that cannot be read, by whoever wrote them: without effect, and incidents.
    pub unreadable: u64,
    /// Position of the first of them.
    pub first_unreadable: Option<u64>,
    /// The invariants over the whole log, each with what of it was judged.
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

/// What is held against a log from outside.
#[derive(Debug, Default)]
pub struct Against<'a> {
    /// The only first frame accepted, by its header hash.
    pub anchor: Option<Hash>,
    /// Text of a checkpoint kept outside (C2SP signed note): only it can tell that a log was rolled back.
    pub checkpoint: Option<&'a str>,
}

struct Verifier {
    folded: Folded,
    beside: Beside,
    /// Everything so far could be folded.
    folds: bool,
    first_bad: Option<u64>,
    trusted: u64,
    differed_checkpoints: u64,
    frames: u64,
    origins: BTreeMap<String, u64>,
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
    let beside = Beside::new(folder, log.segments().iter().map(|(_, end, _)| *end).collect())?;
    let mut verifier = Verifier::new(Folded::new(&log, beside.sizes()), beside);
    let mut outside = against.checkpoint.map(Outside::new);
    let mut frames = log.frames();
    let mut whole = true;
    while let Some(frame) = frames.next() {
        match frame {
            Ok(frame) => {
                verifier.frame(&frame);
                verifier.beside(&frame, frames.sequencer().root());
                verifier.checkpoints(frames.sequencer());
                if let Some(outside) = &mut outside {
                    outside.pass(frames.sequencer(), &mut verifier);
                }
                progress(frame.end());
            }
            Err(error) => {
                whole = false;
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
        state_hashes: Compared::default(),
        tiles: Compared::default(),
        snapshots: Compared::default(),
        origins: BTreeMap::new(),
        voids: 0,
        incidents: 0,
        unsealed_events,
        invariant_checks: 0,
        whole_state_checks: 0,
        unreadable: 0,
        first_unreadable: None,
        invariants: Vec::new(),
        first_bad: None,
        trusted: 0,
        problem_count: 0,
        problems: Vec::new(),
        notes: notes(against, unsealed_events),
        replay_ok: false,
    };
    verifier.finish(&mut result, whole);
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
    fn new(folded: Folded, beside: Beside) -> Self {
        Self {
            folded,
            beside,
            folds: true,
            first_bad: None,
            trusted: 0,
            differed_checkpoints: 0,
            frames: 0,
            origins: BTreeMap::new(),
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

    /// A problem of what is derived from the log: the log itself is not touched by it.
    pub(crate) fn problem_beside(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(text);
        }
    }

    /// A checkpoint agreed: what it covers stands, unless something before was wrong.
    fn trust(&mut self, size: u64) {
        if self.first_bad.is_none() {
            self.trusted = self.trusted.max(size);
        }
    }

    const fn trusted(&self) -> u64 {
        self.trusted
    }

    fn frame(&mut self, frame: &AcceptedFrame) {
        self.frames += 1;
        *self.origins.entry(frame.frame.header.origin.clone()).or_default() += frame.leaves.len() as u64;
        for event in fold::events(frame) {
            if !self.folds {
                return;
            }
            let problems = match event {
                Ok(event) => self.folded.event(&event),
                Err((position, why)) => {
                    self.folds = false;
                    let next = "the fold stopped there, use a newer asterism-replay";
                    vec![(position, format!("position {position}: {why}; {next}"))]
                }
            };
            for (position, text) in problems {
                self.problem(position, text);
            }
        }
    }

    /// Tiles and snapshots against what was read so far. Hashing for a snapshot costs the state's size, twice a folder.
    fn beside(&mut self, frame: &AcceptedFrame, root: Hash) {
        self.beside.leaves(&frame.leaves);
        if let Some(hash) = self.folded.hash_at(frame.end()).filter(|_| self.folds) {
            self.beside.state(frame.end(), root, hash);
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

    fn finish(mut self, result: &mut Verification, whole: bool) {
        let (findings, problems) = self.folded.finish(result.checkpoints, whole && self.folds);
        for (position, text) in problems {
            self.problem(position, text);
        }
        if self.folds {
            let state = &self.folded.state;
            result.state_hash = Some(hex::encode(state.hash()));
            (result.voids, result.incidents) = (state.voids, state.incidents);
            result.invariants = findings;
        }
        if whole && self.folds {
            self.beside.finish(result.events);
        }
        for text in std::mem::take(&mut self.beside.problems) {
            self.problem_beside(text);
        }
        (result.tiles, result.snapshots) = (self.beside.tiles, self.beside.states);
        result.origins = self.origins;
        result.invariant_checks = self.folded.positions;
        result.whole_state_checks = self.folded.whole;
        (result.unreadable, result.first_unreadable) = self.folded.unreadable;
        if let Some(first) = result.first_unreadable {
            let events = result.unreadable;
            result.notes.push(format!(
                "{events} events cannot be read and had no effect, the first at position {first}: whoever wrote them is \
                 broken, hostile or newer than this program"
            ));
        }
        result.state_hashes = self.folded.state_hashes;
        result.replay_ok = self.problem_count == 0 && result.state_hash.is_some();
        (result.first_bad, result.trusted) = (self.first_bad, self.trusted);
        result.problem_count = self.problem_count;
        result.problems = self.problems;
    }
}
