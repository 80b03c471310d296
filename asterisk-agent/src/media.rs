//! Prompts on disk: a manifest is there whole and verified, or not at all.
//!
//! A manifest becomes one folder for each language, `<sounds>/<language>/<manifest>/`, moved into place by one rename
//! each; `<sounds>/.manifests/<manifest>` lists what is in it and is written last. At start the lists are checked
//! against the files; what fails is set aside and fetched again when it is ordered.
//!
//! What came before an order failed is kept beside, for the next one; why it failed is told (`Fetcher::problem`).
//!
//! A sound that another manifest has is linked, not fetched (`fill.rs`). What is lacking comes in one request as the
//! manifest's bundle where that is worth it, else one by one, by the order's addresses or those asked for on the bus.

mod download;
mod fill;
mod list;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use asterism_nats::crash;
use asterism_proto::hash::Hash;
use asterism_proto::origin::is_token;
use asterism_proto::v1;
use futures_util::future::BoxFuture;

pub use list::{MANIFEST_MAX_BYTES, PROMPT_MAX_BYTES, PROMPTS_MAX};
pub use tls::trust_file;

use self::download::Pace;
pub(crate) use self::download::{Failure, exchange, refusal};
use self::list::Listed;
pub(crate) use self::tls::Trust;
use crate::Error;
use crate::files;

/// Most manifests looked at when the agent starts.
const MANIFESTS_MAX: usize = 256;
/// How long after a failure it is told of: an order that is still owed comes again long before.
const PROBLEM_LASTS: Duration = Duration::from_mins(2);
const PROBLEM_MAX_CHARS: usize = 200;
const LISTS: &str = ".manifests";
const BESIDE: &str = ".tmp-";

/// Where sounds may be had that an order does not give an address for.
pub trait Addresses: Send + Sync {
    /// One address for each of these sounds (at most [`fill::ASKED_AT_ONCE`]), in their order.
    fn of<'a>(&'a self, manifest: &'a str, sounds: Vec<Hash>) -> BoxFuture<'a, Result<Vec<String>, String>>;
}

/// Fetches manifests into a folder of sounds.
pub struct Fetcher {
    sounds: PathBuf,
    trust: Trust,
    pace: Pace,
    /// Manifests that are being fetched: an order is repeated while it is carried out.
    busy: Mutex<BTreeSet<String>>,
    /// The manifest that failed last, when, and why.
    problem: Mutex<Option<(String, Instant, String)>>,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The manifest is on disk, whole and verified.
    Held,
    /// An earlier order for it is being carried out.
    Busy,
}

impl Fetcher {
    /// Into this folder, at most so many bytes a second for all manifests together; 0 is without a bound.
    pub fn new(sounds: &Path, max_bytes_per_s: u64) -> Self {
        let (trust, pace) = (Trust::of_process(), Pace::new(max_bytes_per_s));
        Self { sounds: sounds.to_owned(), trust, pace, busy: Mutex::default(), problem: Mutex::default() }
    }

    /// Why prompts that are ordered are not there yet, in one phrase; none if nothing failed lately.
    pub fn problem(&self) -> Option<String> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, _, why) = problem.as_ref().filter(|(_, at, _)| at.elapsed() < PROBLEM_LASTS)?;
        Some(why.chars().filter(|c| !c.is_control()).take(PROBLEM_MAX_CHARS).collect())
    }

    /// Fetches, verifies and installs a manifest. One that is there already is left alone; of one that fails, what came is
    /// kept for the next order, but for a disk that is full.
    pub async fn fetch(&self, order: v1::SyncOrder, addresses: &dyn Addresses) -> Result<Fetched, Error> {
        let manifest = order.manifest.clone();
        let fetched = self.fetch_once(order, addresses).await;
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match &fetched {
            Ok(Fetched::Busy) => {}
            // That one is there says nothing of another.
            Ok(Fetched::Held) => *problem = problem.take().filter(|(of, ..)| *of != manifest),
            Err(error) => *problem = Some((manifest, Instant::now(), error.to_string())),
        }
        drop(problem);
        fetched
    }

    async fn fetch_once(&self, order: v1::SyncOrder, addresses: &dyn Addresses) -> Result<Fetched, Error> {
        let manifest = order.manifest.clone();
        let bad = |why: String| Error::Media { manifest: manifest.clone(), why };
        if !is_token(&manifest) {
            return Err(bad("its id is not usable".to_owned()));
        }
        if !self.busy().insert(manifest.clone()) {
            return Ok(Fetched::Busy);
        }
        let _done = Done { of: self, manifest: &manifest };
        let (sounds, of) = (self.sounds.clone(), manifest.clone());
        if blocking(move || Ok(list_path(&sounds, &of).exists() && verify(&sounds, &of).is_ok())).await? {
            return Ok(Fetched::Held);
        }
        let listed = self.listed(&order).await.map_err(|failure| failed(&manifest, failure))?;
        let begun: Vec<PathBuf> = languages(&listed)
            .into_iter()
            .map(|language| beside(&self.sounds, language, &manifest))
            .collect();
        self.drop_begun(&order)?;
        match self.install(&order, listed, addresses).await {
            Ok(()) => Ok(Fetched::Held),
            Err((error, Came::Kept)) => Err(error),
            Err((error, Came::Dropped)) => {
                // A disk that is full is not kept full by what cannot be used.
                for dir in begun {
                    let _ = clear(&dir); // cleared at the next start, too
                }
                Err(error)
            }
        }
    }

    /// Removes what was begun of manifests that nobody needs any more.
    fn drop_begun(&self, order: &v1::SyncOrder) -> Result<(), Error> {
        for language in names(&self.sounds)? {
            let of = self.sounds.join(language);
            if !of.is_dir() {
                continue;
            }
            for name in names(&of)? {
                let Some(manifest) = name.strip_prefix(BESIDE) else { continue };
                let needed = order.keep.iter().any(|keep| keep == manifest) || self.busy().contains(manifest);
                if !needed {
                    clear(&of.join(name))?;
                }
            }
        }
        Ok(())
    }

    /// Removes a manifest that no campaign and no call needs, unless it is being fetched again.
    pub async fn remove(&self, manifest: &str) -> Result<(), Error> {
        if !self.busy().insert(manifest.to_owned()) {
            return Ok(());
        }
        let _done = Done { of: self, manifest };
        let (sounds, manifest) = (self.sounds.clone(), manifest.to_owned());
        blocking(move || remove(&sounds, &manifest)).await
    }

    /// What the manifest has in it: as the order says, or as its document does.
    async fn listed(&self, order: &v1::SyncOrder) -> Result<Vec<Listed>, Failure> {
        if !order.prompts.is_empty() {
            return Ok(list::of_order(&order.prompts)?);
        }
        let document =
            download::document(&order.document_url, list::DOCUMENT_MAX_BYTES, &self.trust, &self.pace)
                .await?;
        Ok(list::of_document(&order.manifest, &document)?)
    }

    async fn install(
        &self,
        order: &v1::SyncOrder,
        listed: Vec<Listed>,
        addresses: &dyn Addresses,
    ) -> Result<(), (Error, Came)> {
        let dropped = |error| (error, Came::Dropped);
        let (sounds, manifest) = (self.sounds.clone(), order.manifest.clone());
        let (folders, listed, mut filled) = blocking(move || {
            let mut folders = BTreeMap::new();
            for language in languages(&listed) {
                let dir = beside(&sounds, language, &manifest);
                fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
                folders.insert(language.to_owned(), dir);
            }
            crash::point("media.begun");
            let filled = fill::prepare(&listed, &folders, &known(&sounds))
                .and_then(|filled| fill::room(&sounds, &filled).map(|()| filled));
            Ok((folders, listed, filled.map_err(|why| Error::Media { manifest, why })?))
        })
        .await
        .map_err(dropped)?;
        let job = fill::Job { order, trust: &self.trust, pace: &self.pace };
        job.fetch(&mut filled, addresses).await.map_err(|failure| {
            let came = if matches!(failure, Failure::Full) { Came::Dropped } else { Came::Kept };
            (failed(&order.manifest, failure), came)
        })?;
        let (sounds, manifest) = (self.sounds.clone(), order.manifest.clone());
        let installed = blocking(move || {
            fill::link_others(&filled).map_err(|why| Error::Media { manifest: manifest.clone(), why })?;
            crash::point("media.filled");
            appear(&sounds, &manifest, &folders, &listed)
        });
        installed.await.map_err(dropped)
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of sounds that came of a manifest that is not whole.
enum Came {
    /// The next order goes on from there.
    Kept,
    Dropped,
}

fn failed(manifest: &str, failure: Failure) -> Error {
    let manifest = manifest.to_owned();
    match failure {
        Failure::Untrusted(why) => Error::Untrusted { manifest, why },
        Failure::Full => Error::Media { manifest, why: "no space left for prompts".to_owned() },
        Failure::Other(why) => Error::Media { manifest, why },
    }
}

/// Makes a manifest that is complete beside its place durable, and then be there.
fn appear(
    sounds: &Path,
    manifest: &str,
    folders: &BTreeMap<String, PathBuf>,
    listed: &[Listed],
) -> Result<(), Error> {
    sync_all(sounds)?;
    for (language, dir) in folders {
        let place = sounds.join(language).join(manifest);
        clear(&place)?;
        fs::rename(dir, &place).map_err(Error::file("create", &place))?;
        files::sync_dir(&sounds.join(language))?;
        crash::point("media.renamed");
    }
    let path = list_path(sounds, manifest);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
    }
    files::write_public(&path, &list::to_bytes(listed, manifest)?)?;
    crash::point("media.listed");
    Ok(())
}

/// Work on files beside the agent's other work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::Media { manifest: String::new(), why: format!("its thread ended: {error}") })
    })
}

/// Lets the next order for the manifest in, however this one ends.
struct Done<'a> {
    of: &'a Fetcher,
    manifest: &'a str,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.of.busy().remove(self.manifest);
    }
}

/// Manifests that are on disk, whole and unchanged. What is damaged loses its list, so that it is fetched again; what was
/// begun and not ended is removed.
pub fn held(sounds: &Path) -> Result<Vec<String>, Error> {
    sweep(sounds)?;
    let mut held = Vec::new();
    for manifest in names(&sounds.join(LISTS))?.into_iter().filter(|name| is_token(name)).take(MANIFESTS_MAX)
    {
        match verify(sounds, &manifest) {
            Ok(()) => held.push(manifest),
            Err(error) => {
                tracing::warn!(%error, "a manifest on disk is damaged; it is fetched again when ordered");
                let path = list_path(sounds, &manifest);
                fs::remove_file(&path).map_err(Error::file("remove", &path))?;
            }
        }
    }
    held.sort();
    Ok(held)
}

/// Removes a manifest that no campaign and no call needs: its list first, so that half of it is nothing.
pub fn remove(sounds: &Path, manifest: &str) -> Result<(), Error> {
    let path = list_path(sounds, manifest);
    let listed = list::of_bytes(&fs::read(&path).map_err(Error::file("read", &path))?);
    fs::remove_file(&path).map_err(Error::file("remove", &path))?;
    files::sync_dir(&sounds.join(LISTS))?;
    for language in languages(&listed.unwrap_or_default()) {
        clear(&sounds.join(language).join(manifest))?;
    }
    Ok(())
}

/// Removes what was begun and not ended, and folders of manifests that have no list: half of one that came or went. Nothing
/// else that lies there is a manifest's.
fn sweep(sounds: &Path) -> Result<(), Error> {
    for language in names(sounds)? {
        let of = sounds.join(&language);
        if !of.is_dir() || language.starts_with('.') {
            continue;
        }
        let listed = |name: &str| list_path(sounds, name).exists();
        for name in names(&of)? {
            if name.starts_with(BESIDE) || (is_manifest_id(&name) && !listed(&name)) {
                clear(&of.join(name))?;
            }
        }
    }
    Ok(())
}

/// The names in a folder; none if there is none.
fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("read", dir))?.file_name();
        names.extend(name.to_str().map(str::to_owned));
    }
    Ok(names)
}

/// Where each sound lies that a listed manifest has. They were verified when the agent started or when they came.
fn known(sounds: &Path) -> BTreeMap<(String, u64), PathBuf> {
    let mut known = BTreeMap::new();
    for manifest in names(&sounds.join(LISTS)).unwrap_or_default().iter().take(MANIFESTS_MAX) {
        let Ok(bytes) = fs::read(list_path(sounds, manifest)) else { continue };
        for listed in list::of_bytes(&bytes).unwrap_or_default() {
            let path = listed.place(&sounds.join(&listed.language).join(manifest));
            known.insert((listed.sha256, listed.size_bytes), path);
        }
    }
    known
}

fn verify(sounds: &Path, manifest: &str) -> Result<(), Error> {
    let bad = |why: String| Error::Media { manifest: manifest.to_owned(), why };
    let path = list_path(sounds, manifest);
    let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
    for listed in list::of_bytes(&bytes).map_err(bad)? {
        let path = listed.place(&sounds.join(&listed.language).join(manifest));
        let (size, sha256) = download::hash_file(&path, PROMPT_MAX_BYTES).map_err(bad)?;
        if size != listed.size_bytes || hex::encode(sha256) != listed.sha256 {
            return Err(bad(format!("{} changed", listed.file)));
        }
    }
    Ok(())
}

/// The path of a `file://` address, behind the scheme.
pub(crate) fn path_of_url(encoded: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let (mut bytes, mut rest) = (Vec::new(), encoded.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, after) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    Some(std::ffi::OsString::from_vec(bytes).into())
}

fn is_manifest_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn languages(listed: &[Listed]) -> BTreeSet<&str> {
    listed.iter().map(|listed| listed.language.as_str()).collect()
}

fn list_path(sounds: &Path, manifest: &str) -> PathBuf {
    sounds.join(LISTS).join(manifest)
}

fn beside(sounds: &Path, language: &str, manifest: &str) -> PathBuf {
    sounds.join(language).join(format!("{BESIDE}{manifest}"))
}

fn clear(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// Everything written to this file system so far is durable: one wait instead of one for each file and folder.
fn sync_all(sounds: &Path) -> Result<(), Error> {
    let dir = File::open(sounds).map_err(Error::file("open", sounds))?;
    nix::unistd::syncfs(&dir).map_err(|errno| Error::file("sync", sounds)(errno.into()))
}

#[cfg(test)]
mod set_tests;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
