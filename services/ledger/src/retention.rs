//! What stands in the stream alone: the stream keeps it until it is archived, and too much of it stops the dialling.
//!
//! The stream keeps a frame for a day. Once something older than half of that is not archived, the ledger lengthens it, by
//! as much as that is old; it is never below what is not archived. At half of the stream's age or bytes not archived,
//! [`Event::ArchiveBehind`] holds the dialler, with what that was decided on; it lets go when it is less.

use std::time::Duration;

use asterism_domain::Event;
use asterism_event_log::sealed::{self, Reader};
use asterism_nats::stream::{self, MAX_AGE};
use asterism_runtime::log::Log;
use tokio::sync::{mpsc, oneshot, watch};

use crate::office::Ask;

/// The stream's age is set in whole hours: not at each look.
const HOUR_MS: u64 = 3_600_000;

/// How often it is looked, and from which age on the stream keeps more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Time between two looks.
    pub look_every_ms: u64,
    /// Age of what is not archived from which on the stream keeps longer.
    pub lengthen_after_ms: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { look_every_ms: 30_000, lengthen_after_ms: MAX_AGE.as_millis() as u64 / 2 }
    }
}

/// What is not archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unarchived {
    events: u64,
    /// Of the oldest.
    age_ms: u64,
    /// Of the stream, about.
    bytes: u64,
}

/// What the stream takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    max_age_ms: u64,
    max_bytes: u64,
}

/// How long the stream keeps a frame.
fn keep_for_ms(unarchived: Unarchived, after_ms: u64) -> u64 {
    let day = MAX_AGE.as_millis() as u64;
    if unarchived.events == 0 || unarchived.age_ms < after_ms {
        return day;
    }
    (unarchived.age_ms + day).div_ceil(HOUR_MS) * HOUR_MS
}

/// Why nothing new may be dialled, if so.
fn hold(unarchived: Unarchived, limits: Limits) -> Option<String> {
    let Unarchived { events, age_ms, bytes } = unarchived;
    let next = "see the ledger's readiness and `asterism archive list`";
    if bytes >= limits.max_bytes / 2 {
        let (bytes, max) = (bytes >> 20, limits.max_bytes >> 20);
        return Some(format!("{bytes} of the stream's {max} MiB are not archived ({events} events); {next}"));
    }
    // The stream keeps ever longer: what counts is the day it keeps without that.
    if age_ms >= limits.max_age_ms / 2 && age_ms >= MAX_AGE.as_millis() as u64 / 2 {
        let hours = age_ms / HOUR_MS;
        return Some(format!("nothing was archived for {hours} hours ({events} events wait); {next}"));
    }
    None
}

/// Looks now and then while this process leads; ends with the sender of `leading`.
pub(crate) async fn keep(
    log: Log,
    retention: Retention,
    asks: mpsc::Sender<Ask>,
    mut leading: watch::Receiver<Option<u64>>,
) {
    let mut oldest = Oldest::default();
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        if let Err(why) = look(&log, retention, &asks, &mut oldest).await {
            tracing::warn!(why, "what is not archived is not known");
        }
        tokio::time::sleep(Duration::from_millis(retention.look_every_ms)).await;
    }
}

async fn look(
    log: &Log,
    retention: Retention,
    asks: &mpsc::Sender<Ask>,
    oldest: &mut Oldest,
) -> Result<(), String> {
    let (size, archived, held) = log.read(|state| (state.size, state.archived, state.archive_hold.clone()));
    let info = stream::info(log.bus(), log.fleet()).await.map_err(|error| error.to_string())?;
    let mut unarchived = Unarchived { events: size.saturating_sub(archived), ..Unarchived::default() };
    if let Some((time_ms, sequence)) = oldest.find(log, archived).await? {
        unarchived.age_ms = log.now_ms().saturating_sub(time_ms);
        let (first, last) = (info.first_sequence, info.last_sequence);
        let waits = (last + 1).saturating_sub(sequence.max(first));
        unarchived.bytes =
            (u128::from(info.bytes) * u128::from(waits) / u128::from((last + 1 - first).max(1))) as u64;
    }
    let age = Duration::from_millis(keep_for_ms(unarchived, retention.lengthen_after_ms));
    if stream::keep_for(log.bus(), log.fleet(), age).await.map_err(|error| error.to_string())? {
        tracing::info!(hours = age.as_secs() / 3_600, "the stream keeps its frames for this long");
    }
    let limits = Limits { max_age_ms: age.as_millis() as u64, max_bytes: info.max_bytes };
    let now = hold(unarchived, limits);
    // The reason's numbers change with each look; that it holds does not.
    let holds = now.is_some();
    if holds != held.is_empty() {
        return Ok(());
    }
    let reason = now.unwrap_or_else(|| format!("{} events wait for the archive", unarchived.events));
    let Unarchived { events, age_ms, bytes } = unarchived;
    let Limits { max_age_ms, max_bytes } = limits;
    tracing::warn!(holds, reason, "the archive and the dialling");
    let event = Event::ArchiveBehind { hold: holds, reason, events, age_ms, bytes, max_age_ms, max_bytes };
    let (done, committed) = oneshot::channel();
    let ended = "this process does not lead any more";
    asks.send(Ask::Commit(vec![event], done)).await.map_err(|_| ended.to_owned())?;
    committed.await.map(drop).map_err(|_| ended.to_owned())
}

/// The oldest frame that is not archived, once it is sealed here. What is not sealed is younger than a seal's interval.
#[derive(Default)]
struct Oldest {
    known: Option<(u64, (u64, u64))>,
}

impl Oldest {
    /// Its time in the stream and its place there.
    async fn find(&mut self, log: &Log, archived: u64) -> Result<Option<(u64, u64)>, String> {
        if let Some((_, found)) = self.known.filter(|(at, _)| *at == archived) {
            return Ok(Some(found));
        }
        let files = sealed::list(log.folder()).map_err(|error| error.to_string())?;
        let holds = |(first, end, _): &&(u64, u64, std::path::PathBuf)| (*first..*end).contains(&archived);
        let Some((first, _, path)) = files.iter().find(holds).cloned() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || {
            let (mut reader, mut at) = (Reader::open(&path)?, first);
            while let Some(frame) = reader.next_frame()? {
                at += frame.frame.events.len() as u64;
                if at > archived {
                    return Ok(Some((frame.record_time_ms, frame.at.sequence)));
                }
            }
            Ok::<_, asterism_event_log::Error>(None)
        });
        let found = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.known = found.map(|found| (archived, found));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * HOUR_MS;

    #[test]
    fn the_stream_keeps_a_day_and_more_by_what_is_not_archived() {
        let keeps = |events, age_ms| keep_for_ms(Unarchived { events, age_ms, bytes: 0 }, DAY / 2);
        assert_eq!([keeps(0, 9 * DAY), keeps(5, DAY / 2 - 1)], [DAY, DAY]);
        assert_eq!(keeps(5, DAY / 2), DAY + DAY / 2);
        assert_eq!(keeps(5, 10 * DAY + 1), 11 * DAY + HOUR_MS, "whole hours, never less than what waits");
    }

    #[test]
    fn half_of_the_bytes_or_of_the_age_holds() {
        let limits = |max_age_ms| Limits { max_age_ms, max_bytes: 100 << 20 };
        let holds = |age_ms, bytes| {
            hold(
                Unarchived { events: 7, age_ms, bytes },
                limits(keep_for_ms(Unarchived { events: 7, age_ms, bytes }, DAY / 2)),
            )
        };
        assert_eq!((holds(0, (50 << 20) - 1), holds(DAY - HOUR_MS, 0)), (None, None));
        let full = holds(0, 50 << 20).unwrap_or_default();
        assert!(full.starts_with("50 of the stream's 100 MiB are not archived (7 events)"), "{full}");
        let old = holds(DAY, 0).unwrap_or_default();
        assert!(old.starts_with("nothing was archived for 24 hours"), "{old}");
    }
}
