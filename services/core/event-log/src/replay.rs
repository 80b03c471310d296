//! Judging stored frames again: the one way for a copy at open and for a reader of sealed segments.

use std::path::Path;

use asterism_proto::PublicKey;

use crate::error::Error;
use crate::record::{AcceptedFrame, StoredFrame};
use crate::sealed::Reader;
use crate::sequencer::{RefusedReason, Sequencer, SignatureCheck, Verdict};

/// Puts one stored frame through the sequencer, signature and all; anything but acceptance is an error.
pub(crate) fn readmit(
    sequencer: &mut Sequencer,
    folder: &Path,
    stored: StoredFrame,
) -> Result<AcceptedFrame, Error> {
    let judge = |sequencer: &mut Sequencer, stored| (sequencer.readmit(stored, SignatureCheck::Check), None);
    judged(sequencer, folder, stored, judge).map(|(frame, _)| frame)
}

/// As [`readmit`]; the signature of a frame without events of the log's own is owed, and the key for it handed out.
pub(crate) fn readmit_later(
    sequencer: &mut Sequencer,
    folder: &Path,
    stored: StoredFrame,
) -> Result<(AcceptedFrame, Option<PublicKey>), Error> {
    judged(sequencer, folder, stored, Sequencer::readmit_later)
}

fn judged(
    sequencer: &mut Sequencer,
    folder: &Path,
    stored: StoredFrame,
    judge: impl FnOnce(&mut Sequencer, StoredFrame) -> (Verdict, Option<PublicKey>),
) -> Result<(AcceptedFrame, Option<PublicKey>), Error> {
    let position = sequencer.size();
    let rule = |why: String| Error::Rule { position, why };
    if stored.record_time_ms != sequencer.record_time_ms().max(stored.at.time_ms) {
        return Err(rule("its record time does not follow from the stream's".into()));
    }
    let (found, header_hash) = (stored.frame.header.fleet.clone(), stored.frame.header_hash());
    let folder = || folder.to_owned();
    let (verdict, unsigned) = judge(sequencer, stored);
    match verdict {
        Verdict::Accepted(frame) => Ok((frame, unsigned)),
        Verdict::Duplicate => Err(rule("its number was there before".into())),
        Verdict::Gap { origin, expected, got } => {
            Err(rule(format!("{origin} is at number {expected}, not {got}")))
        }
        Verdict::Refused { reason: RefusedReason::WrongFleet, .. } if position == 0 => {
            let expected = sequencer.fleet().to_owned();
            Err(Error::WrongFleet { folder: folder(), expected, found })
        }
        Verdict::Refused { reason: RefusedReason::WrongAnchor, .. } => Err(Error::WrongAnchor {
            folder: folder(),
            expected: sequencer.configured_anchor().map(hex::encode).unwrap_or_default(),
            found: hex::encode(header_hash),
        }),
        Verdict::Refused { reason, .. } => Err(rule(reason.to_string())),
        Verdict::Stop { reason } => {
            Err(Error::TooNew { folder: folder(), position, what: reason.to_string() })
        }
    }
}

/// Whether a sealed segment continues the log read so far.
pub(crate) fn check_start(reader: &Reader, sequencer: &Sequencer) -> Result<(), Error> {
    let footer = reader.footer();
    let what = match () {
        () if footer.first > sequencer.size() => "segments before it are missing",
        () if footer.first < sequencer.size() => "it repeats events of the segment before it",
        () if footer.root_before != sequencer.root() => "it continues another log",
        () => return Ok(()),
    };
    Err(Error::damaged(reader.path(), sequencer.size(), what))
}

/// Whether the events of a sealed segment have the root its footer names.
pub(crate) fn check_end(reader: &Reader, sequencer: &Sequencer) -> Result<(), Error> {
    let footer = reader.footer();
    let same = footer.end == sequencer.size()
        && footer.root == sequencer.root()
        && Some(footer.anchor) == sequencer.anchor();
    let what = "its events do not have the root it names";
    if same { Ok(()) } else { Err(Error::damaged(reader.path(), footer.first, what)) }
}
