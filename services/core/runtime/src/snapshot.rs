//! Snapshots of what the log folds to: written behind each seal by a second fold, used at the next start, proved again.
//!
//! A start from a snapshot is believed only as far as the log's roots reach: they prove the events, not what was folded
//! from them (`vouch`). A thread therefore folds the same events again from the sealed segments; if it comes to another
//! state the process stops, and the snapshots are gone.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use asterism_domain::{REDUCER, State};
use asterism_event_log::snapshot::{self, Snapshot};
use asterism_event_log::{AcceptedFrame, Copy, Error, Opened};
use tokio::sync::watch;

mod snapshotter;
mod vouch;

use crate::health::Health;
use crate::log::{Folded, LogConfig, LogError, fold};
pub(crate) use snapshotter::Snapshotter;
pub(crate) use vouch::Unproved;

/// What is known of this copy's snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// Size of the snapshot the copy was opened from; 0 = folded from the beginning.
    pub opened_from: u64,
    /// Size of the newest snapshot written; 0 = none since the start.
    pub written: u64,
    /// Size up to which a second fold came to the same state.
    pub proved: u64,
}

/// Shows them among the process's metrics.
pub(crate) async fn report(mut snapshots: watch::Receiver<Snapshots>, health: Health) {
    let gauge = |name, help| health.metrics().gauge(name, help);
    let from = gauge(
        "asterism_log_snapshot_opened_from",
        "Log size of the snapshot this copy was opened from, 0 = none.",
    );
    let proved =
        gauge("asterism_log_snapshot_proved", "Log size up to which a second fold came to the same state.");
    let (Ok(from), Ok(proved)) = (from, proved) else { return };
    loop {
        let told = *snapshots.borrow_and_update();
        from.set(told.opened_from);
        proved.set(told.proved);
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

/// A copy that was opened, with the state its events fold to.
pub(crate) struct Start {
    pub(crate) opened: Opened,
    pub(crate) state: State,
    /// What it began with, if anything.
    pub(crate) from: Option<Snapshot>,
    /// Set while nothing has borne that out.
    pub(crate) unproved: Option<Unproved>,
}

impl Start {
    /// Folds the next frame of the log into the state, and lets it bear the snapshot out.
    pub(crate) fn fold(&mut self, frame: &AcceptedFrame) -> Result<(), String> {
        if let Some(unproved) = &self.unproved
            && unproved.is_borne_out(frame, &self.state)?
        {
            self.unproved = None;
        }
        fold(&mut self.state, frame)
    }
}

/// Opens the copy behind the newest snapshot that leads to it, or from the beginning.
pub(crate) fn open(config: &LogConfig) -> Result<Start, LogError> {
    let newest = if config.dir.is_dir() { snapshot::list(&config.dir)? } else { Vec::new() };
    for (size, path) in newest {
        let (from, mut state) = match usable(&path, config) {
            Ok(usable) => usable,
            Err(why) => {
                tracing::info!(size, why, "a snapshot is not used");
                continue;
            }
        };
        let (mut stopped, mut refuted) = (None, None);
        let mut unproved = Unproved::of(&from, &config.dir);
        let opened = Copy::open_behind(&config.dir, from.sequencer.clone(), |frame| {
            if stopped.is_some() || refuted.is_some() {
                return;
            }
            match unproved.as_ref().map(|unproved| unproved.is_borne_out(frame, &state)) {
                Some(Ok(true)) => unproved = None,
                Some(Err(reason)) => refuted = Some(reason),
                Some(Ok(false)) | None => {}
            }
            stopped = fold(&mut state, frame).err();
        });
        if let Some(reason) = refuted {
            tracing::error!(size, reason, "a false snapshot, and with it all others, is removed");
            discard(&config.dir);
            break;
        }
        match (opened, stopped) {
            (Ok(opened), None) => return Ok(Start { opened, state, from: Some(from), unproved }),
            (Err(error @ Error::Snapshot { .. }), _) => tracing::warn!(%error, "a snapshot is not used"),
            (Err(error), _) => return Err(error.into()),
            (_, Some(reason)) => return Err(LogError::Stopped(reason)),
        }
    }
    from_the_beginning(config)
}

fn from_the_beginning(config: &LogConfig) -> Result<Start, LogError> {
    let (mut state, mut stopped) = (State::default(), None);
    let opened = Copy::open(&config.dir, &config.fleet, Some(config.anchor), |frame| {
        if stopped.is_none() {
            stopped = fold(&mut state, frame).err();
        }
    })?;
    match stopped {
        Some(reason) => Err(LogError::Stopped(reason)),
        None => Ok(Start { opened, state, from: None, unproved: None }),
    }
}

/// A snapshot of this log and this reducer, with its state.
fn usable(path: &Path, config: &LogConfig) -> Result<(Snapshot, State), String> {
    let read = Snapshot::read(path).map_err(|error| error.to_string())?;
    if read.reducer != REDUCER {
        return Err(format!("it is of reducer {}, this is {REDUCER}", read.reducer));
    }
    let (fleet, anchor) = (read.sequencer.fleet(), read.sequencer.configured_anchor());
    if fleet != config.fleet || anchor != Some(config.anchor) {
        return Err("it is of another log".to_owned());
    }
    let state = State::from_bytes(&read.state).filter(|state| state.size == read.size());
    state.map(|state| (read, state)).ok_or_else(|| "its state cannot be read".to_owned())
}

/// State and sequencer as they are now.
pub(crate) fn taken(folded: &RwLock<Folded>) -> Snapshot {
    let folded = folded.read().unwrap_or_else(PoisonError::into_inner);
    let (sequencer, state) = (folded.sequencer.clone(), folded.state.to_bytes());
    Snapshot { reducer: REDUCER.to_owned(), sequencer, state }
}

/// Removes every snapshot: none of them can be told from the false one.
pub(crate) fn discard(dir: &Path) {
    vouch::forget(dir);
    for (_, path) in snapshot::list(dir).unwrap_or_default() {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::error!(%error, path = %path.display(), "a false snapshot could not be removed");
        }
    }
}
