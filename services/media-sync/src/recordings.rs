//! Recordings on their way into the store: where a node may send one, whether it came whole, and what becomes of those whose
//! node is gone.
//!
//! A node is answered about nothing but what the log says it has. What it sent is read back here, byte for byte, before the
//! log says that it is stored: a server may take wrong bytes without a word. Whoever is killed between reading and
//! committing is asked again.

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::catalogue::CatalogueCommand;
use asterism_domain::recording::{self, Made, RecordingCommand, RecordingId};
use asterism_domain::{NodeId, State};
use asterism_nats::{ServiceError, crash};
use asterism_object_store::{Error as StoreError, MAX_OBJECT_BYTES, MAX_PAGE_ENTRIES, ObjectName};
use asterism_proto::v1::{ContactField, RecordingOffer, RecordingPlace};
use asterism_runtime::leader::{AskError, Desk, now_ms};
use asterism_runtime::log::Log;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::MediaConfig;
use crate::shelf::Shelf;

/// Objects read back at the same time: each is in memory once.
const READ_AT_ONCE: usize = 2;
/// Time between two looks at nodes that are gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Recordings of nodes that are gone, settled in one look.
const SETTLED_AT_ONCE: usize = 32;
/// Time between two looks for objects of erased recordings.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// An object that no recording is named after is removed when it is older than an address is valid.
const UNKNOWN_MIN_AGE_MS: u64 = 2 * 3_600_000;
/// "Too early", as HTTP has it: the node asks again soon.
const SOON: u16 = 425;

/// What answers nodes about their recordings.
#[derive(Debug)]
pub(crate) struct Keeper {
    log: Log,
    desk: Desk<CatalogueCommand>,
    shelf: Arc<Shelf>,
    reading: Semaphore,
    /// Days a campaign's are kept that has no number of its own; 0 = until they are erased.
    keep_days: u32,
    day_ms: u64,
}

/// What the store has under a recording's name.
enum Found {
    Nothing,
    Other,
    Whole,
}

impl Keeper {
    pub(crate) fn new(
        log: &Log,
        desk: &Desk<CatalogueCommand>,
        shelf: &Arc<Shelf>,
        config: &MediaConfig,
    ) -> Self {
        let (log, desk, shelf) = (log.clone(), desk.clone(), shelf.clone());
        let (keep_days, day_ms) = (config.recordings_keep_days, config.day_ms);
        Self { log, desk, shelf, reading: Semaphore::new(READ_AT_ONCE), keep_days, day_ms }
    }

    /// Answers a node.
    pub(crate) async fn place(&self, offer: RecordingOffer) -> Result<RecordingPlace, ServiceError> {
        let refused = |code, reason: String| ServiceError { code, reason };
        let id: RecordingId =
            offer.recording.parse().map_err(|_| refused(400, "that names no recording".to_owned()))?;
        let (settled, made) = self.log.read(|state| {
            let pending = recording::pending(state, &offer.node, &id).cloned();
            (recording::is_settled(state, &offer.node, &id), pending)
        });
        let Some(made) = made else {
            if settled {
                return Ok(RecordingPlace { stored: true, ..RecordingPlace::default() });
            }
            return Err(refused(SOON, "the log does not say that the node has it".to_owned()));
        };
        if offer.sent {
            return self.confirm(&offer.node, &id, &made).await;
        }
        let object = self.object(&id, &made).map_err(|error| refused(409, error.to_string()))?;
        let valid_s = self.shelf.url_valid_s();
        let upload = self.shelf.store().upload_url(&object, &made.sha256, valid_s).await;
        let upload = upload.map_err(|error| refused(503, error.to_string()))?;
        let headers = upload.headers.into_iter().map(|(name, value)| ContactField { name, value }).collect();
        Ok(RecordingPlace { stored: false, url: upload.url, headers })
    }

    /// The node says that it is sent: it is read back, and the log says so.
    async fn confirm(
        &self,
        node: &NodeId,
        id: &RecordingId,
        made: &Made,
    ) -> Result<RecordingPlace, ServiceError> {
        let refused = |code, reason: String| ServiceError { code, reason };
        if self.desk.term().is_none() {
            return Err(refused(SOON, "another process leads".to_owned()));
        }
        match self.read_back(id, made).await {
            Ok(Found::Whole) => {}
            Ok(Found::Nothing) => {
                return Err(refused(404, "AST-M085: the store does not have it".to_owned()));
            }
            Ok(Found::Other) => {
                return Err(refused(
                    409,
                    "AST-M086: the store has other bytes of it; send it again".to_owned(),
                ));
            }
            Err(error) => return Err(refused(503, error.to_string())),
        }
        crash::point("recording.verified");
        let (node, recording, sha256) = (node.clone(), id.clone(), made.sha256);
        let command = RecordingCommand::Store { node, recording, sha256 };
        match self.desk.tell(CatalogueCommand::Recording(command)).await {
            Ok(_) => {
                crash::point("recording.committed");
                Ok(RecordingPlace { stored: true, ..RecordingPlace::default() })
            }
            Err(error @ AskError::NotLeading(_)) => Err(refused(SOON, error.to_string())),
            Err(error) => Err(refused(409, error.to_string())),
        }
    }

    fn object(&self, id: &RecordingId, made: &Made) -> Result<ObjectName, StoreError> {
        ObjectName::new(self.log.read(|state| recording::object(state, id, &made.sha256)))
    }

    async fn read_back(&self, id: &RecordingId, made: &Made) -> Result<Found, StoreError> {
        let object = self.object(id, made)?;
        let Ok(_turn) = self.reading.acquire().await else { return Ok(Found::Nothing) };
        let bytes = match self.shelf.store().get(&object, MAX_OBJECT_BYTES).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(Found::Nothing),
            Err(StoreError::WrongContent { .. } | StoreError::TooLarge { .. }) => return Ok(Found::Other),
            Err(error) => return Err(error),
        };
        let whole = bytes.len() as u64 == made.size_bytes && Sha256::digest(&bytes).as_slice() == made.sha256;
        Ok(if whole { Found::Whole } else { Found::Other })
    }

    /// Days a campaign's are kept that has no number of its own.
    pub(crate) fn keep_days(&self) -> u32 {
        self.keep_days
    }

    /// What the store has of these.
    pub(crate) fn objects(&self, ids: &[RecordingId]) -> Vec<ObjectName> {
        self.log.read(|state| {
            let name = |id: &RecordingId| {
                let stored = state.recordings.stored.get(id)?;
                ObjectName::new(recording::object(state, id, &stored.made.sha256)).ok()
            };
            ids.iter().filter_map(name).collect()
        })
    }

    /// Removes objects behind the event that says so. What stays is removed by the next sweep.
    pub(crate) async fn remove(&self, objects: &[ObjectName]) {
        for object in objects {
            if let Err(error) = self.shelf.store().delete(object).await {
                tracing::warn!(%object, %error, "an erased recording is removed by the next sweep");
            }
        }
    }

    /// Erases what its campaign's days are over for: the log says so first.
    async fn erase_due(&self) {
        let now_ms = self.log.now_ms();
        let due =
            self.log.read(|state| recording::due(state, (self.keep_days, self.day_ms), now_ms.max(state.at)));
        if due.is_empty() {
            return;
        }
        let recordings: Vec<RecordingId> = due.into_iter().map(|(id, _)| id).collect();
        let objects = self.objects(&recordings);
        let reason = "the days its campaign keeps recordings are over".to_owned();
        let erase = CatalogueCommand::Recording(RecordingCommand::Erase { recordings, reason });
        match self.desk.tell(erase).await {
            Ok(_) => self.remove(&objects).await,
            Err(error) => tracing::debug!(%error, "recordings are erased later"),
        }
    }

    /// Removes what lies in this log's folder and is no recording any more: whoever erased it died before its object went.
    async fn sweep(&self) -> Result<(), StoreError> {
        let folder = self.log.read(recording::folder);
        let mut after = None;
        loop {
            let page = self.shelf.store().list(&folder, after.as_ref(), MAX_PAGE_ENTRIES).await?;
            let gone: Vec<ObjectName> = self.log.read(|state| {
                let names = page.entries.iter().map(|entry| &entry.name);
                names.filter(|name| !recording::is_known(state, name.as_str())).cloned().collect()
            });
            for object in gone {
                // What is young may be on its way, known to a process that is ahead of this one.
                let written = self.shelf.store().head(&object).await?.map_or(0, |meta| meta.modified_at_ms);
                let known = self.log.read(|state| recording::is_known(state, object.as_str()));
                if !known && now_ms().saturating_sub(written) > UNKNOWN_MIN_AGE_MS {
                    self.shelf.store().delete(&object).await?;
                }
            }
            match page.next {
                Some(next) if self.desk.term().is_some() => after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    /// Settles what nodes that are gone had, and erases what is due, while this process leads. Never ends by itself.
    pub(crate) async fn run(&self) {
        let mut swept: Option<Instant> = None;
        loop {
            if self.desk.term().is_some() {
                self.settle().await;
                self.erase_due().await;
                if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                    swept = Some(Instant::now());
                    if let Err(error) = self.sweep().await {
                        tracing::warn!(%error, "recordings that were erased are looked for later");
                    }
                }
            } else {
                swept = None; // who leads anew looks at once
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Each is in the store, although its node did not live to hear so, or it is lost. While the store does not say which,
    /// nothing is said.
    async fn settle(&self) {
        let owed =
            |(node, id, made): (&NodeId, &RecordingId, &Made)| (node.clone(), id.clone(), made.clone());
        let owed: Vec<_> = self
            .log
            .read(|state: &State| recording::unsettled(state).take(SETTLED_AT_ONCE).map(owed).collect());
        for (node, recording, made) in owed {
            let command = match self.read_back(&recording, &made).await {
                Ok(Found::Whole) => RecordingCommand::Store { node, recording, sha256: made.sha256 },
                Ok(Found::Nothing | Found::Other) => {
                    let reason = format!("{node} ended before it had sent it");
                    RecordingCommand::Lose { node, recording, reason }
                }
                Err(error) => {
                    tracing::warn!(%recording, %error, "whether a recording came is not known yet");
                    return;
                }
            };
            if let Err(error) = self.desk.tell(CatalogueCommand::Recording(command)).await {
                tracing::debug!(%error, "a recording is settled later");
                return;
            }
        }
    }
}
