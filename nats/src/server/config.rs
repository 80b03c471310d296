//! The configuration file of the child.

use std::fmt::Write as _;
use std::path::Path;

use super::SyncInterval;
use crate::error::Error;
use crate::subject;

/// Largest message: a frame of 64 KiB, an order of many attempts and a manifest fit well.
pub(super) const MAX_PAYLOAD_BYTES: u32 = 1024 * 1024;

pub(super) struct Settings<'a> {
    pub(super) name: &'a str,
    pub(super) port: u16,
    pub(super) store: &'a Path,
    pub(super) sync_interval: SyncInterval,
    pub(super) service_password: &'a str,
    pub(super) node_password: &'a str,
    pub(super) web_password: &'a str,
}

/// A name no other server has.
pub(super) fn unique_name() -> Result<String, Error> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| Error::Config {
        key: "server_name",
        value: String::new(),
        reason: format!("no randomness: {error}"),
    })?;
    Ok(format!("asterism-{}", hex::encode(random)))
}

/// The configuration text.
pub(super) fn render(settings: &Settings<'_>) -> String {
    let (node, web) = (subject::node_permissions(), subject::web_permissions());
    let mut text = String::new();
    let _ = write!(
        text,
        "# Written at each start; changes are lost.
server_name: {name}
listen: \"127.0.0.1:{port}\"
max_payload: {MAX_PAYLOAD_BYTES}
jetstream {{
  store_dir: {store}
{sync_interval}}}
authorization {{
  users: [
    {{ user: \"{service}\", password: {service_password} }}
    {{
      user: \"{node}\", password: {node_password}
      permissions: {{
        publish: {{ allow: [{publish_allow}], deny: [{publish_deny}] }}
        subscribe: {{ allow: [{subscribe_allow}] }}
      }}
    }}
    {{
      user: \"{web}\", password: {web_password}
      permissions: {{ publish: {{ allow: [{web_publish}] }}, subscribe: {{ allow: [{web_subscribe}] }} }}
    }}
  ]
}}
",
        name = settings.name,
        port = settings.port,
        store = quoted(&settings.store.display().to_string()),
        sync_interval = match settings.sync_interval {
            SyncInterval::Always => "  sync_interval: always\n",
            SyncInterval::ServerDefault => "",
        },
        service = super::SERVICE_USER,
        service_password = quoted(settings.service_password),
        node = super::NODE_USER,
        node_password = quoted(settings.node_password),
        publish_allow = list(&node.publish_allow),
        publish_deny = list(&node.publish_deny),
        subscribe_allow = list(&node.subscribe_allow),
        web = super::WEB_USER,
        web_password = quoted(settings.web_password),
        web_publish = list(&web.publish_allow),
        web_subscribe = list(&web.subscribe_allow),
    );
    text
}

fn list(subjects: &[String]) -> String {
    subjects.iter().map(|subject| quoted(subject)).collect::<Vec<_>>().join(", ")
}

/// A string of the server's configuration language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_is_synced_unless_asked_otherwise() {
        let text = |sync_interval| {
            render(&Settings {
                name: "n",
                port: 1,
                store: Path::new("/s"),
                sync_interval,
                service_password: "a",
                node_password: "b",
                web_password: "c",
            })
        };
        let (always, other) = (text(SyncInterval::default()), text(SyncInterval::ServerDefault));
        assert!(always.contains("store_dir: \"/s\"\n  sync_interval: always\n}\n"), "{always}");
        assert_eq!(other, always.replace("  sync_interval: always\n", ""));
    }

    #[test]
    fn a_quote_in_a_path_stays_inside_its_string() {
        assert_eq!(quoted(r#"/a"b\c"#), r#""/a\"b\\c""#);
    }
}
