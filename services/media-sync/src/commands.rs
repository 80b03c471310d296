//! What people ask media-sync: JSON in, JSON out, on the role's command subject.

use std::sync::Arc;

use asterism_domain::campaign::Campaign;
use asterism_domain::catalogue::CatalogueCommand;
use asterism_domain::{Event, State};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::leader::Desk;
use asterism_runtime::log::Log;
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json, reply_of};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::recordings::Keeper;
use crate::records;
use crate::shelf::{Announced, Shelf, ShelfError};
use crate::sweep;

/// The verbs, for the error that names them.
pub const VERBS: [&str; 8] = [
    "media.publish",
    "flow.publish",
    "media.list",
    "flow.list",
    "media.gc",
    "recordings.list",
    "recordings.erase",
    "recordings.keep",
];

/// `media.publish`: the manifest and its sounds are in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishManifest {
    /// Its id.
    pub manifest: String,
    /// The name people gave it.
    pub name: String,
    /// Its name in the object store.
    pub object: String,
    /// SHA-256 of the document, hex.
    pub sha256: String,
    /// Entries of the document.
    pub prompts: u32,
    /// Bytes of all sounds.
    pub size_bytes: u64,
}

/// `flow.publish`: the flow is in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishFlow {
    /// Its id.
    pub flow: String,
    /// The name people gave it.
    pub name: String,
    /// Its name in the object store.
    pub object: String,
    /// SHA-256 of the document, hex.
    pub sha256: String,
}

/// Verb and arguments that tell media-sync of a publication, as [`crate::publish`] made it. `None` for other events.
pub fn telling(event: &Event) -> Option<(&'static str, Vec<u8>)> {
    let (verb, json) = match event.clone() {
        Event::ManifestPublished { manifest, name, object, sha256, prompts, size_bytes } => {
            let sha256 = hex::encode(sha256);
            let arguments = PublishManifest { manifest, name, object, sha256, prompts, size_bytes };
            ("media.publish", serde_json::to_vec(&arguments))
        }
        Event::FlowPublished { flow, name, object, sha256, bridges: _ } => {
            let arguments = PublishFlow { flow, name, object, sha256: hex::encode(sha256) };
            ("flow.publish", serde_json::to_vec(&arguments))
        }
        _ => return None,
    };
    json.ok().map(|json| (verb, json))
}

/// A line of `media.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestLine {
    /// Its id.
    pub manifest: String,
    /// The name people gave it.
    pub name: String,
    /// Its name in the object store.
    pub object: String,
    /// Entries of the document.
    pub prompts: u32,
    /// Bytes of all sounds.
    pub size_bytes: u64,
    /// Nodes that run and hold it.
    pub nodes: u32,
    /// When it was published.
    pub published_at_ms: u64,
    /// Campaigns that have not ended and play it.
    pub campaigns: Vec<String>,
    /// Campaigns that have not ended and played it before what they play now.
    pub campaigns_before: Vec<String>,
}

/// A line of `flow.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLine {
    /// Its id.
    pub flow: String,
    /// The name people gave it.
    pub name: String,
    /// Its name in the object store.
    pub object: String,
    /// Campaigns that have not ended and run it.
    pub campaigns: Vec<String>,
}

/// Answers commands while this process leads.
pub(crate) fn serve(deps: &Deps, desk: &Desk<CatalogueCommand>, shelf: &Arc<Shelf>, keeper: &Arc<Keeper>) {
    let (log, office, shelf, keeper) = (deps.log.clone(), desk.clone(), shelf.clone(), keeper.clone());
    deps.serve_commands(Role::MediaSync, desk, move |command| {
        let (log, desk, shelf, keeper) = (log.clone(), office.clone(), shelf.clone(), keeper.clone());
        async move {
            match command.verb.as_str() {
                "recordings.list" => records::list(&log, &command, keeper.keep_days()),
                "recordings.erase" => records::erase(&keeper, &desk, &command).await,
                "recordings.keep" => records::keep(&log, &desk, &command).await,
                _ => handle(&log, &desk, &shelf, command).await,
            }
        }
    });
}

async fn handle(log: &Log, desk: &Desk<CatalogueCommand>, shelf: &Shelf, command: RoleCommand) -> RoleReply {
    let checked = match command.verb.as_str() {
        "media.list" => return list(log, manifests),
        "flow.list" => return list(log, flows),
        "media.gc" => return sweep::collect(log, desk, shelf, &command).await,
        "media.publish" => {
            let _unswept = shelf.sweeping.read().await;
            return match media_publish(shelf, &command.json).await {
                Ok(checked) => reply_of(desk.ask(checked, envelope_of(&command)).await),
                Err((code, reason)) => refusal(code, reason),
            };
        }
        "flow.publish" => flow_publish(shelf, &command.json).await,
        _ => return refusal("AST-M076", format!("media-sync knows {}", VERBS.join(", "))),
    };
    match checked {
        Ok(checked) => reply_of(desk.ask(checked, envelope_of(&command)).await),
        Err((code, reason)) => refusal(code, reason),
    }
}

type Refused = (&'static str, String);

async fn media_publish(shelf: &Shelf, json: &[u8]) -> Result<CatalogueCommand, Refused> {
    let PublishManifest { manifest, name, object, sha256, prompts, size_bytes } = read(json)?;
    let sha256 = read_hash(&sha256)?;
    let announced = Announced { id: &manifest, name: &name, object: &object, sha256: &sha256 };
    let doc = shelf.check_manifest(announced).await.map_err(|error| refused(&error))?;
    if (doc.entries.len() as u64, doc.size_bytes()) != (u64::from(prompts), size_bytes) {
        return Err(refused(&ShelfError::Differs { object, what: "number of prompts or bytes" }));
    }
    Ok(CatalogueCommand::PublishManifest { manifest, name, object, sha256, prompts, size_bytes })
}

async fn flow_publish(shelf: &Shelf, json: &[u8]) -> Result<CatalogueCommand, Refused> {
    let PublishFlow { flow, name, object, sha256 } = read(json)?;
    let sha256 = read_hash(&sha256)?;
    let announced = Announced { id: &flow, name: &name, object: &object, sha256: &sha256 };
    let bridges = shelf.check_flow(announced).await.map_err(|error| refused(&error))?.bridges();
    Ok(CatalogueCommand::PublishFlow { flow, name, object, sha256, bridges })
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(json)
        .map_err(|error| ("AST-M070", format!("the arguments cannot be read: {error}")))
}

fn read_hash(text: &str) -> Result<Vec<u8>, Refused> {
    let bad = || ("AST-M070", "sha256 is not 64 hex digits".to_owned());
    hex::decode(text).ok().filter(|hash| hash.len() == 32).ok_or_else(bad)
}

fn refused(error: &ShelfError) -> Refused {
    // The reply shows code and reason apart.
    let (code, text) = (error.code(), error.to_string());
    let reason = text.strip_prefix(code).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text);
    (code, reason.to_owned())
}

fn list<T: Serialize>(log: &Log, lines: fn(&State) -> Vec<T>) -> RoleReply {
    let (position, lines) = log.read(|state| (state.size, lines(state)));
    reply_json(position, &lines)
}

pub(crate) fn manifests(state: &State) -> Vec<ManifestLine> {
    let holders =
        |id: &String| state.fleet.existing().filter(|(_, node)| node.manifests.contains(id)).count();
    let line = |(id, published): (&String, &asterism_domain::catalogue::Published)| ManifestLine {
        manifest: id.clone(),
        name: published.name.clone(),
        object: published.object.clone(),
        prompts: published.prompts,
        size_bytes: published.size_bytes,
        nodes: holders(id) as u32,
        published_at_ms: published.at,
        campaigns: going(state, |campaign| campaign.manifest == *id),
        campaigns_before: going(state, |campaign| campaign.manifest_before == *id),
    };
    state.catalogue.manifests.iter().map(line).collect()
}

/// Campaigns that have not ended and are of this kind.
fn going(state: &State, which: impl Fn(&Campaign) -> bool) -> Vec<String> {
    let open = state.campaigns.iter().filter(|(_, campaign)| campaign.ended_at.is_none());
    open.filter(|(_, campaign)| which(campaign)).map(|(id, _)| id.clone()).collect()
}

fn flows(state: &State) -> Vec<FlowLine> {
    let line = |(id, published): (&String, &asterism_domain::catalogue::Published)| FlowLine {
        flow: id.clone(),
        name: published.name.clone(),
        object: published.object.clone(),
        campaigns: going(state, |campaign| campaign.flow == *id),
    };
    state.catalogue.flows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_publication_tells_is_what_is_read() {
        let event = Event::FlowPublished {
            flow: "f".to_owned(),
            name: "demo".to_owned(),
            object: "flows/f.toml".to_owned(),
            sha256: vec![7; 32],
            bridges: true,
        };
        let (verb, json) = telling(&event).unwrap();
        assert_eq!(verb, "flow.publish");
        let read_back: PublishFlow = read(&json).unwrap();
        assert_eq!(read_hash(&read_back.sha256).unwrap(), vec![7; 32]);
        assert_eq!(telling(&Event::FleetStopRequested { reason: String::new() }), None);
        assert_eq!(read::<PublishManifest>(&json).unwrap_err().0, "AST-M070");
        assert_eq!(read_hash("abc").unwrap_err().0, "AST-M070");
    }

    proptest! {
        #[test]
        fn any_arguments_are_read_without_panic(json in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read::<PublishManifest>(&json);
            let _ = read::<PublishFlow>(&json);
        }
    }
}
