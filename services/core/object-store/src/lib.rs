//! Objects by name: prompts, manifests, recordings and archived log segments, in a folder or in S3.
//!
//! Both back ends give the same promises: an object is whole or absent, `put_if_absent` has exactly one winner,
//! an acknowledged write survives a power cut, and bytes under a content-addressed name are checked against that
//! name on every write and every read.

mod error;
mod folder;
#[cfg(feature = "aws")]
mod key;
mod location;
mod name;
#[cfg(feature = "aws")]
mod retry;
#[cfg(feature = "aws")]
mod s3;
#[cfg(feature = "server")]
mod server;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::Error;
pub use folder::FolderStore;
pub use location::{Location, S3Location, percent_encode};
pub use name::{MAX_NAME_BYTES, ObjectName, sha256_name};
#[cfg(feature = "aws")]
pub use s3::S3Store;
#[cfg(feature = "server")]
pub use server::FolderServer;

/// Largest object a store takes or returns, in bytes; held in memory once.
pub const MAX_OBJECT_BYTES: u64 = 256 * 1024 * 1024;
/// Most entries one page of a listing holds; S3 returns no more either.
pub const MAX_PAGE_ENTRIES: usize = 1_000;
/// Longest time a fetch URL may stay valid, in seconds (the limit of a signature in S3).
pub const MAX_URL_VALID_S: u32 = 7 * 24 * 3600;

/// What `put_if_absent` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutResult {
    /// The object was absent and now holds the given bytes.
    Created,
    /// An object of this name was there before and is unchanged.
    Exists,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Length of the content in bytes.
    pub size_bytes: u64,
    /// When it was last written, in milliseconds since 1970 by the store's clock. For people, not for decisions.
    pub modified_at_ms: u64,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The object.
    pub name: ObjectName,
    /// Length of the content in bytes.
    pub size_bytes: u64,
}

/// Part of a listing, in byte order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects of this page.
    pub entries: Vec<Entry>,
    /// Pass this as `after` to get the next page; `None` means the listing is complete.
    pub next: Option<ObjectName>,
}

/// A place that keeps whole objects under names.
#[async_trait]
pub trait ObjectStore: Send + Sync + Debug {
    /// Writes the object unless one of that name exists; of several writers exactly one sees `Created`.
    async fn put_if_absent(&self, name: &ObjectName, bytes: Bytes) -> Result<PutResult, Error>;

    /// Writes the object, replacing what was there; a reader sees the old content or the new, never a mixture.
    async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), Error>;

    /// Reads the whole object. Fails with `NotFound`, with `TooLarge` above `max_bytes`, and with `WrongContent`
    /// when the bytes do not match a content-addressed name.
    async fn get(&self, name: &ObjectName, max_bytes: u64) -> Result<Bytes, Error>;

    /// Size and age of the object, or `None` when it does not exist.
    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectMeta>, Error>;

    /// One page of the objects whose names start with `prefix` and sort after `after`; `limit` is cut to
    /// [`MAX_PAGE_ENTRIES`]. The page is complete or the call fails.
    async fn list(&self, prefix: &str, after: Option<&ObjectName>, limit: usize) -> Result<Page, Error>;

    /// Removes the object; removing one that does not exist succeeds.
    async fn delete(&self, name: &ObjectName) -> Result<(), Error>;

    /// A URL from which a node can fetch the object for `valid_for_s` seconds: `file:///...` for a folder, a signed
    /// `http(s)` address for S3. Whether the object exists is not checked.
    async fn fetch_url(&self, name: &ObjectName, valid_for_s: u32) -> Result<String, Error>;

    /// Where a node may send an object of this SHA-256, for `valid_for_s` seconds. A server that checks checksums refuses
    /// other bytes; not every server does, so read back what came.
    async fn upload_url(
        &self,
        name: &ObjectName,
        sha256: &[u8; 32],
        valid_for_s: u32,
    ) -> Result<Upload, Error>;
}

/// Where an object is to be sent, and what is sent with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// `file:///...` for a folder, a signed `http(s)` address for S3, for one PUT.
    pub url: String,
    /// Headers that are sent as they are: the signature covers them.
    pub headers: Vec<(String, String)>,
}

/// Opens `file:///folder` or `s3://bucket/prefix?endpoint=...&region=...&key_file=...`. A folder that does not exist is created.
pub async fn open(url: &str) -> Result<Arc<dyn ObjectStore>, Error> {
    match Location::parse(url)? {
        Location::Folder(path) => Ok(Arc::new(FolderStore::open(&path).await?)),
        #[cfg(feature = "aws")]
        Location::S3(at) => Ok(Arc::new(S3Store::open(at).await?)),
        #[cfg(not(feature = "aws"))]
        Location::S3(_) => Err(Error::NotBuilt),
    }
}

/// Reads a listing to its end. Fails with `TooMany` above `max_entries`, so that a caller's memory is bounded.
pub async fn list_all(
    store: &dyn ObjectStore,
    prefix: &str,
    max_entries: usize,
) -> Result<Vec<Entry>, Error> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(prefix, after.as_ref(), MAX_PAGE_ENTRIES).await?;
        if all.len() + page.entries.len() > max_entries {
            return Err(Error::TooMany { what: format!("objects under {prefix:?}"), max: max_entries });
        }
        all.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// Refuses bytes that are too long, or that are not what a content-addressed name promises.
fn check_content(name: &ObjectName, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() as u64 > MAX_OBJECT_BYTES {
        return Err(Error::TooLarge {
            name: name.clone(),
            size_bytes: bytes.len() as u64,
            max_bytes: MAX_OBJECT_BYTES,
        });
    }
    match name.content_hash() {
        Some(want) if want != name::sha256_hex(bytes) => Err(Error::WrongContent { name: name.clone() }),
        _ => Ok(()),
    }
}
