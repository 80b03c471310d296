//! Where a flow's answers come from when they are not in the flow: its `[backend]`.

use std::collections::BTreeSet;

use super::MAX_NAME_BYTES;
use super::problem::{Problems, code};
use super::values::{Node, names, number, only_keys, required, string};

/// Most prompts a back end may name.
pub const MAX_DECLARED: usize = 256;
/// Longest address of a back end, in bytes.
pub const MAX_URL_BYTES: usize = 512;
/// Longest wait for a back end: what is left of a step's 800 ms must suffice for the commit.
pub const MAX_BACKEND_MS: u32 = 5_000;

/// How a back end is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// POST of JSON, signed.
    Http,
    /// XML-RPC, method `asterism.next`.
    XmlRpc,
    /// Request-reply on the flow's subject.
    Nats,
}

impl BackendKind {
    /// Its word in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::XmlRpc => "xml-rpc",
            Self::Nats => "nats",
        }
    }
}

/// The back end of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// How it is spoken to.
    pub kind: BackendKind,
    /// Where it is; empty for the bus, whose subject follows from the flow's name.
    pub url: String,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u32,
    /// Every prompt its answers may name.
    pub prompts: BTreeSet<String>,
    /// The contact's fields it is told.
    pub fields: Vec<String>,
    /// The key that signs what it is asked, by its name in the responder's configuration; empty = not signed.
    pub key: String,
    /// The same question may be asked twice at once: the second answer is not waited for.
    pub idempotent: bool,
}

/// Reads the table.
pub(super) fn backend(spec: &Node<'_>, problems: &mut Problems<'_>) -> Option<Backend> {
    let known = ["kind", "url", "timeout_ms", "prompts", "fields", "key", "idempotent"];
    only_keys(spec, &known, "backend", problems);
    let kind = kind(spec, problems);
    let url = url(spec, kind, problems);
    let timeout_ms = number(spec, "timeout_ms", 50..=MAX_BACKEND_MS, Some(500), problems);
    let prompts = match spec.get("prompts") {
        None => Some(Vec::new()),
        Some(_) => names(spec, "prompts", 0..=MAX_DECLARED, problems),
    };
    let fields = fields(spec, problems);
    let key = match spec.get("key") {
        None => Some(String::new()),
        Some(found) => super::values::name(&found, &spec.path_of("key"), problems),
    };
    let idempotent = match spec.get("idempotent") {
        None => Some(false),
        Some((toml::de::DeValue::Boolean(yes), _)) => Some(*yes),
        Some((other, at)) => {
            let path = spec.path_of("idempotent");
            super::values::wrong_type(other, &at, &path, "true or false", problems);
            None
        }
    };
    Some(Backend {
        kind: kind?,
        url: url?,
        timeout_ms: timeout_ms?,
        prompts: prompts?.into_iter().collect(),
        fields: fields?,
        key: key?,
        idempotent: idempotent?,
    })
}

fn kind(spec: &Node<'_>, problems: &mut Problems<'_>) -> Option<BackendKind> {
    let found = required(spec, "kind", problems)?;
    let path = spec.path_of("kind");
    let at = found.1.clone();
    let word = string(&found, &path, problems)?;
    let kinds = [BackendKind::Http, BackendKind::XmlRpc, BackendKind::Nats];
    let kind = kinds.into_iter().find(|kind| kind.as_str() == word);
    if kind.is_none() {
        problems.add(code::OUT_OF_BOUNDS, &at, &path, "a back end is http, xml-rpc or nats");
    }
    kind
}

/// Scheme, host and path; nothing of a user, and no fragment.
fn url(spec: &Node<'_>, kind: Option<BackendKind>, problems: &mut Problems<'_>) -> Option<String> {
    let path = spec.path_of("url");
    let found = match (kind, spec.get("url")) {
        (Some(BackendKind::Nats), None) => return Some(String::new()),
        (Some(BackendKind::Nats), Some((_, at))) => {
            problems.add(
                code::UNKNOWN_KEY,
                &at,
                &path,
                "the bus has a subject for each flow; leave this out",
            );
            return None;
        }
        _ => required(spec, "url", problems)?,
    };
    let at = found.1.clone();
    let url = string(&found, &path, problems)?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte));
    if url.len() > MAX_URL_BYTES || !plain || authority.is_empty() || authority.contains('@') {
        let reason = format!(
            "an address like http://127.0.0.1:8080/next, at most {MAX_URL_BYTES} bytes, without user and fragment"
        );
        problems.add(code::OUT_OF_BOUNDS, &at, &path, reason);
        return None;
    }
    Some(url.to_owned())
}

fn fields(spec: &Node<'_>, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    let Some((value, at)) = spec.get("fields") else { return Some(Vec::new()) };
    let path = spec.path_of("fields");
    let toml::de::DeValue::Array(list) = value else {
        super::values::wrong_type(value, &at, &path, "a list of columns", problems);
        return None;
    };
    if list.len() > super::MAX_FIELDS {
        let reason = format!("at most {} fields go with a call", super::MAX_FIELDS);
        problems.add(code::OUT_OF_BOUNDS, &at, &path, reason);
        return None;
    }
    let mut fields = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let text = string(&(item.get_ref(), item.span()), &path, problems)?;
        if !(1..=MAX_NAME_BYTES).contains(&text.len()) {
            problems.add(
                code::BAD_NAME,
                &item.span(),
                &path,
                "a field's name is that of its column, 1 to 64 bytes",
            );
        }
        fields.push(text.to_owned());
    }
    Some(fields)
}
