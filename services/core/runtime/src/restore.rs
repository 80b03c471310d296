//! A copy that the stream alone cannot make whole: what it lacks comes from the archive and from a ledger's copy, then it
//! follows the stream.
//!
//! They are needed where the copy is empty and the stream begins later, where the stream no longer has what follows the
//! copy, and where the stream was made anew. Nothing from there is believed on its word: each frame goes through the
//! sequencer, each segment ends with the root that the log key has signed, and a checkpoint has to agree.

mod bulk;
mod refill;
mod repair;

use std::collections::BTreeSet;

use asterism_event_log::Opened;
use asterism_nats::stream::{self, StreamInfo};
use asterism_nats::{Bus, ReadFrom};
use asterism_proto::hash::Hash;
use asterism_proto::v1::{self, EventType};
use asterism_proto::{OpenFrame, Origin, Role};
use prost::Message as _;

use crate::archive::{Archive, ArchiveError};
use crate::log::{LogConfig, LogError};
use crate::snapshot::Start;
pub(crate) use refill::{Fetched, unfit};
pub(crate) use repair::{Repair, Source};

/// Frames of a stream that was made anew in which its continuation is looked for; the ledger writes it first.
const CONTINUES_WITHIN: u64 = 4_096;
/// Tries to bring copy and stream together; each either adds events or ends.
const TRIES_MAX: usize = 4;
/// Copies that were set aside whole and are kept.
const ASIDE_MAX: usize = 3;
/// In the folder of a copy that stopped over a checkpoint: which, in words.
const DISAGREES: &str = "DISAGREES";
/// In the folder of a copy that took the place of such a one.
const REFILLED: &str = "REFILLED";

/// Why a copy cannot be brought together with the stream.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Events are nowhere.
    #[error(
        "AST-R080: this copy has {size} events, up to frame {position} of the stream, which begins at {first}; what is \
         between is not in the archive{}, and no ledger's copy gives it; start the ledger, or bring the archive back",
        if *.configured { "" } else { " (ledger.archive is not set)" }
    )]
    Hole {
        /// Events here.
        size: u64,
        /// Position in the stream of the last.
        position: u64,
        /// The stream's first.
        first: u64,
        /// Whether there is an archive at all.
        configured: bool,
    },
    /// The stream goes on where this copy cannot get to.
    #[error(
        "AST-R081: the stream was made anew and continues a log of {theirs} events; this copy has {ours} or another root, \
         and neither the archive nor a ledger's copy gives the rest; start again when the ledger runs or has archived it"
    )]
    Apart {
        /// Size the stream continues at.
        theirs: u64,
        /// Size here.
        ours: u64,
    },
    /// An archived segment does not continue this copy.
    #[error(
        "AST-R082: {object} does not continue this copy at event {at}: {why}; compare both by `asterism replay diff`"
    )]
    Differs {
        /// The object.
        object: String,
        /// Log size here.
        at: u64,
        /// What was found.
        why: String,
    },
}

/// How to follow the stream from here.
pub(crate) struct Following {
    pub(crate) from: ReadFrom,
    /// The stream is another one than the copy was read from: nothing counts before the ledger's `Continues`.
    pub(crate) awaits_continues: bool,
    /// What was wrong with the copy, if anything.
    pub(crate) repair: Option<Repair>,
}

/// Where a copy stands to the stream.
enum Place {
    /// It has nothing.
    Empty,
    /// It was read from this very stream, up to this position.
    Here(u64),
    /// It was read from another stream.
    Elsewhere,
}

/// Brings a copy that was opened together with the stream.
pub(crate) async fn complete(
    config: &LogConfig,
    bus: &Bus,
    info: &StreamInfo,
    archive: Option<&Archive>,
    start: &mut Start,
) -> Result<Following, LogError> {
    let repair = start.opened.repaired.as_ref().map(Repair::of);
    let (said, refilled, sources) = (None, 0, BTreeSet::new());
    let mut work =
        Work { config, bus, info, archive, start, said, refilled, sources, repair, distrusts_stream: false };
    work.leave_if_it_disagreed().await?;
    for _ in 0..TRIES_MAX {
        if let Some((sequence, awaits_continues)) = work.step().await? {
            return work.follow(sequence, awaits_continues);
        }
    }
    Err(work.apart(0).into())
}

struct Work<'a> {
    config: &'a LogConfig,
    bus: &'a Bus,
    info: &'a StreamInfo,
    archive: Option<&'a Archive>,
    start: &'a mut Start,
    /// The stream that the newest checkpoint among the refilled events names.
    said: Option<String>,
    refilled: u64,
    sources: BTreeSet<Source>,
    repair: Option<Repair>,
    /// The stream gave this copy other frames than the ledger signed: what the ledger has comes from its copy.
    distrusts_stream: bool,
}

impl Work<'_> {
    fn opened(&self) -> &Opened {
        &self.start.opened
    }

    fn size(&self) -> u64 {
        self.opened().sequencer.size()
    }

    fn apart(&self, theirs: u64) -> RestoreError {
        RestoreError::Apart { theirs, ours: self.size() }
    }

    /// Where to read on from and whether the stream has to continue the log first; `None`: something was refilled, look
    /// again.
    async fn step(&mut self) -> Result<Option<(u64, bool)>, LogError> {
        let first = self.info.first_sequence;
        match self.place().await? {
            Place::Empty => {
                if self.begin_with_snapshot().await? {
                    return Ok(None);
                }
                // What is archived comes in bulk; the rest, if the stream has it, from there.
                let needs_ledger = first > 1 || self.distrusts_stream;
                let filled = if needs_ledger {
                    self.refill(None).await?
                } else {
                    self.refill_from_archive(None).await?
                };
                if filled {
                    return Ok(None);
                }
                // A stream that has lost its beginning cannot fill an empty copy.
                if first > 1 { Err(self.hole(0).into()) } else { Ok(Some((1, false))) }
            }
            Place::Here(position) if first <= position + 1 => Ok(Some((position + 1, false))),
            Place::Here(position) => {
                if self.refill(None).await? {
                    Ok(None)
                } else {
                    Err(self.hole(position).into())
                }
            }
            Place::Elsewhere => self.step_elsewhere().await,
        }
    }

    /// The stream was made anew.
    async fn step_elsewhere(&mut self) -> Result<Option<(u64, bool)>, LogError> {
        let first = self.info.first_sequence;
        let size = self.size();
        let Some((theirs, root)) = self.continues().await? else {
            // Nobody has continued the log yet. Whoever does must not lack what is archived.
            return Ok(if self.refill_from_archive(None).await? { None } else { Some((first, true)) });
        };
        if theirs == size && root == self.opened().sequencer.root() {
            return Ok(Some((first, true)));
        }
        if theirs > size {
            return if self.refill(Some(theirs)).await? { Ok(None) } else { Err(self.apart(theirs).into()) };
        }
        if self.archive.is_none() && !self.ledger_answers().await {
            return Err(self.apart(theirs).into());
        }
        let ours = self.size();
        self.set_aside(format!(
            "the stream continues at {theirs} events, the copy had {ours} or another root"
        ))?;
        if let Some(repair) = &mut self.repair {
            // Of one with the same size and another root nobody knows how many: one at least.
            repair.beyond = ours.saturating_sub(theirs).max(1);
        }
        if self.refill(Some(theirs)).await? { Ok(None) } else { Err(self.apart(theirs).into()) }
    }

    fn hole(&self, position: u64) -> RestoreError {
        let (size, first) = (self.size(), self.info.first_sequence);
        RestoreError::Hole { size, position, first, configured: self.archive.is_some() }
    }

    fn follow(self, sequence: u64, awaits_continues: bool) -> Result<Following, LogError> {
        let Self { info, start, refilled, sources, mut repair, .. } = self;
        let opened = &mut start.opened;
        if !awaits_continues && opened.stream_id.as_ref() != Some(&info.stream_id) {
            // A position means nothing without the stream it is of.
            opened.copy.set_stream_id(&info.stream_id)?;
        }
        if refilled > 0 {
            let kept = opened.sequencer.size() - refilled;
            let lacked = || Repair::lacked("the copy lacked what the stream no longer has".to_owned(), kept);
            repair.get_or_insert_with(lacked).sources = sources;
        }
        let stream_id = Some(info.stream_id.clone());
        // What stands at the position must be what was read there: a stream that was rolled back has another frame, or none.
        let last = opened.sequencer.last_frame().filter(|last| last.at.sequence + 1 == sequence);
        let last_header = last.filter(|_| !awaits_continues).map(|last| last.header_hash);
        let from = ReadFrom { sequence, stream_id, last_header, ..ReadFrom::default() };
        Ok(Following { from, awaits_continues, repair })
    }

    async fn place(&self) -> Result<Place, LogError> {
        let opened = self.opened();
        let Some(last) = opened.sequencer.last_frame().copied() else { return Ok(Place::Empty) };
        if self.refilled == 0 && opened.stream_id.as_ref() == Some(&self.info.stream_id) {
            return Ok(Place::Here(last.at.sequence));
        }
        // The stream's own word first: the same frame at the same place.
        let stored = stream::frame_at(self.bus, &self.config.fleet, last.at.sequence).await?;
        let same = |stored: stream::StoredFrame| {
            OpenFrame::read(&stored.payload).is_ok_and(|frame| frame.header_hash() == last.header_hash)
        };
        let said = self.said.as_ref() == Some(&self.info.stream_id);
        let aged_out = said && last.at.sequence < self.info.first_sequence;
        if stored.is_some_and(same) || aged_out {
            Ok(Place::Here(last.at.sequence))
        } else {
            Ok(Place::Elsewhere)
        }
    }

    /// What the new stream continues, if the ledger has said so: size and root.
    async fn continues(&self) -> Result<Option<(u64, Hash)>, LogError> {
        let created = self.opened().sequencer.created();
        let Some(key) = created.and_then(|created| created.role_key(Role::Ledger)) else { return Ok(None) };
        let first = self.info.first_sequence;
        for sequence in first..(self.info.last_sequence + 1).min(first + CONTINUES_WITHIN) {
            let Some(stored) = stream::frame_at(self.bus, &self.config.fleet, sequence).await? else {
                continue;
            };
            let Ok(frame) = OpenFrame::read(&stored.payload) else { continue };
            let by_ledger = frame.origin == Origin::Role(Role::Ledger) && frame.signed_by(&key);
            let events = frame.events.iter().filter_map(|event| v1::Event::decode(event).ok());
            let body = events.filter(|event| event.r#type == EventType::Continues as u32).find_map(|event| {
                let body = v1::Continues::decode(event.body.as_slice()).ok()?;
                Some((body.size, body.root.try_into().ok()?))
            });
            if by_ledger && body.is_some() {
                return Ok(body);
            }
        }
        Ok(None)
    }

    /// A copy that stopped over a checkpoint it does not agree with begins anew, where there is something to begin with.
    async fn leave_if_it_disagreed(&mut self) -> Result<(), LogError> {
        let Ok(reason) = std::fs::read_to_string(self.config.dir.join(DISAGREES)) else { return Ok(()) };
        if self.archive.is_none() && self.info.first_sequence > 1 && !self.ledger_answers().await {
            return Ok(()); // it stops at the same place again, with its reason
        }
        self.set_aside(reason.clone())?;
        self.distrusts_stream = true;
        let refilled = self.config.dir.join(REFILLED);
        std::fs::write(&refilled, reason)
            .map_err(|error| RestoreError::from(ArchiveError::io("writing", &refilled, error)).into())
    }

    /// Whether a ledger would give what this copy lacks.
    async fn ledger_answers(&self) -> bool {
        crate::stream::piece(self.bus, &self.config.fleet, 0).await.is_ok()
    }

    /// The whole copy aside: it has events that are not in the log that goes on.
    fn set_aside(&mut self, reason: String) -> Result<(), LogError> {
        let folder = self.config.dir.clone();
        let aside = free_name(&folder)?;
        tracing::error!(reason, aside = %aside.display(), "the copy is set aside");
        self.reopened(|| {
            let moved = std::fs::rename(&folder, &aside);
            Ok(moved
                .map_err(|error| ArchiveError::io("setting aside", &folder, error))
                .map_err(RestoreError::from)?)
        })?;
        let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.repair = Some(Repair { set_aside: name, ..Repair::lacked(reason, 0) });
        Ok(())
    }
}

/// Remembers that a copy stopped over a checkpoint: its next start leaves it. Once for each checkpoint: one that a fresh
/// copy disagrees with too is the ledger's fault, and no reason to throw copies away.
pub(crate) fn disagreed(folder: &std::path::Path, reason: &str) {
    if std::fs::read_to_string(folder.join(REFILLED)).is_ok_and(|before| before == reason) {
        tracing::error!(
            reason,
            "AST-R083: a refilled copy disagrees with the same checkpoint: trust the copies, ask who signs"
        );
        return;
    }
    if let Err(error) = std::fs::write(folder.join(DISAGREES), reason) {
        tracing::warn!(%error, "the next start will meet the same checkpoint");
    }
}

/// A name beside the folder that is free; the oldest goes if there are many.
fn free_name(folder: &std::path::Path) -> Result<std::path::PathBuf, LogError> {
    let name = |number: usize| folder.with_extension(format!("aside-{number}"));
    if let Some(free) = (1..=ASIDE_MAX).map(name).find(|path| !path.exists()) {
        return Ok(free);
    }
    let shift = || -> std::io::Result<()> {
        std::fs::remove_dir_all(name(1))?;
        (2..=ASIDE_MAX).try_for_each(|number| std::fs::rename(name(number), name(number - 1)))
    };
    shift()
        .map_err(|error| ArchiveError::io("removing an old copy", folder, error))
        .map_err(RestoreError::from)?;
    Ok(name(ASIDE_MAX))
}
