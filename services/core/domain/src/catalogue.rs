//! What has been published: flows and manifests, by content.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Rejection;
use crate::event::Event;
use crate::fleet::NodeStatus;
use crate::ids::{NodeId, Timestamp};
use crate::logic::is_name;
use crate::recording::{self, RecordingCommand};
use crate::state::{Effectless, State};

/// Longest object name, in bytes.
pub const OBJECT_MAX_BYTES: usize = 512;

/// A published document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Name for people.
    pub name: String,
    /// Name in the object store.
    pub object: String,
    /// SHA-256 of the document.
    pub sha256: Vec<u8>,
    /// Prompts in a manifest; 0 for a flow.
    pub prompts: u32,
    /// Bytes of all prompts.
    pub size_bytes: u64,
    /// Of a flow: its calls can be joined with somebody.
    pub bridges: bool,
    /// When it was published.
    pub at: Timestamp,
}

/// Flows and manifests by id. An id is a hash of the content, so nothing is ever overwritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Flows.
    pub flows: BTreeMap<String, Published>,
    /// Manifests.
    pub manifests: BTreeMap<String, Published>,
    /// Manifests that are not published any more.
    pub retired: BTreeSet<String>,
}

impl Catalogue {
    /// Channels of its trunk that a call of a flow may need at once: one, and one more if it can be joined with somebody.
    pub fn channels(&self, flow: &str) -> u32 {
        1 + u32::from(self.flows.get(flow).is_some_and(|flow| flow.bridges))
    }
}

/// A command to media-sync. The shell has read the document and found its name, size and objects right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CatalogueCommand {
    PublishFlow {
        flow: String,
        name: String,
        object: String,
        sha256: Vec<u8>,
        bridges: bool,
    },
    PublishManifest {
        manifest: String,
        name: String,
        object: String,
        sha256: Vec<u8>,
        prompts: u32,
        size_bytes: u64,
    },
    RetireManifest {
        manifest: String,
        reason: String,
    },
    Recording(RecordingCommand),
}

/// Decides on a publication; what is published already needs no event.
///
/// # Errors
/// AST-M060 the id is not the hash's, AST-M061 name, AST-M062 object, AST-M063 a manifest without prompts, AST-M100 no such
/// manifest, AST-M101 it is needed.
pub fn decide(state: &State, command: &CatalogueCommand, _at: Timestamp) -> Result<Vec<Event>, Rejection> {
    match command.clone() {
        CatalogueCommand::PublishFlow { flow, name, object, sha256, bridges } => {
            check(&flow, &name, &object, &sha256)?;
            let known = state.catalogue.flows.contains_key(&flow);
            let event = Event::FlowPublished { flow, name, object, sha256, bridges };
            Ok(if known { vec![] } else { vec![event] })
        }
        CatalogueCommand::PublishManifest { manifest, name, object, sha256, prompts, size_bytes } => {
            check(&manifest, &name, &object, &sha256)?;
            if prompts == 0 || size_bytes == 0 {
                return Err(Rejection::new("AST-M063", "a manifest needs at least one prompt"));
            }
            if state.catalogue.manifests.contains_key(&manifest) {
                return Ok(vec![]);
            }
            Ok(vec![Event::ManifestPublished { manifest, name, object, sha256, prompts, size_bytes }])
        }
        CatalogueCommand::RetireManifest { manifest, reason } => {
            if !state.catalogue.manifests.contains_key(&manifest) {
                return Err(Rejection::new("AST-M100", "no such manifest is published"));
            }
            let why = "campaigns that have not ended, or calls, play its prompts";
            refuse_needed(state, &manifest).map_err(|()| Rejection::new("AST-M101", why))?;
            Ok(vec![Event::ManifestRetired { manifest, reason }])
        }
        CatalogueCommand::Recording(command) => recording::decide(state, &command),
    }
}

fn check(id: &str, name: &str, object: &str, sha256: &[u8]) -> Result<(), Rejection> {
    if sha256.len() != 32 || id != &hex::encode(sha256)[..32] {
        return Err(Rejection::new("AST-M060", "the id is not the first 32 hex digits of the sha-256"));
    }
    if !is_name(name) {
        return Err(Rejection::new("AST-M061", "the name is not 1 to 64 of a-z, 0-9 and -"));
    }
    if !(1..=OBJECT_MAX_BYTES).contains(&object.len()) || !object.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Rejection::new("AST-M062", "the object's name is not 1 to 512 printable characters"));
    }
    Ok(())
}

/// Campaigns that have not ended may go back to what they had before.
fn refuse_needed(state: &State, manifest: &String) -> Result<(), ()> {
    let going = state.campaigns.values().filter(|campaign| campaign.ended_at.is_none());
    let back = going.into_iter().any(|campaign| campaign.manifest_before == *manifest);
    if back || state.needed_manifests().contains(manifest) { Err(()) } else { Ok(()) }
}

/// Manifests that open nodes still have to fetch, in the order of the nodes: what media-sync owes them. A node proves
/// by its own fact that it holds one.
pub fn owed_syncs(state: &State) -> impl Iterator<Item = (&NodeId, &String)> {
    let needed: Vec<&String> = state
        .wanted_manifests()
        .into_iter()
        .filter(|manifest| state.catalogue.manifests.contains_key(*manifest))
        .collect();
    let open = state
        .fleet
        .nodes
        .iter()
        .filter(|(_, node)| matches!(node.status, NodeStatus::Admitted | NodeStatus::Ready));
    open.flat_map(move |(id, node)| {
        let missing = needed.clone().into_iter().filter(|manifest| !node.manifests.contains(*manifest));
        missing.map(move |manifest| (id, manifest))
    })
}

/// Applies the end of a manifest, judged again where it landed: a campaign may have been made with it meanwhile.
pub(crate) fn retired(state: &mut State, manifest: &String) -> Result<(), Effectless> {
    refuse_needed(state, manifest).map_err(|()| Effectless::void("it is needed"))?;
    let gone = state.catalogue.manifests.remove(manifest);
    gone.ok_or(Effectless::void("it was not published"))?;
    state.catalogue.retired.insert(manifest.clone());
    Ok(())
}

/// Applies a publication.
pub fn apply(catalogue: &mut Catalogue, event: &Event, at: Timestamp) -> Result<(), Effectless> {
    let (known, id, entry) = match event.clone() {
        Event::FlowPublished { flow, name, object, sha256, bridges } => {
            let entry = Published { name, object, sha256, prompts: 0, size_bytes: 0, bridges, at };
            (&mut catalogue.flows, flow, entry)
        }
        Event::ManifestPublished { manifest, name, object, sha256, prompts, size_bytes } => {
            catalogue.retired.remove(&manifest);
            let entry = Published { name, object, sha256, prompts, size_bytes, bridges: false, at };
            (&mut catalogue.manifests, manifest, entry)
        }
        _ => return Ok(()),
    };
    if known.contains_key(&id) {
        return Err(Effectless::void("published before"));
    }
    known.insert(id, entry);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Recorded;
    use crate::event::EventRef;
    use crate::ids::AttemptId;
    use asterism_proto::{Origin, Role};

    fn publish(seed: u8) -> CatalogueCommand {
        let sha256 = vec![seed; 32];
        CatalogueCommand::PublishManifest {
            manifest: hex::encode(&sha256)[..32].to_owned(),
            name: "english".to_owned(),
            object: "manifests/x.json".to_owned(),
            sha256,
            prompts: 2,
            size_bytes: 10,
        }
    }

    fn put(state: &mut State, role: Role, event: Event) {
        let origin = Origin::Role(role);
        let id = EventRef { origin: origin.to_string(), epoch: vec![1; 16], frame: state.size + 1, index: 0 };
        let (command_id, actor) = (String::new(), String::new());
        let recorded =
            Recorded { sequence: state.size, at: 1, origin, id, term: 1, command_id, actor, event };
        let before = (state.voids, state.incidents);
        state.apply(&recorded);
        assert_eq!((state.voids, state.incidents), before, "{recorded:?}");
    }

    #[test]
    fn a_publication_is_decided_once_and_its_shape_is_checked() {
        let mut state = State::default();
        let events = decide(&state, &publish(7), 1).unwrap();
        assert!(matches!(events.as_slice(), [Event::ManifestPublished { prompts: 2, .. }]));
        put(&mut state, Role::MediaSync, events[0].clone());
        assert_eq!(decide(&state, &publish(7), 2).unwrap(), vec![]);
        let bent = |bend: fn(&mut String, &mut String, &mut String, &mut Vec<u8>)| {
            let CatalogueCommand::PublishManifest { mut manifest, mut name, mut object, mut sha256, .. } =
                publish(8)
            else {
                unreachable!()
            };
            bend(&mut manifest, &mut name, &mut object, &mut sha256);
            let command =
                CatalogueCommand::PublishFlow { flow: manifest, name, object, sha256, bridges: false };
            decide(&State::default(), &command, 1).map_err(|rejection| rejection.code)
        };
        assert!(bent(|_, _, _, _| {}).is_ok());
        assert_eq!(bent(|id, _, _, _| id.push('0')), Err("AST-M060"));
        assert_eq!(bent(|_, _, _, sha256| sha256.truncate(31)), Err("AST-M060"));
        assert_eq!(bent(|_, name, _, _| name.push('/')), Err("AST-M061"));
        assert_eq!(bent(|_, _, object, _| object.clear()), Err("AST-M062"));
        assert_eq!(bent(|_, _, object, _| object.push('\n')), Err("AST-M062"));
    }

    #[test]
    fn an_open_node_is_owed_what_running_campaigns_play_until_it_holds_it() {
        let mut state = State::default();
        let published = decide(&state, &publish(7), 1).unwrap().remove(0);
        put(&mut state, Role::MediaSync, published);
        let manifest = state.catalogue.manifests.keys().next().unwrap().clone();
        let intent = "intent-1".to_owned();
        let node = "i-1".to_owned();
        let launch = Event::LaunchIntended {
            intent: intent.clone(),
            reason: String::new(),
            instance_type: String::new(),
        };
        put(&mut state, Role::Scaler, launch);
        put(&mut state, Role::Scaler, Event::NodeLaunched { intent: intent.clone(), node: node.clone() });
        let campaign: AttemptId = "spring-0-1".parse().unwrap();
        put(
            &mut state,
            Role::Dialer,
            Event::CampaignCreated {
                campaign: campaign.campaign,
                name: "spring".to_owned(),
                flow: "f".to_owned(),
                manifest: manifest.clone(),
                trunk: "t".to_owned(),
                max_channels: 0,
                calls_per_second: 0,
                ring_timeout_ms: 1_000,
                max_attempts: 1,
                caller_id: String::new(),
                live: false,
                allowed_hashes: vec![],
                rules: None,
                trunks: vec![],
                caller_ids: vec![],
            },
        );
        assert_eq!(owed_syncs(&state).count(), 0, "the node has not registered");
        let admitted = Event::NodeAdmitted { node: node.clone(), public_key: vec![], epoch: vec![], intent };
        put(&mut state, Role::Scaler, admitted);
        assert_eq!(owed_syncs(&state).collect::<Vec<_>>(), vec![(&node, &manifest)]);
        state.fleet.nodes.get_mut(&node).unwrap().manifests.insert(manifest);
        assert_eq!(owed_syncs(&state).count(), 0);
    }
}
