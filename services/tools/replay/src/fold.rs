//! From events to state: the same reducers as the services run, over verified frames.

use std::path::Path;

use asterism_domain::wire::{DecodeError, recorded};
use asterism_domain::{Recorded, State};
use asterism_event_log::{AcceptedFrame, LogFolder};
use asterism_proto::hash::Hash;

use crate::Error;

/// The events of a frame as the reducers read them, with the global sequence of each.
pub(crate) fn events(
    frame: &AcceptedFrame,
) -> impl Iterator<Item = Result<Recorded, (u64, DecodeError)>> + '_ {
    (0u32..).zip(&frame.frame.events).map(|(index, _)| {
        let sequence = frame.first + u64::from(index);
        recorded(&frame.frame, index, sequence, frame.record_time_ms).map_err(|why| (sequence, why))
    })
}

/// The state after the first `at` events, or after all that are sealed. Every frame is verified on the way.
pub fn state_at(folder: &Path, anchor: Option<Hash>, at: Option<u64>) -> Result<State, Error> {
    let log = LogFolder::open(folder, anchor)?;
    let mut state = State::default();
    let limit = at.unwrap_or(u64::MAX);
    for frame in log.frames() {
        let frame = frame?;
        for event in events(&frame) {
            if state.size >= limit {
                return Ok(state);
            }
            let event = event.map_err(|(position, source)| Error::Event { position, source })?;
            state.apply(&event);
        }
    }
    match at {
        Some(at) if at > state.size => Err(Error::PastEnd { size: state.size, at }),
        _ => Ok(state),
    }
}
