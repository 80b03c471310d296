//! File, environment and flags as one tree in which every value knows where it stands. Later values win.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Source};

/// Largest configuration file, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Longest value of a variable or flag, in bytes.
const TEXT_MAX_BYTES: usize = 16 * 1024;
/// What the names of our environment variables begin with.
const ENV_PREFIX: &str = "ASTERISM_";

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) source: Option<Source>,
    pub(super) value: Value,
}

/// A value, of no particular kind yet when it came as text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// From a variable or flag: its kind is what the key needs.
    Text(String),
    /// A string of the file.
    String(String),
    /// An integer of the file, as written.
    Integer(i64),
    Bool(bool),
    /// A float or a date: no key takes one.
    Other(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn root() -> Self {
        Self { source: None, value: Value::Table(BTreeMap::new()) }
    }

    /// Puts a node at a path of at least one key, over what is there; tables grow together.
    pub(super) fn put(&mut self, path: &[&str], node: Node) -> Result<(), ConfigError> {
        let mut here = self;
        for (depth, key) in path.iter().enumerate() {
            let Value::Table(table) = &mut here.value else {
                let what = "has no keys of its own".to_owned();
                return Err(ConfigError::one("AST-C006", node.source, &path[..depth].join("."), what));
            };
            let source = node.source.clone();
            here = table
                .entry((*key).to_owned())
                .or_insert_with(|| Node { source, value: Value::Table(BTreeMap::new()) });
        }
        *here = node;
        Ok(())
    }

    /// Where the value of a key stands, by its path of keys and list positions.
    pub(super) fn source_of(&self, key: &str) -> Option<Source> {
        self.walk(key).0
    }

    /// The same; of the nearest value above it, if it is missing.
    pub(super) fn source_near(&self, key: &str) -> Option<Source> {
        let (found, above) = self.walk(key);
        found.or(above)
    }

    fn walk(&self, key: &str) -> (Option<Source>, Option<Source>) {
        let mut here = self;
        let mut above = None;
        for part in key.split('.') {
            let next = match &here.value {
                Value::Table(table) => table.get(part),
                Value::List(list) => part.parse::<usize>().ok().and_then(|index| list.get(index)),
                _ => None,
            };
            let Some(next) = next else { return (None, above) };
            above.clone_from(&next.source);
            here = next;
        }
        (here.source.clone(), above)
    }
}

/// Reads the file into the tree.
pub(super) fn read_file(root: &mut Node, path: &Path) -> Result<(), ConfigError> {
    let shown = path.display().to_string();
    let unreadable = |what: String| ConfigError::one("AST-C001", None, "", format!("{shown}: {what}"));
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_MAX_BYTES {
        return Err(unreadable(format!("{size} bytes, at most {FILE_MAX_BYTES} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    read_text(root, &shown, &text)
}

/// Reads the text of a file into the tree.
pub(super) fn read_text(root: &mut Node, shown: &str, text: &str) -> Result<(), ConfigError> {
    let lines = Lines { path: shown, text };
    let table = DeTable::parse(text).map_err(|error| {
        let source = error.span().map(|span| lines.at(span.start));
        ConfigError::one("AST-C002", source, "", format!("not TOML: {}", error.message().replace('\n', ", ")))
    })?;
    *root = lines.table(table.get_ref(), None);
    Ok(())
}

struct Lines<'a> {
    path: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    fn at(&self, offset: usize) -> Source {
        let before = self.text.as_bytes().iter().take(offset);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Source::File { path: self.path.to_owned(), line }
    }

    fn table(&self, table: &DeTable<'_>, source: Option<Source>) -> Node {
        let keys = table.iter().map(|(key, value)| {
            let at = self.at(key.span().start);
            (key.get_ref().clone().into_owned(), self.node(value, at))
        });
        Node { source, value: Value::Table(keys.collect()) }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, at: Source) -> Node {
        let value = match value.get_ref() {
            DeValue::Table(table) => return self.table(table, Some(at)),
            DeValue::Array(array) => {
                let items = array.iter().map(|item| self.node(item, self.at(item.span().start)));
                Value::List(items.collect())
            }
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map_or_else(|_| Value::Other(format!("integer {integer}")), Value::Integer),
            DeValue::Float(float) => Value::Other(format!("float {float}")),
            DeValue::Datetime(date) => Value::Other(format!("date {date}")),
        };
        Node { source: Some(at), value }
    }
}

/// Reads `ASTERISM_SECTION__KEY` variables into the tree. `known` says whether a section has a key: a variable with a
/// single underscore in that place is a mistake and not somebody else's.
pub(super) fn read_env(
    root: &mut Node,
    env: impl Iterator<Item = (String, String)>,
    known: impl Fn(&str, &str) -> bool,
) -> Result<(), ConfigError> {
    let mut ours: Vec<(String, String)> = env.filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    ours.sort();
    for (name, text) in ours {
        let key = name[ENV_PREFIX.len()..].to_ascii_lowercase();
        if !key.contains("__") && key != "fleet" {
            let mistaken = key.match_indices('_').find(|(at, _)| known(&key[..*at], &key[at + 1..]));
            if let Some((at, _)) = mistaken {
                let meant = format!("{}__{}", &key[..at], &key[at + 1..]).to_ascii_uppercase();
                let what = format!("is not read; did you mean {ENV_PREFIX}{meant}?");
                return Err(ConfigError::one("AST-C005", Some(Source::Env(name)), "", what));
            }
            continue;
        }
        let source = Source::Env(name);
        let path: Vec<&str> = key.split("__").collect();
        put_text(root, &path, text, source, "AST-C005")?;
    }
    Ok(())
}

/// Reads `section.key=value` flags into the tree, the later over the earlier.
pub(super) fn read_sets(root: &mut Node, sets: &[String]) -> Result<(), ConfigError> {
    for set in sets {
        let Some((key, text)) = set.split_once('=') else {
            let shown: String = set.chars().take(80).collect();
            return Err(ConfigError::one(
                "AST-C006",
                Some(Source::Set(shown)),
                "",
                "expected section.key=value",
            ));
        };
        let path: Vec<&str> = key.trim().split('.').collect();
        let source = Source::Set(key.trim().chars().take(80).collect());
        put_text(root, &path, text.to_owned(), source, "AST-C006")?;
    }
    Ok(())
}

/// Reads a program's own values into the tree, where nothing was given. They have no place.
pub(super) fn read_own(root: &mut Node, own: &[String]) -> Result<(), ConfigError> {
    for (key, text) in own.iter().filter_map(|value| value.split_once('=')) {
        if root.source_of(key).is_none() {
            let path: Vec<&str> = key.split('.').collect();
            root.put(&path, Node { source: None, value: Value::Text(text.to_owned()) })?;
        }
    }
    Ok(())
}

fn put_text(
    root: &mut Node,
    path: &[&str],
    text: String,
    source: Source,
    code: &'static str,
) -> Result<(), ConfigError> {
    if path.iter().any(|key| key.is_empty()) || path.len() > 4 {
        return Err(ConfigError::one(code, Some(source), "", "expected one section and one key"));
    }
    if text.len() > TEXT_MAX_BYTES {
        let what = format!("the value is longer than {TEXT_MAX_BYTES} bytes");
        return Err(ConfigError::one(code, Some(source), "", what));
    }
    root.put(path, Node { source: Some(source), value: Value::Text(text) })
}
