//! Values of a flow document: each of its type and inside its bounds, or a problem with its place.

use toml::de::{DeTable, DeValue};

use super::is_name;
use super::problem::{Problems, Span, Target, code, did_you_mean};

pub(super) const NAME_RULE: &str = "names are 1 to 64 of a-z, 0-9 and -";

/// One table of the document with its place and path.
pub(super) struct Node<'a> {
    pub(super) table: &'a DeTable<'a>,
    pub(super) at: Span,
    pub(super) path: String,
}

impl<'a> Node<'a> {
    pub(super) fn get(&self, key: &str) -> Option<(&'a DeValue<'a>, Span)> {
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), value.span()))
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

pub(super) fn number(
    node: &Node<'_>,
    key: &str,
    range: std::ops::RangeInclusive<u32>,
    default: Option<u32>,
    problems: &mut Problems<'_>,
) -> Option<u32> {
    let path = node.path_of(key);
    let (value, at) = match node.get(key) {
        Some(found) => found,
        None if default.is_some() => return default,
        None => return required(node, key, problems).and(None),
    };
    let DeValue::Integer(number) = value else {
        wrong_type(value, &at, &path, "a whole number", problems);
        return None;
    };
    let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
    let inside = number.and_then(|n| u32::try_from(n).ok()).filter(|n| range.contains(n));
    if inside.is_none() {
        let reason = format!("{} to {} is allowed", range.start(), range.end());
        problems.add(code::OUT_OF_BOUNDS, &at, &path, reason);
    }
    inside
}

/// `true` or `false`, and `false` if the key is not there.
pub(super) fn flag(node: &Node<'_>, key: &str, problems: &mut Problems<'_>) -> Option<bool> {
    match node.get(key) {
        None => Some(false),
        Some((DeValue::Boolean(flag), _)) => Some(*flag),
        Some((other, at)) => {
            wrong_type(other, &at, &node.path_of(key), "true or false", problems);
            None
        }
    }
}

pub(super) fn target(node: &Node<'_>, key: &str, problems: &mut Problems<'_>) -> Option<Target> {
    let found = required(node, key, problems)?;
    state_name(&found, node.path_of(key), problems)
}

pub(super) fn state_name(
    found: &(&DeValue<'_>, Span),
    path: String,
    problems: &mut Problems<'_>,
) -> Option<Target> {
    let at = found.1.clone();
    let state = name(found, &path, problems)?;
    let target = Target { state, at, path };
    problems.named.push(target.clone());
    Some(target)
}

pub(super) fn name(found: &(&DeValue<'_>, Span), path: &str, problems: &mut Problems<'_>) -> Option<String> {
    let at = found.1.clone();
    let text = string(found, path, problems)?;
    if is_name(text) {
        return Some(text.to_owned());
    }
    problems.add(code::BAD_NAME, &at, path, NAME_RULE);
    None
}

pub(super) fn string<'a>(
    found: &(&'a DeValue<'a>, Span),
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<&'a str> {
    if let DeValue::String(text) = found.0 {
        return Some(text);
    }
    wrong_type(found.0, &found.1, path, "a text in quotes", problems);
    None
}

pub(super) fn node<'a>(
    found: (&'a DeValue<'a>, Span),
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<Node<'a>> {
    if let DeValue::Table(table) = found.0 {
        return Some(Node { table, at: found.1, path: path.to_owned() });
    }
    wrong_type(found.0, &found.1, path, "a table", problems);
    None
}

pub(super) fn required<'a>(
    node: &Node<'a>,
    key: &str,
    problems: &mut Problems<'_>,
) -> Option<(&'a DeValue<'a>, Span)> {
    let found = node.get(key);
    if found.is_none() {
        problems.add(code::MISSING_KEY, &node.at, &node.path_of(key), "the key is missing");
    }
    found
}

pub(super) fn wrong_type(
    value: &DeValue<'_>,
    at: &Span,
    path: &str,
    wanted: &str,
    problems: &mut Problems<'_>,
) {
    let kind = match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    problems.add(code::WRONG_TYPE, at, path, format!("{wanted} is needed here, this is {kind}"));
}

pub(super) fn only_keys(node: &Node<'_>, known: &[&str], verb: &str, problems: &mut Problems<'_>) {
    for (key, _) in node.table {
        let word: &str = key.get_ref();
        if known.contains(&word) {
            continue;
        }
        let of = if verb.is_empty() { String::new() } else { format!(" of {verb}") };
        let hint = did_you_mean(word, known.iter().copied());
        let reason = format!("no key{of}{hint} (known here: {})", known.join(", "));
        problems.add(code::UNKNOWN_KEY, &key.span(), &node.path_of(word), reason);
    }
}

/// Puts a key behind a path, in quotes where TOML wants them.
fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A list of names.
pub(super) fn names(
    node: &Node<'_>,
    key: &str,
    count: std::ops::RangeInclusive<usize>,
    problems: &mut Problems<'_>,
) -> Option<Vec<String>> {
    let path = node.path_of(key);
    let (value, at) = required(node, key, problems)?;
    let DeValue::Array(list) = value else {
        wrong_type(value, &at, &path, "a list of prompt names", problems);
        return None;
    };
    if !count.contains(&list.len()) {
        let reason = format!("{} prompts; {} to {} are allowed", list.len(), count.start(), count.end());
        problems.add(code::OUT_OF_BOUNDS, &at, &path, reason);
        return None;
    }
    let names: Vec<Option<String>> = list
        .iter()
        .enumerate()
        .map(|(index, item)| name(&(item.get_ref(), item.span()), &format!("{path}[{index}]"), problems))
        .collect();
    names.into_iter().collect()
}
