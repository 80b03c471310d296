//! `replay-fold`: what the reducers cost: blocks checked by CRC, decoded and applied to a state, against the same
//! without the state. One core, a fresh state for every pass over the recorded campaign. Time is the thread's own on the
//! processor, so that a busy machine does not count.

use anyhow::{Context, ensure};
use asterism_domain::{Recorded, State, wire};
use asterism_event_log::block::pack;
use asterism_event_log::{AcceptedFrame, LogFolder};
use asterism_proto::hash::empty_root;
use asterism_proto::v1::FrameHeader;
use asterism_proto::{Events, OpenFrame};
use prost::Message;
use serde_json::json;

use super::corpus::{CONTACTS, Corpus};
use super::probe::on_cpu_s;
use super::report::{Figure, median, spread};

/// Rounds; each makes two passes on either side.
const ROUNDS: usize = 9;
/// Bytes before and behind a block's body.
const PREFIX_BYTES: usize = 82;
const CRC_BYTES: usize = 4;

/// Measures both sides.
pub fn run() -> anyhow::Result<Figure> {
    let corpus = Corpus::load()?;
    let accepted: Vec<AcceptedFrame> =
        LogFolder::open(corpus.log(), None)?.frames().collect::<Result<_, _>>()?;
    let events = accepted.last().context("no frames")?.end();
    let blocks: Vec<Vec<u8>> = pack(empty_root(), &accepted).into_iter().map(|block| block.bytes).collect();
    let wanted = expected(&accepted)?;
    let (mut folded, mut decoded, mut reducers) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (fold_s, state) = fold(&blocks)?;
        ensure!(state.hash() == wanted.hash() && state.size == events, "the blocks fold to another state");
        ensure!(state.incidents == 0, "{} incidents", state.incidents);
        let contacts = state.campaigns.values().map(|campaign| campaign.contacts.len() as u64).sum::<u64>();
        ensure!(contacts == CONTACTS, "{contacts} contacts");
        drop(state);
        let decode_s = decode(&blocks, events)?;
        if round > 0 {
            // the first one warms up
            folded.push(events as f64 / fold_s);
            decoded.push(events as f64 / decode_s);
            reducers.push(events as f64 / (fold_s - decode_s).max(1e-9));
        }
    }
    let ratios: Vec<f64> = folded.iter().zip(&decoded).map(|(folded, decoded)| folded / decoded).collect();
    Ok(Figure {
        value: median(&folded),
        unit: "events/s",
        baseline: Some(median(&decoded)),
        ratio: Some(median(&ratios)),
        note: "blocks in memory, one core: CRC, prost decode of envelope and body, reducers, into a fresh state; baseline: the \
               same without reducers"
            .to_owned(),
        detail: json!({
            "events_per_s": spread(&folded),
            "crc_and_decode_events_per_s": spread(&decoded),
            "ratio": spread(&ratios),
            "reducers_alone_events_per_s": spread(&reducers),
            "events": events,
            "blocks": blocks.len(),
        }),
    })
}

/// The state by the way every service takes: verified frames, one event after the other.
fn expected(accepted: &[AcceptedFrame]) -> anyhow::Result<State> {
    let mut state = State::default();
    for frame in accepted {
        for (index, sequence) in (0..frame.frame.events.len() as u32).zip(frame.first..) {
            state.apply(&wire::recorded(&frame.frame, index, sequence, frame.record_time_ms)?);
        }
    }
    Ok(state)
}

fn fold(blocks: &[Vec<u8>]) -> anyhow::Result<(f64, State)> {
    let mut state = State::default();
    let began = on_cpu_s()?;
    each_event(blocks, |event| state.apply(event))?;
    Ok((on_cpu_s()? - began, state))
}

fn decode(blocks: &[Vec<u8>], events: u64) -> anyhow::Result<f64> {
    let mut seen = 0;
    let began = on_cpu_s()?;
    each_event(blocks, |event| {
        std::hint::black_box(event);
        seen += 1;
    })?;
    let took = on_cpu_s()? - began;
    ensure!(seen == events, "{seen} of {events} events");
    Ok(took)
}

/// Every event of the blocks, checked by CRC alone.
fn each_event(blocks: &[Vec<u8>], mut each: impl FnMut(&Recorded)) -> anyhow::Result<()> {
    let mut sequence = 0;
    for block in blocks {
        let (content, crc) = block.split_at(block.len() - CRC_BYTES);
        ensure!(crc32fast::hash(content).to_be_bytes() == crc, "a block's checksum does not match");
        let mut rest = content.get(PREFIX_BYTES..).context("a short block")?;
        while !rest.is_empty() {
            let (frame, at, first) = part(&mut rest).context("a malformed block")?;
            for index in 0..frame.events.len() as u32 {
                let mut event = wire::recorded(&frame, index, sequence, at)?;
                event.id.index += first;
                each(&event);
                sequence += 1;
            }
        }
    }
    Ok(())
}

/// One part of a frame, its record time, and the index of its first event in the frame. Nothing of it is hashed.
fn part(rest: &mut &[u8]) -> Option<(OpenFrame, u64, u32)> {
    let (header_bytes, signature) = (slice16(rest)?.to_vec(), slice16(rest)?.to_vec());
    let at = u64::from_be_bytes(*array(rest)?);
    let _stream_at: &[u8; 16] = array(rest)?;
    let index = u16::from_be_bytes(*array(rest)?);
    let [count] = *array(rest)?;
    let events = (0..count).map(|_| slice16(rest)).collect::<Option<Events>>()?;
    let header = FrameHeader::decode(header_bytes.as_slice()).ok()?;
    let (origin, epoch) = (header.origin.parse().ok()?, header.epoch.as_slice().try_into().ok()?);
    Some((OpenFrame { header, header_bytes, origin, epoch, signature, events }, at, u32::from(index)))
}

fn array<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

fn slice16<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(*array(rest)?);
    let (taken, left) = rest.split_at_checked(usize::from(length))?;
    *rest = left;
    Some(taken)
}
