//! Filling a manifest's folders: what another manifest has is linked, the rest is fetched, each sound once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use asterism_nats::crash;
use asterism_proto::hash::Hash;
use asterism_proto::v1;
use futures_util::{StreamExt as _, stream};

use super::Addresses;
use super::download::{self, Failure, Pace, Part};
use super::list::Listed;
use super::tls::Trust;

/// Sounds fetched at the same time.
const FETCHED_AT_ONCE: usize = 8;
/// Bytes of the disk that prompts leave free; a quarter of it where it is small.
const RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// Sounds that may fail to come before the rest is left to the next order.
const FAILURES_MAX: usize = 16;
/// Most addresses asked for in one message.
pub const ASKED_AT_ONCE: usize = 512;

/// One manifest to be filled in.
pub(super) struct Job<'a> {
    pub order: &'a v1::SyncOrder,
    pub trust: &'a Trust,
    pub pace: &'a Pace,
}

/// A sound, and where it is to lie.
#[derive(Debug)]
pub(super) struct Sound {
    of: Listed,
    first: PathBuf,
    others: Vec<PathBuf>,
    /// No other manifest has it.
    lacks: bool,
}

/// Each sound once, in the order of the manifest: that of its bundle. What an earlier order brought is left, what other
/// manifests have (`known`) is linked where it is to lie, each if it is still what it was. `folders` has one for each
/// language. Blocks.
pub(super) fn prepare(
    listed: &[Listed],
    folders: &BTreeMap<String, PathBuf>,
    known: &BTreeMap<(String, u64), PathBuf>,
) -> Result<Vec<Sound>, String> {
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sounds: Vec<Sound> = Vec::new();
    for listed in listed {
        let Some(folder) = folders.get(&listed.language) else { continue };
        let place = listed.place(folder);
        if let Some(parent) = place.parent().filter(|parent| parent != folder) {
            fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        }
        match at.get(listed.sha256.as_str()).and_then(|at| sounds.get_mut(*at)) {
            Some(sound) if sound.of.size_bytes == listed.size_bytes => sound.others.push(place),
            Some(_) => return Err("two prompts of one hash differ in length".to_owned()),
            None => {
                at.insert(&listed.sha256, sounds.len());
                let there = known.get(&(listed.sha256.clone(), listed.size_bytes));
                let came = is(&place, listed) || {
                    // Not written over: it may be a link to what another manifest plays.
                    let _ = fs::remove_file(&place); // there is none, mostly
                    there.is_some_and(|there| is(there, listed) && fs::hard_link(there, &place).is_ok())
                };
                let lacks = !came;
                sounds.push(Sound { of: listed.clone(), first: place, others: Vec::new(), lacks });
            }
        }
    }
    Ok(sounds)
}

/// Whether there is room for what is lacking, with some left over: the spool lies on the same disk as often as not, and a
/// node that cannot write it takes no calls. Blocks.
pub(super) fn room(at: &Path, sounds: &[Sound]) -> Result<(), String> {
    let disk =
        nix::sys::statvfs::statvfs(at).map_err(|errno| format!("its disk cannot be asked: {errno}"))?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
    let spare = RESERVE_BYTES.min(bytes(disk.blocks()) / 4);
    let free = bytes(disk.blocks_available()).saturating_sub(spare);
    let needed: u64 = sounds.iter().filter(|sound| sound.lacks).map(|sound| sound.of.size_bytes).sum();
    if needed <= free {
        return Ok(());
    }
    Err(format!("no space left for prompts: {needed} bytes are needed, {free} may be used"))
}

/// The other places of each sound. Blocks.
pub(super) fn link_others(sounds: &[Sound]) -> Result<(), String> {
    for sound in sounds {
        for other in &sound.others {
            let _ = fs::remove_file(other); // there is none, but for an earlier order's
            fs::hard_link(&sound.first, other).map_err(|error| format!("{}: {error}", sound.of.file))?;
        }
    }
    Ok(())
}

impl Job<'_> {
    /// Fetches what is lacking.
    pub(super) async fn fetch(&self, sounds: &mut [Sound], addresses: &dyn Addresses) -> Result<(), Failure> {
        self.by_bundle(sounds).await?;
        let lacking: Vec<&Sound> = sounds.iter().filter(|sound| sound.lacks).collect();
        self.one_by_one(&lacking, addresses).await
    }

    /// One request for all of them, where at least half of it is lacking. What does not come of it is still lacking.
    async fn by_bundle(&self, sounds: &mut [Sound]) -> Result<(), Failure> {
        let all: u64 = sounds.iter().map(|sound| sound.of.size_bytes).sum();
        let lacks: u64 = sounds.iter().filter(|sound| sound.lacks).map(|sound| sound.of.size_bytes).sum();
        let many = sounds.iter().filter(|sound| sound.lacks).count() > 1;
        if self.order.bundle_url.is_empty() || !many || lacks.saturating_mul(2) < all {
            return Ok(());
        }
        let part = |sound: &Sound| Part {
            size_bytes: sound.of.size_bytes,
            to: sound.lacks.then(|| sound.first.clone()),
        };
        let parts: Vec<Part> = sounds.iter().map(part).collect();
        let split = download::split(&self.order.bundle_url, &parts, self.trust, self.pace, |at, hash| {
            if let Some(sound) = sounds.get_mut(at) {
                sound.lacks = sound.of.sha256 != hex::encode(hash);
            }
            crash::point("media.part");
        });
        match split.await {
            Err(failure @ (Failure::Untrusted(_) | Failure::Full)) => return Err(failure),
            Err(Failure::Other(why)) => {
                tracing::warn!(manifest = self.order.manifest, why, "its bundle broke off; sound by sound");
            }
            Ok(()) if sounds.iter().any(|sound| sound.lacks) => {
                tracing::warn!(manifest = self.order.manifest, "its bundle has other sounds; sound by sound");
            }
            Ok(()) => {}
        }
        Ok(())
    }

    async fn one_by_one(&self, lacking: &[&Sound], addresses: &dyn Addresses) -> Result<(), Failure> {
        let mut from = Vec::with_capacity(lacking.len());
        for some in lacking.chunks(ASKED_AT_ONCE) {
            from.extend(self.addresses(some, addresses).await?);
        }
        let failed = AtomicUsize::new(0);
        let fetch = async |(sound, url): (&&Sound, &String)| {
            if failed.load(Ordering::Relaxed) >= FAILURES_MAX {
                return Ok(()); // left to the next order; what is on its way ends
            }
            let fetched = self.fetch_one(sound, url).await;
            failed.fetch_add(usize::from(fetched.is_err()), Ordering::Relaxed);
            fetched
        };
        let fetches: Vec<_> = lacking.iter().zip(&from).map(fetch).collect();
        let mut coming = stream::iter(fetches).buffer_unordered(FETCHED_AT_ONCE);
        let mut first = Ok(());
        while let Some(came) = coming.next().await {
            match came {
                Err(failure @ (Failure::Untrusted(_) | Failure::Full)) => return Err(failure),
                came => first = first.and(came),
            }
        }
        first
    }

    /// Where these may be had: as the order says, or as media-sync does.
    async fn addresses(&self, some: &[&Sound], addresses: &dyn Addresses) -> Result<Vec<String>, Failure> {
        if some.iter().all(|sound| !sound.of.url.is_empty()) {
            return Ok(some.iter().map(|sound| sound.of.url.clone()).collect());
        }
        let hashes: Vec<Hash> = some.iter().filter_map(|sound| sound.of.hash()).collect();
        let from = addresses.of(&self.order.manifest, hashes).await?;
        if from.len() == some.len() { Ok(from) } else { Err("media-sync named too few addresses".into()) }
    }

    async fn fetch_one(&self, sound: &Sound, url: &str) -> Result<(), Failure> {
        let (size, sha256) = download::to_file(url, &sound.first, sound.of.size_bytes, self.trust, self.pace)
            .await
            .map_err(|failure| match failure {
                Failure::Other(why) => failed(sound, &why),
                other => other,
            })?;
        crash::point("media.sound");
        if size == sound.of.size_bytes && hex::encode(sha256) == sound.of.sha256 {
            Ok(())
        } else {
            Err(failed(sound, "it is not what the manifest says"))
        }
    }
}

fn failed(sound: &Sound, why: &str) -> Failure {
    Failure::Other(format!("{}: {why}", sound.of.file))
}

/// Whether a file is the sound it should be.
fn is(there: &Path, listed: &Listed) -> bool {
    let Ok((size, sha256)) = download::hash_file(there, listed.size_bytes) else { return false };
    size == listed.size_bytes && hex::encode(sha256) == listed.sha256
}
