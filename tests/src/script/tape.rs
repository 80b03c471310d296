//! Everything a script heard, in the order it came: one list for the manager interface and the step server.

use std::sync::Mutex;
use std::time::Duration;

use asterism_agent::ami::Message;
use asterism_agent::dialplan::{EndReport, Question};
use tokio::sync::watch;

/// No condition of a script takes longer, whatever the machine is doing.
const DEADLINE: Duration = Duration::from_mins(1);

/// One thing heard.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A message on the manager interface.
    Ami(Message),
    /// The PBX closed a connection of the manager interface.
    Closed,
    /// A question of the dialplan.
    Question(Question),
    /// A report at the end of a call.
    End(EndReport),
}

/// The list.
pub struct Tape {
    entries: Mutex<Vec<Entry>>,
    length: watch::Sender<usize>,
}

impl Default for Tape {
    fn default() -> Self {
        Self { entries: Mutex::default(), length: watch::Sender::new(0) }
    }
}

impl Tape {
    /// Adds an entry and wakes who waits.
    pub fn push(&self, entry: Entry) {
        let mut entries = self.entries.lock().unwrap();
        entries.push(entry);
        self.length.send_replace(entries.len());
    }

    /// What was heard so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    /// The messages heard so far.
    pub fn messages(&self) -> Vec<Message> {
        let message = |entry| if let Entry::Ami(message) = entry { Some(message) } else { None };
        self.entries().into_iter().filter_map(message).collect()
    }

    /// Waits until something heard, already or from now on, is wanted. Panics with the end of the list when it takes
    /// too long.
    pub async fn until<T>(&self, what: &str, wanted: impl Fn(&Entry) -> Option<T>) -> T {
        let mut length = self.length.subscribe();
        let mut looked_at = 0;
        let look = async {
            loop {
                let now = *length.borrow_and_update();
                let fresh = self.entries.lock().unwrap()[looked_at..now].to_vec();
                if let Some(found) = fresh.iter().find_map(&wanted) {
                    return found;
                }
                looked_at = now;
                let _ = length.changed().await; // the sender is in self
            }
        };
        let found = tokio::time::timeout(DEADLINE, look).await;
        found.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}\n{}", self.end()))
    }

    /// [`Tape::until`] for messages.
    pub async fn message(&self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let message = |entry: &Entry| match entry {
            Entry::Ami(message) if wanted(message) => Some(message.clone()),
            _ => None,
        };
        self.until(what, message).await
    }

    fn end(&self) -> String {
        let entries = self.entries();
        let last = &entries[entries.len().saturating_sub(40)..];
        format!("{last:#?}")
    }
}
