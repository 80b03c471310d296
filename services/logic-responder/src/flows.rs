//! Flows in memory: fetched from the object store once, by id, and checked against it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use asterism_domain::logic::{Flow, MAX_DOCUMENT_BYTES};
use asterism_object_store::{Error, ObjectName, ObjectStore};

use crate::responder::Refusal;

/// Most flows held; the one unused for longest goes first.
pub const MAX_FLOWS: usize = 64;
/// How long a flow that could not be had is not asked for again: a campaign of calls must not become as many requests.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The flows of this process.
#[derive(Debug)]
pub struct Flows {
    store: Arc<dyn ObjectStore>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_id: BTreeMap<String, Entry>,
    turn: u64,
}

#[derive(Debug)]
struct Entry {
    used: u64,
    flow: Result<Arc<Flow>, (Refusal, Instant)>,
}

impl Flows {
    /// No flow held yet.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, held: Mutex::default() }
    }

    /// The flow of an id (32 hex digits), from memory or from the store.
    pub async fn get(&self, id: &str) -> Result<Arc<Flow>, Refusal> {
        if let Some(known) = self.known(id) {
            return known;
        }
        let flow = self.fetch(id).await;
        self.keep(id, &flow);
        flow
    }

    fn known(&self, id: &str) -> Option<Result<Arc<Flow>, Refusal>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.turn += 1;
        let turn = held.turn;
        let entry = held.by_id.get_mut(id)?;
        entry.used = turn;
        match &entry.flow {
            Ok(flow) => Some(Ok(Arc::clone(flow))),
            Err((refusal, since)) if since.elapsed() < RETRY_AFTER => Some(Err(refusal.clone())),
            Err(_) => None,
        }
    }

    fn keep(&self, id: &str, flow: &Result<Arc<Flow>, Refusal>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let used = held.turn;
        let flow = flow.clone().map_err(|refusal| (refusal, Instant::now()));
        held.by_id.insert(id.to_owned(), Entry { used, flow });
        while held.by_id.len() > MAX_FLOWS {
            let oldest = held.by_id.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            held.by_id.remove(&oldest);
        }
    }

    async fn fetch(&self, id: &str) -> Result<Arc<Flow>, Refusal> {
        let unusable = |reason: String| Refusal { code: "AST-Q003", reason };
        let name =
            ObjectName::new(format!("flows/{id}.toml")).map_err(|error| unusable(error.to_string()))?;
        let document = match self.store.get(&name, MAX_DOCUMENT_BYTES as u64).await {
            Ok(document) => document,
            Err(Error::NotFound { .. }) => {
                return Err(Refusal { code: "AST-Q002", reason: format!("flow {id} is not published") });
            }
            Err(error) if error.is_transient() => {
                return Err(Refusal { code: "AST-Q004", reason: error.to_string() });
            }
            Err(error) => return Err(unusable(error.to_string())),
        };
        let flow = Flow::parse_bytes(&document).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            unusable(format!("flow {id} has problems, the first at {first}"))
        })?;
        if flow.id() != id {
            return Err(unusable(format!("object {name} holds another flow")));
        }
        Ok(Arc::new(flow))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use asterism_domain::logic::flow_id;
    use asterism_object_store::FolderStore;

    use super::*;

    fn document(number: usize) -> Vec<u8> {
        format!(
            "# {number}\nname = \"a\"\nstart = \"end\"\nfallback = \"end\"\n[states.end]\nhangup = {{}}\n"
        )
        .into_bytes()
    }

    async fn put(store: &FolderStore, id: &str, document: Vec<u8>) {
        let name = ObjectName::new(format!("flows/{id}.toml")).unwrap();
        store.put(&name, document.into()).await.unwrap();
    }

    #[tokio::test]
    async fn a_flow_is_fetched_once_and_the_longest_unused_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path()).await.unwrap();
        let ids: Vec<String> = (0..=MAX_FLOWS).map(|n| flow_id(&document(n))).collect();
        for (number, id) in ids.iter().enumerate() {
            put(&store, id, document(number)).await;
        }
        let flows = Flows::new(Arc::new(store.clone()));
        for id in &ids[..MAX_FLOWS] {
            flows.get(id).await.unwrap();
        }
        flows.get(&ids[0]).await.unwrap();
        flows.get(&ids[MAX_FLOWS]).await.unwrap();
        for id in &ids {
            store.delete(&ObjectName::new(format!("flows/{id}.toml")).unwrap()).await.unwrap();
        }
        assert_eq!(flows.get(&ids[0]).await.unwrap().id(), ids[0], "used last, so it is still held");
        assert_eq!(flows.get(&ids[1]).await.unwrap_err().code, "AST-Q002", "unused for longest, so it went");
        assert_eq!(flows.held.lock().unwrap().by_id.len(), MAX_FLOWS);
    }

    #[tokio::test]
    async fn what_is_no_flow_of_that_id_is_refused_and_asked_for_again_later() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path()).await.unwrap();
        let flows = Flows::new(Arc::new(store.clone()));
        let id = flow_id(&document(1));
        put(&store, &id, document(2)).await;
        assert_eq!(flows.get(&id).await.unwrap_err().code, "AST-Q003");
        let broken = flow_id(b"name = 1");
        put(&store, &broken, b"name = 1".to_vec()).await;
        let refusal = flows.get(&broken).await.unwrap_err();
        assert!(refusal.code == "AST-Q003" && refusal.reason.contains("AST-F005"), "{refusal:?}");
        put(&store, &id, document(1)).await;
        assert!(flows.get(&id).await.is_err(), "a refusal holds for a moment");
        let deadline = Instant::now() + RETRY_AFTER * 10;
        while flows.get(&id).await.is_err() {
            assert!(Instant::now() < deadline, "the flow is never asked for again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
