//! What the proxy knows of the cloud behind it: who launched what and when, and what each client token stands for.

use std::collections::BTreeMap;

use crate::buckets::Buckets;
use crate::faults::Script;
use crate::xml::Element;

/// An instance launched through the proxy.
#[derive(Debug, Clone)]
pub struct Known {
    /// When it was launched.
    pub launched_ms: u64,
    /// When it was told to end.
    pub ended_ms: Option<u64>,
}

/// A client token that was used.
#[derive(Debug, Clone)]
pub struct Token {
    /// All parameters but the token.
    pub parameters: String,
    /// The answer it had.
    pub answer: Element,
    /// The instances of that answer.
    pub ids: Vec<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct World {
    /// Instances by id.
    pub instances: BTreeMap<String, Known>,
    /// Tokens by zone (empty: the region's) and token.
    pub tokens: BTreeMap<(String, String), Token>,
    /// The buckets.
    pub buckets: Buckets,
}

impl World {
    /// Puts an instance's state as it is to be shown into its listing. `None`: it is not shown yet. The names of the
    /// delays that showed are given back.
    pub fn show(&self, script: &Script, now_ms: u64, item: &Element) -> (Option<Element>, Vec<&'static str>) {
        let Some(known) = self.instances.get(item.at(&["instanceId"])) else {
            return (Some(item.clone()), vec![]);
        };
        let mut hits = Vec::new();
        let seen_ms = now_ms.saturating_sub(script.stale_ms);
        if script.stale_ms > 0 && known.launched_ms > seen_ms {
            return (None, vec!["listed late"]);
        }
        let is_over = item.at(&["instanceState", "name"]) == "terminated";
        let state = match known.ended_ms {
            Some(ended) if is_over && ended > seen_ms => {
                hits.push("ended late");
                (16, "running")
            }
            Some(ended) if is_over && seen_ms < ended + script.shutting_down_ms => {
                hits.push("shutting down");
                (32, "shutting-down")
            }
            _ if is_over => (48, "terminated"),
            _ if seen_ms < known.launched_ms + script.pending_ms => {
                hits.push("pending");
                (0, "pending")
            }
            _ => return (Some(item.clone()), hits),
        };
        let mut shown = item.clone();
        shown.put("instanceState", state_of(state));
        (Some(shown), hits)
    }

    /// Whether an id is known to the API by now.
    pub fn is_found(&self, script: &Script, now_ms: u64, id: &str) -> bool {
        self.instances.get(id).is_none_or(|known| now_ms >= known.launched_ms + script.not_found_ms)
    }
}

fn state_of((code, name): (u8, &str)) -> Element {
    Element::tree("instanceState", vec![Element::leaf("code", code.to_string()), Element::leaf("name", name)])
}
