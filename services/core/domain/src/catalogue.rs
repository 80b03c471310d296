//! What has been published: flows and manifests, by content.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::event::Event;
use crate::state::Effectless;

/// A published document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

/// Flows and manifests by id. An id is a hash of the content, so nothing is ever overwritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Catalogue {
    /// Flows.
    pub flows: BTreeMap<String, Published>,
    /// Manifests.
    pub manifests: BTreeMap<String, Published>,
}

/// Applies a publication.
pub fn apply(catalogue: &mut Catalogue, event: &Event) -> Result<(), Effectless> {
    let (known, id, entry) = match event.clone() {
        Event::FlowPublished { flow, name, object, sha256 } => {
            (&mut catalogue.flows, flow, Published { name, object, sha256, prompts: 0, size_bytes: 0 })
        }
        Event::ManifestPublished { manifest, name, object, sha256, prompts, size_bytes } => {
            (&mut catalogue.manifests, manifest, Published { name, object, sha256, prompts, size_bytes })
        }
        _ => return Ok(()),
    };
    if known.contains_key(&id) {
        return Err(Effectless::void("published before"));
    }
    known.insert(id, entry);
    Ok(())
}
