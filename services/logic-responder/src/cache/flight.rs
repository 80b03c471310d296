//! Who asks the same at the same time: one asks, the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use asterism_domain::logic::web::WebReply;
use tokio::sync::watch;

use super::Key;
use crate::backend::Failure;

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    /// An answer for all who ask the same.
    Kept(Arc<WebReply>),
    /// One for its own call only.
    NotKept,
    Failed(Failure),
}

/// The questions that are out.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, watch::Receiver<Option<Landed>>>>);

pub(super) enum Joined<'a> {
    Leads(Lead<'a>),
    Waits(Flight),
}

/// Whoever asks. Given up without an answer, the others ask for themselves.
pub(super) struct Lead<'a> {
    flights: &'a Flights,
    key: Key,
    sender: watch::Sender<Option<Landed>>,
}

/// Whoever waits.
pub(super) struct Flight(watch::Receiver<Option<Landed>>);

impl Flights {
    pub(super) fn join(&self, key: Key) -> Joined<'_> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return Joined::Waits(Flight(flight.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key, receiver);
        Joined::Leads(Lead { flights: self, key, sender })
    }
}

impl Lead<'_> {
    pub(super) fn land(self, landed: Landed) {
        self.sender.send_replace(Some(landed));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Flight {
    /// None where whoever asked was given up.
    pub(super) async fn landed(&mut self) -> Option<Landed> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone())
    }
}
