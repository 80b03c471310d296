//! What a checkpoint says, and how it is cut into events.
//!
//! It says only what is durable in this copy: an origin forgets its frames on the strength of it.

use std::collections::BTreeMap;

use asterism_domain::wire::Envelope;
use asterism_event_log::growth::Step;
use asterism_proto::frame::EVENT_MAX_BYTES;
use asterism_proto::hash::Hash;
use asterism_proto::v1::{Checkpoint, CheckpointNotice, EventType, Mark, NoticeBody, OriginMark};
use asterism_proto::{OriginKey, note, notice};
use asterism_runtime::commit::{CommitError, Term};
use asterism_runtime::leader::now_ms;
use asterism_runtime::log::Log;
use prost::Message;

/// Room in a checkpoint event for all but the marks: size, root, stream id and position, envelope.
const EVENT_ROOM_BYTES: usize = 768;
/// Most checkpoint events in a frame: ten full ones are 60 KiB.
const FRAME_EVENTS_MAX: usize = 10;

/// The log at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Events covered.
    pub size: u64,
    /// Root at that size.
    pub root: Hash,
    /// The stream the position counts in.
    pub stream_id: String,
    /// Position of the last frame covered.
    pub stream_sequence: u64,
    /// Record time of the last frame covered.
    pub record_time_ms: u64,
    /// Last frame of every open origin.
    pub marks: Vec<OriginMark>,
    /// The log's trust anchor.
    pub anchor: Hash,
    /// What proves that the log only grew since the checkpoint before.
    pub growth: Option<Step>,
    /// Last frames the log does not have from an earlier checkpoint.
    pub news: Vec<OriginMark>,
}

/// What has been signed in this term.
#[derive(Clone, Debug, PartialEq)]
pub struct Signed {
    /// Events covered.
    pub size: u64,
    /// The checkpoint's own events, which stand right behind if nothing came between.
    pub own: u64,
    /// What everyone is told.
    pub notice: CheckpointNotice,
}

impl Signed {
    /// Whether a log of this size has nothing that is neither covered nor this checkpoint itself.
    pub fn covers(&self, size: u64) -> bool {
        size <= self.size + self.own
    }
}

impl Snapshot {
    /// Reads the log consistently, then makes all of it durable. `since` is the size of the last checkpoint of this
    /// term; without one every open origin is news, since a former leader may have been cut off between two frames.
    pub async fn take(log: &Log, since: Option<u64>) -> Result<Self, CommitError> {
        let snapshot = log.sequencer(|sequencer, stream_id, stream_sequence| {
            let marks = sequencer.marks();
            let before = since.or_else(|| sequencer.checkpoint().map(|seen| seen.size)).unwrap_or(0);
            let mut news = sequencer.marks_since(before);
            if since.is_none() {
                news = union(news, &marks);
            }
            Self {
                size: sequencer.size(),
                root: sequencer.root(),
                stream_id: stream_id.to_owned(),
                stream_sequence: sequencer.last_frame().map_or(stream_sequence, |last| last.at.sequence),
                record_time_ms: sequencer.record_time_ms(),
                marks,
                anchor: sequencer.anchor().unwrap_or_default(),
                growth: sequencer.growth().to(sequencer.size()),
                news,
            }
        });
        let stopped = || CommitError::Stopped("the log's storage does not answer".to_owned());
        // The sequencer is a moment ahead of the copy's queue.
        log.head().wait_for(|head| head.size >= snapshot.size).await.map_err(|_| stopped())?;
        let durable = log.sync().await.ok_or_else(stopped)?;
        if durable < snapshot.size { Err(stopped()) } else { Ok(snapshot) }
    }

    /// The bodies of the checkpoint's events. Each names size and root; the marks are spread over them.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        let body = |marks| {
            let checkpoint = Checkpoint {
                size: self.size,
                root: self.root.to_vec(),
                stream_id: self.stream_id.clone(),
                stream_sequence: self.stream_sequence,
                marks,
                record_time_ms: self.record_time_ms,
            };
            checkpoint.encode_to_vec()
        };
        let mut bodies = Vec::new();
        let (mut marks, mut bytes) = (Vec::new(), 0);
        for mark in &self.news {
            // Tag and length of the field; a mark is far below 16 KiB.
            let more = mark.encoded_len() + 4;
            if bytes + more > EVENT_MAX_BYTES - EVENT_ROOM_BYTES {
                bodies.push(body(std::mem::take(&mut marks)));
                bytes = 0;
            }
            bytes += more;
            marks.push(mark.clone());
        }
        if bodies.is_empty() || !marks.is_empty() {
            bodies.push(body(marks));
        }
        bodies
    }

    /// Commits it, and signs what everyone is told with the log key. Many origins take more than one frame; each is a
    /// whole checkpoint of the same size.
    pub async fn commit(self, term: &mut Term, fleet: &str, key: &OriginKey) -> Result<Signed, CommitError> {
        let bodies = self.bodies();
        let own = bodies.len() as u64;
        let meta = Envelope { occurred_at_ms: now_ms(), ..Envelope::default() };
        let mut frame = Vec::new();
        for group in bodies.chunks(FRAME_EVENTS_MAX) {
            frame = term.commit_bodies(EventType::Checkpoint, group.to_vec(), &meta).await?.frame;
        }
        let mark = |mark: OriginMark| Mark { origin: mark.origin, epoch: mark.epoch, number: mark.number };
        // Those closed since are told too: their writers forget their frames by it.
        let marks = union(self.news, &self.marks).into_iter().map(mark).collect();
        let mut body = NoticeBody {
            fleet: fleet.to_owned(),
            size: self.size,
            root: self.root.to_vec(),
            marks,
            log: note::origin(&note::tag(fleet, &self.anchor)),
            ..NoticeBody::default()
        };
        if let Some(step) = self.growth {
            (body.previous_size, body.previous_root) = (step.from, step.from_root.to_vec());
            body.proof = step.path.iter().map(|hash| hash.to_vec()).collect();
        }
        let notice = notice::sign(key, frame, body);
        Ok(Signed { size: self.size, own, notice })
    }
}

fn union(one: Vec<OriginMark>, other: &[OriginMark]) -> Vec<OriginMark> {
    let mut all: BTreeMap<String, OriginMark> = BTreeMap::new();
    for mark in one.into_iter().chain(other.iter().cloned()) {
        all.insert(mark.origin.clone(), mark);
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use asterism_domain::wire;
    use proptest::prelude::*;

    fn snapshot(origins: usize, id_bytes: usize) -> Snapshot {
        let mark = |number: usize| OriginMark {
            origin: format!("node/{number:0>id_bytes$}"),
            epoch: vec![9; 16],
            number: u64::MAX - number as u64,
        };
        Snapshot {
            size: u64::MAX,
            root: [7; 32],
            stream_id: "s".repeat(90),
            stream_sequence: u64::MAX,
            record_time_ms: u64::MAX,
            marks: vec![],
            growth: None,
            anchor: [9; 32],
            news: (0..origins).map(mark).collect(),
        }
    }

    proptest! {
        #[test]
        fn every_mark_is_in_an_event_that_fits_and_a_frame_of_them_too(origins in 0usize..1_500, id in 4usize..64) {
            let snapshot = snapshot(origins, id);
            let bodies = snapshot.bodies();
            let mut marks = Vec::new();
            for group in bodies.chunks(FRAME_EVENTS_MAX) {
                let mut frame = 0;
                for body in group {
                    let meta = Envelope { occurred_at_ms: u64::MAX, ..Envelope::default() };
                    let event = wire::envelope(EventType::Checkpoint, body.clone(), &meta).encode_to_vec();
                    prop_assert!(event.len() <= EVENT_MAX_BYTES, "{}", event.len());
                    frame += event.len() + 4;
                    let read = Checkpoint::decode(body.as_slice()).unwrap();
                    prop_assert_eq!(read.size, snapshot.size);
                    marks.extend(read.marks);
                }
                prop_assert!(frame + 1_024 <= asterism_proto::frame::FRAME_MAX_BYTES);
            }
            prop_assert!(!bodies.is_empty());
            prop_assert_eq!(marks, snapshot.news);
        }
    }

    #[test]
    fn a_checkpoint_covers_itself_and_nothing_that_came_between() {
        let signed = Signed { size: 10, own: 1, notice: CheckpointNotice::default() };
        assert!(signed.covers(10) && signed.covers(11));
        assert!(!signed.covers(12));
    }
}
