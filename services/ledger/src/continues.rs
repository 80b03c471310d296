//! A stream that was made anew: its first frame that counts is the ledger's `Continues`, for the log as this copy has it.
//!
//! Whoever has the lease writes it, in the ledger's current epoch and with its next number: of two that try, the stream's
//! order takes one, and the other's is a duplicate. What it continues is sealed and archived before, so that every
//! other copy can be brought to that very size.

use std::time::Duration;

use asterism_domain::wire::{self, Envelope};
use asterism_proto::frame::{EVENT_MAX_BYTES, FrameDraft, message_id};
use asterism_proto::v1::{Continues, EventType, OriginMark};
use asterism_proto::{Origin, OriginKey, Role};
use asterism_runtime::commit::CommitError;
use asterism_runtime::leader::now_ms;
use asterism_runtime::log::Log;
use prost::Message as _;

use crate::archiver::Archiver;
use crate::resend;

/// Pause before the frame is published again, or the archive tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Tries to archive what is continued; after them the log goes on without, and other copies wait for the archive.
const ARCHIVE_TRIES: u32 = 10;
/// Room in the event for all but the marks.
const EVENT_ROOM_BYTES: usize = 256;

/// Continues the log in a stream that was made anew; returns at once in any other.
pub(crate) async fn ensure(
    log: &Log,
    key: &OriginKey,
    archiver: Option<&mut Archiver>,
) -> Result<(), CommitError> {
    let stopped = |reason: &str| CommitError::Stopped(reason.to_owned());
    let mut head = log.head();
    head.wait_for(|head| head.at_end).await.map_err(|_| stopped("the reader is gone"))?;
    if !awaits(log) {
        return Ok(());
    }
    while !log.is_whole() {
        // Events that were promised are missing here: another ledger has to continue the log, or the archive comes back.
        tracing::warn!("this copy is not whole and continues no log");
        tokio::time::sleep(AGAIN_AFTER * 20).await;
    }
    log.seal().await.map_err(|error| CommitError::Stopped(error.to_string()))?;
    if let Some(archiver) = archiver {
        archive(archiver).await?;
    }
    let marks = log.sequencer(|sequencer, _, _| sequencer.marks());
    publish(log, key, &marks).await?;
    // What reached the new stream before this did not count; its writers still have it.
    for mark in marks {
        resend::ask_behind(log, &mark).await;
    }
    Ok(())
}

fn awaits(log: &Log) -> bool {
    log.sequencer(|sequencer, _, _| sequencer.is_awaiting_continues())
}

async fn archive(archiver: &mut Archiver) -> Result<(), CommitError> {
    for _ in 0..ARCHIVE_TRIES {
        match archiver.catch_up().await {
            Ok(()) => return Ok(()),
            Err(problem) if problem.is_transient() => {
                tracing::warn!(%problem, "what the new stream continues is not archived yet");
            }
            // The archive is of another history: this copy is not the one to go on with.
            Err(problem) => return Err(CommitError::Stopped(problem.to_string())),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    Ok(())
}

async fn publish(log: &Log, key: &OriginKey, marks: &[OriginMark]) -> Result<(), CommitError> {
    let origin = Origin::Role(Role::Ledger);
    let (size, root, term, last) = log.sequencer(|sequencer, _, _| {
        (sequencer.size(), sequencer.root(), sequencer.term(Role::Ledger), sequencer.mark(&origin))
    });
    let (epoch, number) =
        last.map_or(([0; 16], 0), |mark| (mark.epoch.as_slice().try_into().unwrap_or_default(), mark.number));
    let body = Continues { size, root: root.to_vec(), marks: fitting(marks) };
    let meta = Envelope { occurred_at_ms: now_ms(), ..Envelope::default() };
    let event = wire::envelope(EventType::Continues, body.encode_to_vec(), &meta).encode_to_vec();
    let number = number + 1;
    let draft = FrameDraft { fleet: log.fleet(), origin: &origin, epoch, number, term, based_on: size };
    let frame = draft.sign(key, vec![event])?;
    let id = message_id(&origin, &epoch, number);
    let mut head = log.head();
    while awaits(log) {
        if let Err(error) = log.bus().publish_frame(log.fleet(), &origin, frame.clone(), &id, None).await {
            tracing::debug!(%error, "the continuation is not acknowledged, repeating");
        }
        // A change of the head is a frame that was accepted: this one, or another ledger's.
        let _ = tokio::time::timeout(AGAIN_AFTER, head.changed()).await;
    }
    tracing::info!(size, "the log is continued in a stream that was made anew");
    Ok(())
}

/// As many marks as fit the event: they are for people, the sequencer needs none.
fn fitting(marks: &[OriginMark]) -> Vec<OriginMark> {
    let mut bytes = EVENT_ROOM_BYTES;
    let fits = |mark: &&OriginMark| {
        bytes += mark.encoded_len() + 4;
        bytes <= EVENT_MAX_BYTES
    };
    marks.iter().take_while(fits).cloned().collect()
}
