//! The trunks' file is read again, and the PBX asked what it made of it: one action after another on the connection there is.
//!
//! As measured with Asterisk 22.10: an endpoint that is not there is answered with an error alone. One that it cannot
//! describe (its transport is not there) is answered with success, its detail, an error, and the end of the list all the
//! same: it can place no call, and its list has to be read to the end before the next one is asked for.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::ami::{self, Action, Kind, Message, Status};

const RELOAD_ID: &str = "trunks-reload";
const SHOW_ID: &str = "trunks-show";

type Answer = oneshot::Sender<Result<BTreeMap<String, String>, String>>;

/// A reload under way.
pub(super) struct Reload {
    left: Vec<String>,
    /// The endpoint asked for is being listed.
    listing: bool,
    /// Something of it could not be.
    spoiled: bool,
    /// Its name and account code.
    detail: Option<(String, String)>,
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
        let found = BTreeMap::new();
        (
            Self {
                left: endpoints,
                listing: false,
                spoiled: false,
                detail: None,
                found,
                answer: Some(answer),
            },
            action,
        )
    }

    /// Takes a message that is for it; none if it is not.
    pub(super) fn take(&mut self, message: &Message) -> Option<Step> {
        let id = message.get("ActionID").filter(|id| [RELOAD_ID, SHOW_ID].contains(id))?;
        Some(match message.kind() {
            Kind::Response { status: Status::Success, .. } if id == RELOAD_ID => self.next(),
            Kind::Response { status: Status::Success, .. } => {
                self.listing = true;
                Step::Wait
            }
            Kind::Response { message, .. } if id == RELOAD_ID => self.end(Err(message.to_owned())),
            Kind::Response { .. } if self.listing => {
                self.spoiled = true;
                Step::Wait
            }
            // This one is not there; the others may be.
            Kind::Response { .. } => self.next(),
            _ if message.get("Event") == Some("EndpointDetail") => {
                let text = |name| message.get(name).unwrap_or_default().to_owned();
                self.detail = Some((text("ObjectName"), text("Accountcode")));
                Step::Wait
            }
            _ if message.get("Event") == Some("EndpointDetailComplete") => {
                let whole = self.detail.take().filter(|_| !self.spoiled);
                self.found.extend(whole);
                self.next()
            }
            _ => Step::Wait,
        })
    }

    fn next(&mut self) -> Step {
        (self.listing, self.spoiled, self.detail) = (false, false, None);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_the_pbx_cannot_describe_is_not_held_and_hides_no_other() {
        let (answer, mut answered) = oneshot::channel();
        let asked = ["none", "bent", "fine"].map(str::to_owned).to_vec();
        let (mut reload, _) = Reload::begin(asked, answer);
        let said = |id: &str, pairs: &[(&str, &str)]| {
            Message::from_pairs(pairs.iter().copied().chain([("ActionID", id)]))
        };
        let detail = |name: &str| {
            let pairs = [("Event", "EndpointDetail"), ("ObjectName", name), ("Accountcode", "r1")];
            said(SHOW_ID, &pairs)
        };
        let fine = [("Response", "Success"), ("Message", "Following")];
        let error = said(SHOW_ID, &[("Response", "Error"), ("Message", "Unable")]);
        let complete = said(SHOW_ID, &[("Event", "EndpointDetailComplete")]);
        // As Asterisk 22.10 tells it: not there, there but for its transport, there.
        let heard = [
            (said(RELOAD_ID, &fine), true),
            (error.clone(), true),
            (said(SHOW_ID, &fine), false),
            (detail("bent"), false),
            (error, false),
            (complete.clone(), true),
            (said(SHOW_ID, &fine), false),
            (detail("fine"), false),
        ];
        for (message, asks) in heard {
            let step = reload.take(&message).unwrap();
            assert_eq!(matches!(step, Step::Ask(Ok(_))), asks, "{message:?}");
        }
        assert!(matches!(reload.take(&complete), Some(Step::Done)));
        let found = answered.try_recv().unwrap().unwrap();
        assert_eq!(found, BTreeMap::from([("fine".to_owned(), "r1".to_owned())]));
    }
}
