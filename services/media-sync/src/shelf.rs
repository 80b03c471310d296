//! Published documents as the object store holds them: read back, checked, and made into what an order carries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use asterism_domain::catalogue::Published;
use asterism_domain::logic::{self, Flow};
use asterism_domain::media::{self, ManifestDoc, PromptEntry};
use asterism_object_store::{Error as StoreError, ObjectName, ObjectStore};
use asterism_proto::hash::Hash;
use asterism_proto::v1::Prompt;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, RwLock};

use crate::publish::bundle_object;

/// Most prompts an order names with their signed addresses: it is one message of the bus. Of a larger manifest a node
/// reads the document, and asks where to have what it lacks.
pub const ORDER_PROMPTS_MAX: usize = 512;
/// Most sounds whose addresses are asked for at once.
pub const ASKED_AT_ONCE_MAX: usize = 512;
/// Manifests kept in memory with their addresses.
const SHELVED_MAX: usize = 64;
/// Objects asked for at the same time.
const HEADS_AT_ONCE: usize = 64;

/// Why a published document is not what it was said to be.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The document or a sound is not in the store.
    #[error("AST-M071: {what} is not in the object store as {object}; publish it again")]
    Missing {
        /// Document, or the prompt's file.
        what: String,
        /// Its name in the store.
        object: String,
    },
    /// Another document than announced.
    #[error("AST-M072: {object} does not have the announced {what}; publish it again")]
    Differs {
        /// Its name in the store.
        object: String,
        /// What differs.
        what: &'static str,
    },
    /// A sound of another length.
    #[error(
        "AST-M073: {path} has {found} bytes in the object store, its manifest says {wanted}; publish it again"
    )]
    Size {
        /// The prompt's file.
        path: String,
        /// Bytes there.
        found: u64,
        /// Bytes announced.
        wanted: u64,
    },
    /// A question for addresses that has no answer.
    #[error("AST-M074: {0}")]
    Asked(&'static str),
    /// No readable manifest.
    #[error(transparent)]
    Manifest(#[from] media::Error),
    /// A flow with problems; the first is told.
    #[error("{0}")]
    Flow(String),
    /// The store refuses or does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ShelfError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "AST-M071",
            Self::Differs { .. } => "AST-M072",
            Self::Size { .. } => "AST-M073",
            Self::Asked(_) => "AST-M074",
            Self::Manifest(error) => error.code(),
            Self::Flow(_) => "AST-M075",
            Self::Store(error) => error.code(),
        }
    }
}

/// A document as announced.
#[derive(Clone, Copy, Debug)]
pub struct Announced<'a> {
    /// Its id.
    pub id: &'a str,
    /// The name people gave it.
    pub name: &'a str,
    /// Its name in the store.
    pub object: &'a str,
    /// Its SHA-256.
    pub sha256: &'a [u8],
}

/// The object store, read with suspicion. Manifests are remembered: an id never changes its content.
#[derive(Debug)]
pub struct Shelf {
    store: Arc<dyn ObjectStore>,
    url_valid_s: u32,
    shelved: Mutex<BTreeMap<String, Shelved>>,
    /// Held to read while a publication is checked and committed, to write while what nothing needs is removed.
    pub(crate) sweeping: RwLock<()>,
}

/// What an order for a manifest carries, with addresses that are good for half of their time at least.
#[derive(Debug, Clone)]
pub struct Shelved {
    made: Instant,
    /// Its prompts; none if they are more than an order names.
    pub prompts: Arc<[Prompt]>,
    /// Where its document may be had.
    pub document_url: String,
    /// Where its bundle may be had; empty if it has none.
    pub bundle_url: String,
    /// Every sound of it.
    sounds: Arc<BTreeSet<Hash>>,
}

impl Shelf {
    /// A shelf over a store. Addresses in orders are good for `url_valid_s`.
    pub fn new(store: Arc<dyn ObjectStore>, url_valid_s: u32) -> Self {
        Self { store, url_valid_s, shelved: Mutex::default(), sweeping: RwLock::default() }
    }

    /// For how long addresses are good.
    pub(crate) fn url_valid_s(&self) -> u32 {
        self.url_valid_s
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    /// Reads a manifest and makes sure that every sound it names is there.
    pub async fn check_manifest(&self, announced: Announced<'_>) -> Result<ManifestDoc, ShelfError> {
        let doc = self.manifest(announced).await?;
        let checks: Vec<_> = doc.entries.iter().map(|entry| self.check_sound(entry)).collect();
        stream::iter(checks).buffer_unordered(HEADS_AT_ONCE).try_collect::<()>().await?;
        Ok(doc)
    }

    /// Reads a flow; it must be free of problems.
    pub async fn check_flow(&self, announced: Announced<'_>) -> Result<Flow, ShelfError> {
        let bytes = self.document("the flow", announced, logic::MAX_DOCUMENT_BYTES as u64).await?;
        let flow = Flow::parse_bytes(&bytes).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            ShelfError::Flow(format!(
                "AST-M075: the flow has {} problems, the first at {first}",
                problems.len()
            ))
        })?;
        differs(flow.id() == announced.id, announced.object, "id")?;
        differs(flow.name() == announced.name, announced.object, "name")?;
        Ok(flow)
    }

    /// What an order for a manifest carries.
    pub async fn order(&self, manifest: &str, published: &Published) -> Result<Shelved, ShelfError> {
        // An address handed out lives at least half its time.
        let fresh = Duration::from_secs(u64::from(self.url_valid_s) / 2);
        let mut shelved = self.shelved.lock().await;
        if let Some(known) = shelved.get(manifest).filter(|known| known.made.elapsed() < fresh) {
            return Ok(known.clone());
        }
        let (name, object, sha256) = (&published.name, &published.object, &published.sha256);
        let doc = self.manifest(Announced { id: manifest, name, object, sha256 }).await?;
        let made = self.shelve(manifest, object, doc).await?;
        if shelved.len() >= SHELVED_MAX {
            let oldest = shelved.iter().min_by_key(|(_, known)| known.made).map(|(id, _)| id.clone());
            oldest.and_then(|id| shelved.remove(&id));
        }
        shelved.insert(manifest.to_owned(), made.clone());
        Ok(made)
    }

    /// The addresses alone, for a store that does not give its document here: the node may reach it, or says itself why not.
    pub async fn unread(&self, manifest: &str, published: &Published) -> Result<Shelved, ShelfError> {
        let document = ObjectName::new(&published.object)?;
        Ok(Shelved {
            made: Instant::now(),
            prompts: Arc::from([]),
            document_url: self.store.fetch_url(&document, self.url_valid_s).await?,
            bundle_url: self.store.fetch_url(&bundle_object(manifest)?, self.url_valid_s).await?,
            sounds: Arc::default(),
        })
    }

    async fn shelve(&self, manifest: &str, object: &str, doc: ManifestDoc) -> Result<Shelved, ShelfError> {
        let made = Instant::now();
        let bundle = bundle_object(manifest)?;
        let whole = self.store.head(&bundle).await?.is_some_and(|meta| meta.size_bytes == doc.size_bytes());
        let bundle_url =
            if whole { self.store.fetch_url(&bundle, self.url_valid_s).await? } else { String::new() };
        let document_url = self.store.fetch_url(&ObjectName::new(object)?, self.url_valid_s).await?;
        let sounds = doc.entries.iter().filter_map(|entry| hash(&entry.sha256)).collect();
        let named = if doc.entries.len() > ORDER_PROMPTS_MAX { Vec::new() } else { doc.entries };
        let mut prompts = Vec::with_capacity(named.len());
        for entry in named {
            let url = self.store.fetch_url(&sound(&entry)?, self.url_valid_s).await?;
            let sha256 = hex::decode(&entry.sha256).unwrap_or_default();
            let PromptEntry { name, language, ext, size_bytes, .. } = entry;
            prompts.push(Prompt { name, ext, language, sha256, size_bytes, url });
        }
        Ok(Shelved { made, prompts: prompts.into(), document_url, bundle_url, sounds: Arc::new(sounds) })
    }

    /// Where sounds of a manifest may be had. Sounds that are not in it are not told of.
    pub async fn addresses(
        &self,
        manifest: &str,
        published: &Published,
        asked: &[Vec<u8>],
    ) -> Result<Vec<String>, ShelfError> {
        if !(1..=ASKED_AT_ONCE_MAX).contains(&asked.len()) {
            return Err(ShelfError::Asked("addresses of 1 to 512 sounds are told at once"));
        }
        let known = self.order(manifest, published).await?.sounds;
        let mut urls = Vec::with_capacity(asked.len());
        for hash in asked {
            let in_it = Hash::try_from(hash.as_slice()).is_ok_and(|hash| known.contains(&hash));
            if !in_it {
                return Err(ShelfError::Asked("a sound is asked for that is not in the manifest"));
            }
            urls.push(self.store.fetch_url(&blob(&hex::encode(hash))?, self.url_valid_s).await?);
        }
        Ok(urls)
    }

    async fn manifest(&self, announced: Announced<'_>) -> Result<ManifestDoc, ShelfError> {
        let bytes = self.document("the manifest", announced, media::MAX_DOCUMENT_BYTES as u64).await?;
        let doc = ManifestDoc::parse(&bytes)?;
        differs(media::manifest_id(&bytes) == announced.id, announced.object, "id")?;
        differs(doc.name == announced.name, announced.object, "name")?;
        Ok(doc)
    }

    async fn document(&self, what: &str, announced: Announced<'_>, max: u64) -> Result<Bytes, ShelfError> {
        let object = announced.object;
        let bytes = match self.store.get(&ObjectName::new(object)?, max).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => {
                return Err(ShelfError::Missing { what: what.to_owned(), object: object.to_owned() });
            }
            Err(error) => return Err(error.into()),
        };
        differs(Sha256::digest(&bytes).as_slice() == announced.sha256, object, "sha-256")?;
        Ok(bytes)
    }

    async fn check_sound(&self, entry: &PromptEntry) -> Result<(), ShelfError> {
        let object = sound(entry)?;
        let Some(meta) = self.store.head(&object).await? else {
            return Err(ShelfError::Missing { what: entry.path(), object: object.to_string() });
        };
        if meta.size_bytes == entry.size_bytes {
            return Ok(());
        }
        Err(ShelfError::Size { path: entry.path(), found: meta.size_bytes, wanted: entry.size_bytes })
    }
}

fn differs(same: bool, object: &str, what: &'static str) -> Result<(), ShelfError> {
    if same { Ok(()) } else { Err(ShelfError::Differs { object: object.to_owned(), what }) }
}

/// Where a sound lies in the store.
fn sound(entry: &PromptEntry) -> Result<ObjectName, StoreError> {
    blob(&entry.sha256)
}

fn blob(sha256: &str) -> Result<ObjectName, StoreError> {
    ObjectName::new(format!("blobs/sha256/{}/{sha256}", sha256.get(..2).unwrap_or_default()))
}

fn hash(hex: &str) -> Option<Hash> {
    hex::decode(hex).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use asterism_object_store::sha256_name;

    #[test]
    fn a_sound_is_looked_for_where_it_was_put() -> Result<(), StoreError> {
        let bytes = b"sound";
        let entry = PromptEntry {
            name: "welcome".to_owned(),
            language: "en".to_owned(),
            ext: "ulaw".to_owned(),
            sha256: hex::encode(Sha256::digest(bytes)),
            size_bytes: 5,
            duration_ms: 1,
        };
        assert_eq!(sound(&entry)?, sha256_name(bytes));
        Ok(())
    }
}
