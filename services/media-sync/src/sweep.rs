//! Removing what nothing needs any more: sets of prompts that were replaced, and then sounds no set has in it.
//!
//! The log says first that a set is retired, then its objects go; whoever is killed between the two is finished by the next
//! sweep. A document in the store that this log does not know keeps its sounds: it may be another fleet's, or one that is
//! being published. A publication checks its sounds and is committed while no sweep runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use asterism_domain::State;
use asterism_domain::catalogue::CatalogueCommand;
use asterism_domain::media::{self, ManifestDoc};
use asterism_object_store::{Entry, MAX_PAGE_ENTRIES, ObjectName, ObjectStore, list_all};
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::leader::Desk;
use asterism_runtime::log::Log;
use asterism_runtime::role::{envelope_of, refusal, reply_json, reply_of};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::commands::{self, ManifestLine};
use crate::shelf::{Shelf, ShelfError};

/// How long one question is worked at; the answer says where to go on.
const WORKED_AT: Duration = Duration::from_secs(2);
/// Objects removed at the same time.
const REMOVED_AT_ONCE: usize = 16;
/// Most documents of sets in a store.
const DOCUMENTS_MAX: usize = 100_000;
/// Where objects lie that a sweep looks at, in byte order.
const PREFIXES: [&str; 3] = ["blobs/sha256/", "bundles/", "manifests/"];

/// `media.gc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectGarbage {
    /// How many sets of each name stay besides those that are needed, the newest first.
    pub keep: u32,
    /// Nothing is changed.
    pub dry_run: bool,
    /// Where an earlier answer said to go on.
    pub after: Option<String>,
    /// Why, for the log.
    pub reason: String,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Sets that are retired.
    pub retired: Vec<ManifestLine>,
    /// Objects removed.
    pub objects: u64,
    /// Their bytes.
    pub size_bytes: u64,
    /// Where to go on, if it is not at its end.
    pub next: Option<String>,
}

pub(crate) async fn collect(
    log: &Log,
    desk: &Desk<CatalogueCommand>,
    shelf: &Shelf,
    command: &RoleCommand,
) -> RoleReply {
    let asked: CollectGarbage = match serde_json::from_slice(&command.json) {
        Ok(asked) => asked,
        Err(error) => return refusal("AST-M070", format!("the arguments cannot be read: {error}")),
    };
    let _alone = shelf.sweeping.write().await;
    let mut collected = Collected::default();
    if asked.after.is_none() {
        collected.retired = log.read(|state| replaced(state, asked.keep));
    }
    for (number, line) in collected.retired.iter().enumerate().filter(|_| !asked.dry_run) {
        let retire = CatalogueCommand::RetireManifest {
            manifest: line.manifest.clone(),
            reason: asked.reason.clone(),
        };
        let mut envelope = envelope_of(command);
        envelope.command_id = format!("{}-{number}", envelope.command_id);
        let answer = desk.ask(retire, envelope).await;
        if answer.is_err() {
            return reply_of(answer);
        }
    }
    let mut gone = log.read(|state| state.catalogue.retired.clone());
    gone.extend(log.read(|state| replaced(state, asked.keep)).into_iter().map(|line| line.manifest));
    let swept = Sweep { store: shelf.store(), gone, dry_run: asked.dry_run };
    match swept.run(asked.after, &mut collected).await {
        Ok(()) => reply_json(log.read(|state| state.size), &collected),
        Err(error) => refusal(error.code(), error.to_string()),
    }
}

/// Sets that nothing needs and that at least `keep` newer ones of their name have replaced, the oldest first.
fn replaced(state: &State, keep: u32) -> Vec<ManifestLine> {
    let going = state.campaigns.values().filter(|campaign| campaign.ended_at.is_none());
    let mut needed: BTreeSet<&String> = state.needed_manifests();
    needed.extend(going.map(|campaign| &campaign.manifest_before));
    let mut lines = commands::manifests(state);
    lines.sort_by(|a, b| (b.published_at_ms, &b.manifest).cmp(&(a.published_at_ms, &a.manifest)));
    let mut kept: BTreeMap<String, u32> = BTreeMap::new();
    lines.retain(|line| {
        let of_name = kept.entry(line.name.clone()).or_default();
        let stays = needed.contains(&line.manifest) || *of_name < keep;
        *of_name += u32::from(stays);
        !stays
    });
    lines.reverse();
    lines
}

struct Sweep<'a> {
    store: &'a dyn ObjectStore,
    gone: BTreeSet<String>,
    dry_run: bool,
}

impl Sweep<'_> {
    async fn run(&self, after: Option<String>, collected: &mut Collected) -> Result<(), ShelfError> {
        let named = self.named().await?;
        let began = Instant::now();
        let mut after = after.map(ObjectName::new).transpose()?;
        for prefix in PREFIXES {
            if after
                .as_ref()
                .is_some_and(|after| after.as_str() > prefix && !after.as_str().starts_with(prefix))
            {
                continue;
            }
            loop {
                let page = self.store.list(prefix, after.as_ref(), MAX_PAGE_ENTRIES).await?;
                let last = page.entries.last().map(|entry| entry.name.clone());
                self.remove(
                    page.entries.into_iter().filter(|entry| self.is_unneeded(entry, &named)),
                    collected,
                )
                .await?;
                let Some(next) = page.next else { break };
                if began.elapsed() >= WORKED_AT {
                    collected.next = last.as_ref().map(ToString::to_string);
                    return Ok(());
                }
                after = Some(next);
            }
            after = None;
        }
        Ok(())
    }

    /// Hashes of all sounds that a set in the store has, but those that are gone.
    async fn named(&self) -> Result<BTreeSet<String>, ShelfError> {
        let mut named = BTreeSet::new();
        for Entry { name, .. } in list_all(self.store, "manifests/", DOCUMENTS_MAX).await? {
            if id_of(&name).is_some_and(|id| self.gone.contains(id)) {
                continue;
            }
            let bytes = self.store.get(&name, media::MAX_DOCUMENT_BYTES as u64).await?;
            // What cannot be read may name anything: nothing is removed then.
            let doc = ManifestDoc::parse(&bytes)?;
            named.extend(doc.entries.into_iter().map(|entry| entry.sha256));
        }
        Ok(named)
    }

    fn is_unneeded(&self, entry: &Entry, named: &BTreeSet<String>) -> bool {
        let last = entry.name.as_str().rsplit('/').next().unwrap_or_default();
        match entry.name.content_hash() {
            Some(hash) => !named.contains(hash),
            None => self.gone.contains(id_of(&entry.name).unwrap_or(last)),
        }
    }

    async fn remove(
        &self,
        entries: impl Iterator<Item = Entry>,
        collected: &mut Collected,
    ) -> Result<(), ShelfError> {
        let entries: Vec<Entry> = entries.collect();
        collected.objects += entries.len() as u64;
        collected.size_bytes += entries.iter().map(|entry| entry.size_bytes).sum::<u64>();
        if self.dry_run {
            return Ok(());
        }
        let deletes: Vec<_> = entries.iter().map(|entry| self.store.delete(&entry.name)).collect();
        stream::iter(deletes).buffer_unordered(REMOVED_AT_ONCE).try_collect::<()>().await?;
        Ok(())
    }
}

/// The id of the set whose document this is.
fn id_of(name: &ObjectName) -> Option<&str> {
    name.as_str().strip_prefix("manifests/")?.strip_suffix(".json")
}
