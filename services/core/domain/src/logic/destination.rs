//! Whom a flow's calls can be joined with: its `[destinations.NAME]`.
//!
//! Steps, the log and back ends know a destination by its name: its number is in the flow's document alone, and goes from
//! the responder to the node beside the answer. So nobody who answers a question can have a number dialled that the
//! flow's owner has not written down.

use std::collections::BTreeMap;

use super::problem::{Problems, code};
use super::values::{NAME_RULE, Node, node, only_keys, string};
use super::{Address, is_name};

/// Most destinations of a flow.
pub const MAX_DESTINATIONS: usize = 64;
const NUMBER_RULE: &str = "a number is written +49301234567: a + and 7 to 15 digits, the first not 0";

/// Somebody a call can be joined with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The number, or a queue's name as the trunk's other end knows it.
    pub address: Address,
    /// The number shown; none = what the callee was shown.
    pub caller_id: Option<Address>,
}

/// By name; none where one could not be read, which is told already.
pub(super) type Drafts = BTreeMap<String, Option<Destination>>;

/// Reads the table of all.
pub(super) fn destinations(root: &Node<'_>, problems: &mut Problems<'_>) -> Drafts {
    let mut all = BTreeMap::new();
    let Some(spec) = root.get("destinations").and_then(|found| node(found, "destinations", problems)) else {
        return all;
    };
    if spec.table.len() > MAX_DESTINATIONS {
        let reason = format!("{} destinations; at most {MAX_DESTINATIONS} are allowed", spec.table.len());
        problems.add(code::OUT_OF_BOUNDS, &spec.at, &spec.path, reason);
        return all;
    }
    for (key, value) in spec.table {
        let name: &str = key.get_ref();
        let path = spec.path_of(name);
        if !is_name(name) {
            problems.add(code::BAD_NAME, &key.span(), &path, NAME_RULE);
        }
        let one = node((value.get_ref(), value.span()), &path, problems);
        let one = one.and_then(|one| destination(&one, problems));
        // One with a problem is there all the same: whoever names it is not told so again.
        all.insert(name.to_owned(), one);
    }
    all
}

fn destination(spec: &Node<'_>, problems: &mut Problems<'_>) -> Option<Destination> {
    only_keys(spec, &["number", "queue", "caller_id"], "destinations", problems);
    let address = match (spec.get("number"), spec.get("queue")) {
        (Some(_), None) => number(spec, "number", problems)?,
        (None, Some(found)) => {
            let path = spec.path_of("queue");
            let name = string(&found, &path, problems)?;
            let Some(address) = Address::parse(name).filter(|_| !name.starts_with('+')) else {
                let reason = "a queue is the name its trunk knows, 1 to 64 of letters, digits, _ and -";
                problems.add(code::DESTINATION, &found.1, &path, reason);
                return None;
            };
            address
        }
        _ => {
            problems.add(code::DESTINATION, &spec.at, &spec.path, "a destination has a number or a queue");
            return None;
        }
    };
    let caller_id = match spec.get("caller_id") {
        None => None,
        Some(_) => Some(number(spec, "caller_id", problems)?),
    };
    Some(Destination { address, caller_id })
}

fn number(spec: &Node<'_>, key: &str, problems: &mut Problems<'_>) -> Option<Address> {
    let (found, path) = (spec.get(key)?, spec.path_of(key));
    let text = string(&found, &path, problems)?;
    let digits = text.strip_prefix('+').unwrap_or_default();
    let right = (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !right {
        problems.add(code::DESTINATION, &found.1, &path, NUMBER_RULE);
        return None;
    }
    Address::parse(text)
}
