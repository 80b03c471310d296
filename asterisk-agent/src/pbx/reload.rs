//! The trunks' file is read again, and the PBX asked what it made of it: one action after another on the connection there is.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::ami::{self, Action, Kind, Message, Status};

const RELOAD_ID: &str = "trunks-reload";
const SHOW_ID: &str = "trunks-show";

type Answer = oneshot::Sender<Result<BTreeMap<String, String>, String>>;

/// A reload under way.
pub(super) struct Reload {
    left: Vec<String>,
    found: BTreeMap<String, String>,
    answer: Option<Answer>,
}

/// What follows a message that was for a reload.
pub(super) enum Step {
    /// Send this.
    Ask(Result<Action, ami::Error>),
    /// More comes.
    Wait,
    /// It is over.
    Done,
}

impl Reload {
    /// The reload, and its first action.
    pub(super) fn begin(mut endpoints: Vec<String>, answer: Answer) -> (Self, Result<Action, ami::Error>) {
        endpoints.reverse();
        let action =
            Action::new("Reload", RELOAD_ID).and_then(|action| action.header("Module", "res_pjsip.so"));
        (Self { left: endpoints, found: BTreeMap::new(), answer: Some(answer) }, action)
    }

    /// Takes a message that is for it; none if it is not.
    pub(super) fn take(&mut self, message: &Message) -> Option<Step> {
        let id = message.get("ActionID").filter(|id| [RELOAD_ID, SHOW_ID].contains(id))?;
        Some(match message.kind() {
            Kind::Response { status: Status::Success, .. } if id == RELOAD_ID => self.next(),
            Kind::Response { status: Status::Success, .. } => Step::Wait,
            Kind::Response { message, .. } if id == RELOAD_ID => self.end(Err(message.to_owned())),
            // This one is not there; the others may be.
            Kind::Response { .. } => self.next(),
            _ if message.get("Event") == Some("EndpointDetail") => {
                let text = |name| message.get(name).unwrap_or_default().to_owned();
                self.found.insert(text("ObjectName"), text("Accountcode"));
                Step::Wait
            }
            _ if message.get("Event") == Some("EndpointDetailComplete") => self.next(),
            _ => Step::Wait,
        })
    }

    fn next(&mut self) -> Step {
        let Some(endpoint) = self.left.pop() else {
            let found = std::mem::take(&mut self.found);
            return self.end(Ok(found));
        };
        Step::Ask(
            Action::new("PJSIPShowEndpoint", SHOW_ID).and_then(|action| action.header("Endpoint", &endpoint)),
        )
    }

    fn end(&mut self, said: Result<BTreeMap<String, String>, String>) -> Step {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(said); // who asked gave up
        }
        Step::Done
    }
}
