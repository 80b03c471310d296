//! Live channels: at most one per unique id, which is the gate that keeps an attempt from ringing twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// Most channels at once.
pub(crate) const MAX_CHANNELS: usize = 4096;

/// A channel's state, with Asterisk's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelState {
    Down,
    Ringing,
    Up,
}

impl ChannelState {
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Down => "0",
            Self::Ringing => "5",
            Self::Up => "6",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Down => "Down",
            Self::Ringing => "Ringing",
            Self::Up => "Up",
        }
    }
}

/// What an Originate asked for.
pub(crate) struct Origin {
    pub(crate) action_id: String,
    /// As given: `PJSIP/NUMBER@trunk`.
    pub(crate) channel: String,
    pub(crate) number: String,
    pub(crate) trunk: String,
    pub(crate) context: String,
    pub(crate) exten: String,
    pub(crate) timeout_ms: u32,
    pub(crate) caller_id: String,
    pub(crate) unique_id: String,
    pub(crate) flow: String,
    /// Who answers is listened to first.
    pub(crate) detects: bool,
}

/// Where a channel is and what it runs.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) state: ChannelState,
    /// Whether the dial has set the caller id yet.
    pub(crate) dialled: bool,
    pub(crate) context: &'static str,
    pub(crate) exten: &'static str,
    pub(crate) priority: u32,
    pub(crate) application: &'static str,
}

/// One live channel.
pub(crate) struct Channel {
    pub(crate) origin: Box<Origin>,
    pub(crate) name: String,
    pub(crate) created: Instant,
    place: Mutex<Place>,
    /// The cause of a Hangup action, 0 where it named none.
    hangup: Mutex<Option<u32>>,
    hangup_asked: Notify,
}

impl Channel {
    pub(crate) fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Place)) {
        change(&mut self.place.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Moves an answered channel to another line of its dialplan.
    pub(crate) fn goto(&self, exten: &'static str, priority: u32, application: &'static str) {
        self.update(|p| {
            p.context = "asterism";
            (p.exten, p.priority, p.application) = (exten, priority, application);
        });
    }

    /// Asks the call to end, with cause 0 for none; the first stands.
    pub(crate) fn ask_hangup(&self, cause: u32) {
        self.hangup.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        self.hangup_asked.notify_one();
    }

    /// The cause of a Hangup action, if one was taken; 0 where it named none.
    pub(crate) fn hangup_cause(&self) -> Option<u32> {
        *self.hangup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a Hangup action was taken.
    pub(crate) async fn hangup_asked(&self) {
        while self.hangup_cause().is_none() {
            self.hangup_asked.notified().await;
        }
    }
}

/// Every live channel.
#[derive(Default)]
pub(crate) struct ChannelTable {
    by_id: Mutex<HashMap<String, Arc<Channel>>>,
    next_name: AtomicU32,
    processed: AtomicU64,
    /// Calls whose last event is not out yet.
    running: AtomicUsize,
    ended: Notify,
}

impl ChannelTable {
    /// Takes a unique id for a new channel, which owes `release` and `end`; `Err` gives the origin back where the id is live or the table full.
    pub(crate) fn reserve(&self, origin: Box<Origin>) -> Result<Arc<Channel>, Box<Origin>> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if by_id.contains_key(&origin.unique_id) || by_id.len() >= MAX_CHANNELS {
            return Err(origin);
        }
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        let channel = Arc::new(Channel {
            name: format!("PJSIP/{}-{number:08x}", origin.trunk),
            origin,
            created: Instant::now(),
            place: Mutex::new(Place {
                state: ChannelState::Down,
                dialled: false,
                context: "inbound",
                exten: "s",
                priority: 1,
                application: "",
            }),
            hangup: Mutex::new(None),
            hangup_asked: Notify::new(),
        });
        by_id.insert(channel.origin.unique_id.clone(), Arc::clone(&channel));
        self.running.fetch_add(1, Ordering::AcqRel);
        Ok(channel)
    }

    /// Frees the unique id. The call still owes [`ChannelTable::end`].
    pub(crate) fn release(&self, channel: &Channel) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(&channel.origin.unique_id);
    }

    /// Says that a call's last event is out.
    pub(crate) fn end(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.ended.notify_one();
    }

    /// Waits until every call has ended. For one waiter.
    pub(crate) async fn all_ended(&self) {
        while self.running.load(Ordering::Acquire) > 0 {
            self.ended.notified().await;
        }
    }

    /// Counts a call that came to be.
    pub(crate) fn count_processed(&self) {
        self.processed.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that came to be since the start.
    pub(crate) fn processed(&self) -> u64 {
        self.processed.load(Ordering::Relaxed)
    }

    /// The channel with this name or unique id.
    pub(crate) fn find(&self, name_or_id: &str) -> Option<Arc<Channel>> {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.get(name_or_id).or_else(|| by_id.values().find(|c| c.name == name_or_id)).cloned()
    }

    /// Every channel that was announced, oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Channel>> {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = by_id.values().filter(|c| c.place().dialled).cloned().collect();
        all.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.name.cmp(&b.name)));
        all
    }
}
