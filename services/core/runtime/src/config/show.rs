//! The configuration as text: flat, with places, without secrets and numbers.

use std::fmt::Write as _;

use toml::Value;

use super::Config;

/// Whether a section has a key, by name. Sections of sections do not count.
pub(super) fn has_key(section: &str, key: &str) -> bool {
    // Keys without a default do not show in a default configuration.
    const ABSENT: [(&str, &str); 15] = [
        ("dialer", "calls_token_file"),
        ("nats", "user"),
        ("nats", "password_file"),
        ("nats", "ca_file"),
        ("paths", "keys_dir"),
        ("objects", "url"),
        ("ledger", "archive"),
        ("scaler", "agent_bin"),
        ("scaler", "prices"),
        ("agent", "node"),
        ("agent", "intent"),
        ("webhook", "url"),
        ("webhook", "secret_file"),
        ("webhook", "secret_env"),
        ("webhook", "ca_file"),
    ];
    let shown = Value::try_from(Config::default())
        .is_ok_and(|config| config.get(section).is_some_and(|section| section.get(key).is_some()));
    shown || ABSENT.contains(&(section, key))
}

/// `section.key = value` lines with their places.
pub(super) fn masked(config: &Config) -> String {
    let mut text = String::new();
    match Value::try_from(config) {
        Ok(value) => lines(config, "", &value, &mut text),
        Err(error) => {
            let _ = writeln!(text, "the configuration cannot be shown: {error}");
        }
    }
    text
}

fn lines(config: &Config, path: &str, value: &Value, text: &mut String) {
    let Value::Table(table) = value else {
        let _ = write!(text, "{path} = {}", shown(config, path, value));
        if let Some(source) = config.source_of(path) {
            let _ = write!(text, "  # {source}");
        }
        text.push('\n');
        return;
    };
    for (key, value) in table {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        lines(config, &below, value, text);
    }
}

fn shown(config: &Config, path: &str, value: &Value) -> String {
    let field = path.rsplit('.').next().unwrap_or_default();
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| shown(config, path, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(text) if matches!(field, "allowed_numbers" | "caller_id" | "caller_ids") => {
            Value::String(masked_number(text)).to_string()
        }
        // Its path may be a secret.
        Value::String(_) if path == "webhook.url" => {
            let shown = config.webhook.target().ok().flatten().map_or_else(String::new, |(_, shown)| shown);
            Value::String(format!("{shown}/•••")).to_string()
        }
        Value::String(text) if matches!(field, "url" | "uri" | "endpoint") => {
            Value::String(masked_url(text)).to_string()
        }
        // Arguments of other programs may hold anything.
        Value::String(_) if field == "agent_args" => "\"•••\"".to_owned(),
        other => other.to_string(),
    }
}

/// `+12025550123` as `+1•••••••123`.
fn masked_number(number: &str) -> String {
    let all: Vec<char> = number.chars().collect();
    let shown = |at: usize| at < 2 || at + 3 >= all.len();
    if all.len() < 8 {
        return "•••".to_owned();
    }
    all.iter().enumerate().map(|(at, digit)| if shown(at) { *digit } else { '•' }).collect()
}

/// A list of urls without what stands before an `@`.
fn masked_url(url: &str) -> String {
    let part = |part: &str| match part.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or(String::new(), |(scheme, _)| format!("{scheme}://"));
            format!("{scheme}•••@{host}")
        }
        None => part.to_owned(),
    };
    url.split(',').map(part).collect::<Vec<_>>().join(",")
}

/// A path as it may stand in a url.
pub(super) fn percent_encode(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}
