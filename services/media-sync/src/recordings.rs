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
use asterism_object_store::{Error as StoreError, MAX_OBJECT_BYTES, ObjectName};
use asterism_proto::v1::{ContactField, RecordingOffer, RecordingPlace};
use asterism_runtime::leader::{AskError, Desk};
use asterism_runtime::log::Log;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::shelf::Shelf;

/// Objects read back at the same time: each is in memory once.
const READ_AT_ONCE: usize = 2;
/// Time between two looks at nodes that are gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Recordings of nodes that are gone, settled in one look.
const SETTLED_AT_ONCE: usize = 32;
/// "Too early", as HTTP has it: the node asks again soon.
const SOON: u16 = 425;

/// What answers nodes about their recordings.
#[derive(Debug)]
pub(crate) struct Keeper {
    log: Log,
    desk: Desk<CatalogueCommand>,
    shelf: Arc<Shelf>,
    reading: Semaphore,
}

/// What the store has under a recording's name.
enum Found {
    Nothing,
    Other,
    Whole,
}

impl Keeper {
    pub(crate) fn new(log: &Log, desk: &Desk<CatalogueCommand>, shelf: &Arc<Shelf>) -> Self {
        let (log, desk, shelf) = (log.clone(), desk.clone(), shelf.clone());
        Self { log, desk, shelf, reading: Semaphore::new(READ_AT_ONCE) }
    }

    /// Answers a node.
    pub(crate) async fn place(&self, offer: RecordingOffer) -> Result<RecordingPlace, ServiceError> {
        let refused = |code, reason: String| ServiceError { code, reason };
        let id: RecordingId =
            offer.recording.parse().map_err(|_| refused(400, "that names no recording".to_owned()))?;
        let (stored, made) = self.log.read(|state| {
            let pending = recording::pending(state, &offer.node, &id).cloned();
            (state.recordings.stored.contains_key(&id), pending)
        });
        let Some(made) = made else {
            if stored {
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

    /// Settles what nodes that are gone had, while this process leads. Never ends by itself.
    pub(crate) async fn run(&self) {
        loop {
            if self.desk.term().is_some() {
                self.settle().await;
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
