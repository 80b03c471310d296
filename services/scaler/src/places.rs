//! Where machines can be asked for, in order of preference, and where there were none lately.
//!
//! A refusal for lack of room is remembered for a type, a zone (its subnet) and a market; one for the account's quota for
//! the whole market. It is remembered by this process only: who follows asks once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use asterism_domain::fleet::Place;
use tokio::time::Instant;

pub use asterism_domain::fleet::prices::{ON_DEMAND, SPOT};

/// The places, best first, and until when each is passed over.
#[derive(Debug)]
pub(crate) struct Places {
    all: Vec<Place>,
    memory: Duration,
    closed: Mutex<BTreeMap<Place, Instant>>,
    /// Requests that were refused while no other place was open: they launched nothing, and never will.
    refused: Mutex<BTreeSet<String>>,
}

impl Places {
    /// The places of a configuration; none means that the cloud is asked for each intent by itself.
    pub fn new(all: Vec<Place>, memory: Duration) -> Self {
        Self { all, memory, closed: Mutex::default(), refused: Mutex::default() }
    }

    /// Whether intents are placed at all.
    pub fn exist(&self) -> bool {
        !self.all.is_empty()
    }

    /// The best place that is not passed over.
    pub fn best(&self) -> Option<Place> {
        let now = Instant::now();
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.iter().find(|place| closed.get(place).is_none_or(|until| *until <= now)).cloned()
    }

    /// Notes that a request launched nothing.
    pub fn refuse(&self, group: &str) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(group.to_owned());
    }

    /// Whether a request is known to have launched nothing.
    pub fn is_refused(&self, group: &str) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(group)
    }

    /// Passes over a place for a while, with all of its market if the account may have no more of that.
    pub fn close(&self, place: &Place, whole_market: bool) {
        let until = Instant::now() + self.memory;
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.all.iter().filter(|other| whole_market && other.market == place.market);
        for closing in others.chain([place]) {
            closed.insert(closing.clone(), until);
        }
    }
}

/// A place in words.
pub(crate) fn words(place: &Place) -> String {
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    let (kind, subnet) = (or(&place.instance_type, "the template's type"), or(&place.subnet, "any subnet"));
    format!("{kind} in {subnet}, {}", place.market)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(instance_type: &str, subnet: &str, market: &str) -> Place {
        Place { instance_type: instance_type.into(), subnet: subnet.into(), market: market.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_without_room_is_passed_over_for_a_while() {
        let all = [place("a", "1", SPOT), place("a", "2", SPOT), place("a", "1", ON_DEMAND)];
        let places = Places::new(all.to_vec(), Duration::from_mins(3));
        assert_eq!(places.best(), Some(all[0].clone()));
        places.close(&all[0], false);
        assert_eq!(places.best(), Some(all[1].clone()));
        tokio::time::advance(Duration::from_mins(2)).await;
        places.close(&all[1], true);
        assert_eq!(places.best(), Some(all[2].clone()), "the quota is the market's");
        places.close(&all[2], false);
        assert_eq!(places.best(), None);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(places.best(), None, "the first was closed again with its market");
        tokio::time::advance(Duration::from_mins(2)).await;
        assert_eq!(places.best(), Some(all[0].clone()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_without_room_costs_twenty_questions_a_place() {
        let places = Places::new(vec![place("a", "1", SPOT), place("a", "2", SPOT)], Duration::from_mins(3));
        let mut asked = 0;
        for _ in 0..36_000 {
            if let Some(place) = places.best() {
                places.close(&place, false);
                asked += 1;
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(asked, 40);
    }
}
