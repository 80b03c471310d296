//! From events to state: the same reducers as the services run, over verified frames.

use std::ops::ControlFlow;
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

/// Sees each event of a log in its frame; may end the reading.
pub(crate) type EachEvent<'a> = dyn FnMut(&AcceptedFrame, &Recorded) -> Result<ControlFlow<()>, Error> + 'a;

/// A log to read, and who is told how far the reading is (in events).
pub struct Pass<'a> {
    /// Folder of sealed segments.
    pub folder: &'a Path,
    /// The only first frame accepted, by its header hash.
    pub anchor: Option<Hash>,
    /// Told the number of events read, frame by frame.
    pub progress: &'a mut dyn FnMut(u64),
}

impl Pass<'_> {
    /// Every event in log order, each frame verified before; `each` may end it.
    pub(crate) fn each(&mut self, each: &mut EachEvent<'_>) -> Result<(), Error> {
        self.each_before(u64::MAX, each)
    }

    /// As [`Pass::each`], and nothing at this position or behind it is looked at.
    fn each_before(&mut self, end: u64, each: &mut EachEvent<'_>) -> Result<(), Error> {
        for frame in LogFolder::open(self.folder, self.anchor)?.frames() {
            let frame = frame?;
            for event in events(&frame).take(end.saturating_sub(frame.first) as usize) {
                let event = event.map_err(|(position, source)| Error::Event { position, source })?;
                if each(&frame, &event)?.is_break() {
                    return Ok(());
                }
            }
            (self.progress)(frame.end());
            if frame.end() >= end {
                break;
            }
        }
        Ok(())
    }
}

/// Every event of a log in its order, each frame verified before.
///
/// # Errors
/// The log cannot be read, or an event of it is not understood.
pub fn read(pass: &mut Pass<'_>, each: &mut dyn FnMut(&Recorded)) -> Result<(), Error> {
    pass.each(&mut |_, event| {
        each(event);
        Ok(ControlFlow::Continue(()))
    })
}

/// Applies an event; why it had no effect, if it had none.
pub(crate) fn apply(state: &mut State, recorded: &Recorded) -> Option<String> {
    let (voids, incidents) = (state.voids, state.incidents);
    state.apply(recorded);
    if state.voids > voids {
        let why = "it came too late: something between its decision and its place in the log forbade it";
        return Some(why.to_owned());
    }
    let newest = state.incident_list.back().filter(|_| state.incidents > incidents);
    newest.map(|incident| format!("incident: {}", incident.reason))
}

/// A moment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// After this many events.
    Size(u64),
    /// After the last event recorded at this moment or before, ms since 1970.
    Time(u64),
}

impl At {
    /// Whether the event comes after this moment.
    pub(crate) fn is_before(self, event: &Recorded) -> bool {
        match self {
            Self::Size(size) => event.sequence >= size,
            Self::Time(at_ms) => event.at > at_ms,
        }
    }

    /// A size must be one the log has had; any time after its beginning has a state.
    pub(crate) fn within(self, size: u64) -> Result<(), Error> {
        match self {
            Self::Size(at) if at > size => Err(Error::PastEnd { size, at }),
            _ => Ok(()),
        }
    }
}

/// The state at a moment, or after all that are sealed. Every frame is verified on the way.
pub fn state_at(pass: &mut Pass<'_>, at: Option<At>) -> Result<State, Error> {
    let mut state = State::default();
    let end = if let Some(At::Size(size)) = at { size } else { u64::MAX };
    pass.each_before(end, &mut |_, event| {
        if at.is_some_and(|at| at.is_before(event)) {
            return Ok(ControlFlow::Break(()));
        }
        state.apply(event);
        Ok(ControlFlow::Continue(()))
    })?;
    at.map_or(Ok(()), |at| at.within(state.size))?;
    Ok(state)
}
