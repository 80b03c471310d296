//! Nodes as witnesses: their cosignatures of checkpoints, and the proofs they ask for.
//!
//! A node cosigns a checkpoint after it has checked that it continues the one before. What counts is only what an
//! admitted node's key has signed over a checkpoint this copy agrees with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use asterism_event_log::growth::Step;
use asterism_event_log::sequencer::{CheckpointCheck, Sequencer};
use asterism_nats::{Parsed, ServiceError, ServiceHandle, ServiceSpec, Subject, serve as serve_requests};
use asterism_proto::hash::Hash;
use asterism_proto::note::{self, NOTE_MAX_BYTES, TreeHead};
use asterism_proto::v1::{Cosignature, GrowthReply, GrowthRequest, GrowthStep};
use asterism_proto::{Origin, OriginKey, PublicKey, cosign};
use asterism_runtime::health::{Health, MetricsError};
use asterism_runtime::log::Log;
use prost::Message as _;
use tokio::sync::watch;

/// Steps in one answer: 64 of a log of a million events are 60 KiB.
pub const GROWTH_MAX_STEPS: usize = 64;
/// Longest cosignature or question read.
const MESSAGE_MAX_BYTES: usize = 512;
/// Most nodes whose cosignature is kept.
pub const NODES_MAX: usize = 16_384;
/// Questions answered at the same time.
const CONCURRENCY: usize = 4;

/// Why a cosignature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not decodable, or not of the node on whose subject it came.
    #[error("it cannot be read")]
    Malformed,
    /// The log has not admitted that node, or has closed it.
    #[error("its node is not admitted")]
    Unknown,
    /// Another size or root than this log's.
    #[error("it is of no checkpoint of this log")]
    Checkpoint,
    /// Not made by that node's key.
    #[error("its signature is not the node's")]
    Signature,
    /// More nodes than are kept.
    #[error("too many nodes cosign")]
    Full,
}

/// How many cosignatures there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes that ever cosigned and are open.
    pub nodes: u64,
    /// Size of the newest checkpoint any of them cosigned.
    pub size: u64,
    /// Those that cosigned that one.
    pub newest: u64,
    /// Cosignatures that did not count.
    pub refused: u64,
}

#[derive(Debug, Clone)]
struct Cosigned {
    size: u64,
    root: Hash,
    time_s: u64,
    key: PublicKey,
    signature: [u8; 64],
}

#[derive(Debug, Default)]
struct Held {
    by_node: BTreeMap<String, Cosigned>,
    refused: u64,
}

/// The newest cosignature of each node. Clones share it.
#[derive(Debug, Clone)]
pub struct Witnesses {
    held: Arc<Mutex<Held>>,
    counts: watch::Sender<Counts>,
}

impl Default for Witnesses {
    fn default() -> Self {
        Self { held: Arc::default(), counts: watch::channel(Counts::default()).0 }
    }
}

impl Witnesses {
    /// Takes what came on a node's subject.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn take(&self, log: &str, node: &str, payload: &[u8], sequencer: &Sequencer) -> Result<(), Refused> {
        let mut held = self.lock();
        let taken = check(log, node, payload, sequencer).and_then(|cosigned| {
            // The first one of a checkpoint makes room: nodes that are gone cosign no more.
            if held.by_node.values().all(|one| one.size < cosigned.size) {
                held.by_node.retain(|node, _| sequencer.key(&Origin::Node(node.clone())).is_some());
            }
            if held.by_node.len() >= NODES_MAX && !held.by_node.contains_key(node) {
                return Err(Refused::Full);
            }
            // One that came late says less than the one that is here.
            if held.by_node.get(node).is_none_or(|known| known.size <= cosigned.size) {
                held.by_node.insert(node.to_owned(), cosigned);
            }
            Ok(())
        });
        held.refused += u64::from(taken.is_err());
        self.counts.send_replace(held.counts());
        taken
    }

    /// How many there are; changes with each that comes.
    pub fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    /// A checkpoint's note under the log's name, with a line for each node that has cosigned just this one, as many as a
    /// note may have; and how many they are.
    pub fn note(&self, key: &OriginKey, log: &str, head: &TreeHead) -> (usize, String) {
        let all = self.lock();
        let ours = all.by_node.iter().filter(|(_, one)| (one.size, one.root) == (head.size, head.root));
        let (mut text, mut count) = (note::sign(key, log, head), 0);
        for (node, one) in ours {
            let line = cosign::line(&cosign::witness(log, node), &one.key, one.time_s, &one.signature);
            if text.len() + line.len() > NOTE_MAX_BYTES {
                break;
            }
            text.push_str(&line);
            count += 1;
        }
        (count, text)
    }

    /// Nodes that have ever cosigned and may still.
    pub(crate) fn open(&self, sequencer: &Sequencer) -> usize {
        let all = self.lock();
        all.by_node.keys().filter(|node| sequencer.key(&Origin::Node((*node).clone())).is_some()).count()
    }

    /// Shows the counts in the process's metrics, for as long as it runs.
    ///
    /// # Errors
    /// A metric of that name is there already, of another kind.
    pub fn report(&self, health: &Health) -> Result<(), MetricsError> {
        let gauge = |name, help| health.metrics().gauge(name, help);
        let nodes = gauge("asterism_ledger_witnesses", "Nodes that cosign checkpoints.")?;
        let size =
            gauge("asterism_ledger_cosigned_size", "Size of the newest checkpoint that a node cosigned.")?;
        let newest = gauge("asterism_ledger_cosigned_by", "Nodes that cosigned that checkpoint.")?;
        let refused = gauge("asterism_ledger_cosignatures_refused", "Cosignatures that did not count.")?;
        let mut counts = self.counts();
        tokio::spawn(async move {
            loop {
                let now = *counts.borrow_and_update();
                nodes.set(now.nodes);
                size.set(now.size);
                newest.set(now.newest);
                refused.set(now.refused);
                if counts.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn counts(&self) -> Counts {
        let size = self.by_node.values().map(|one| one.size).max().unwrap_or_default();
        let newest = self.by_node.values().filter(|one| one.size == size).count() as u64;
        Counts { nodes: self.by_node.len() as u64, size, newest, refused: self.refused }
    }
}

fn check(log: &str, node: &str, payload: &[u8], sequencer: &Sequencer) -> Result<Cosigned, Refused> {
    if payload.len() > MESSAGE_MAX_BYTES {
        return Err(Refused::Malformed);
    }
    let told = Cosignature::decode(payload).map_err(|_| Refused::Malformed)?;
    let root: Hash = told.root.as_slice().try_into().map_err(|_| Refused::Malformed)?;
    let signature: [u8; 64] = told.signature.as_slice().try_into().map_err(|_| Refused::Malformed)?;
    let key = sequencer.key(&Origin::Node(node.to_owned())).ok_or(Refused::Unknown)?;
    if sequencer.check_checkpoint(told.size, &root) != CheckpointCheck::Agrees {
        return Err(Refused::Checkpoint);
    }
    let text = note::text(log, &TreeHead { size: told.size, root });
    if !cosign::is_cosigned(&key, &text, told.time_s, &signature) {
        return Err(Refused::Signature);
    }
    Ok(Cosigned { size: told.size, root, time_s: told.time_s, key, signature })
}

/// Takes cosignatures of the log of this name for as long as its bus lasts; every ledger process does, leading or not.
pub(crate) async fn hear(log: Log, name: String, witnesses: Witnesses) {
    let subscribed = match Subject::cosignatures(log.fleet()) {
        Ok(subject) => log.bus().subscribe(&subject, None).await,
        Err(error) => Err(error.into()),
    };
    let mut cosignatures = match subscribed {
        Ok(cosignatures) => cosignatures,
        Err(error) => return tracing::warn!(%error, "cosignatures cannot be heard"),
    };
    while let Some(message) = cosignatures.next().await {
        let Ok(Parsed::Cosignature { node, .. }) = message.subject.parse() else { continue };
        let taken =
            log.sequencer(|sequencer, _, _| witnesses.take(&name, &node, &message.payload, sequencer));
        if let Err(error) = taken {
            tracing::debug!(node, %error, "a cosignature does not count");
        }
    }
}

/// Answers what a node asks that has missed notices; every ledger process does, leading or not.
pub(crate) async fn serve(log: &Log) -> Result<ServiceHandle, asterism_nats::Error> {
    let spec = ServiceSpec {
        name: "asterism-ledger-growth".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "proofs that the log only grew, for witnesses".to_owned(),
        subject: Subject::growth_request(log.fleet())?,
        queue: "ledger".to_owned(),
        concurrency: CONCURRENCY,
    };
    let served = log.clone();
    serve_requests(log.bus(), spec, move |payload| {
        let log = served.clone();
        async move {
            let asked = GrowthRequest::decode(payload).map_err(|_| ServiceError {
                code: 400,
                reason: "the question cannot be decoded".to_owned(),
            })?;
            let steps = log.sequencer(|sequencer, _, _| {
                let steps = sequencer.growth().steps_from(asked.from).take(GROWTH_MAX_STEPS);
                steps.map(told).collect()
            });
            Ok(GrowthReply { steps }.encode_to_vec())
        }
    })
    .await
}

fn told(step: &Step) -> GrowthStep {
    let path = step.path.iter().map(|hash| hash.to_vec()).collect();
    GrowthStep { from: step.from, to: step.to, to_root: step.to_root.to_vec(), path }
}
