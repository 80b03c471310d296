//! Which server, with which protection: checks the url before anything is sent, and names what went wrong after.

use std::net::IpAddr;
use std::path::PathBuf;

use async_nats::{ConnectErrorKind, ServerAddr};

use crate::bus::BusConfig;
use crate::error::Error;
use crate::subject;

/// Most servers in one url list.
const SERVERS_MAX: usize = 16;

/// A checked configuration.
#[derive(Debug)]
pub(crate) struct Target {
    /// The servers to try.
    pub(crate) servers: Vec<ServerAddr>,
    /// Whether plain text is refused.
    pub(crate) tls: bool,
    /// The url for messages, without user parts.
    pub(crate) shown: String,
    /// Certificates to trust instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// Checks a configuration: shape, and that nothing leaves this machine unprotected.
pub(crate) fn check(config: &BusConfig) -> Result<Target, Error> {
    if !subject::is_inbox_prefix(&config.inbox_prefix) {
        return Err(Error::Config {
            key: "inbox_prefix",
            value: config.inbox_prefix.clone(),
            reason: format!(
                "expected {}.node.<id> or {}.svc.<process>",
                subject::INBOX_ROOT,
                subject::INBOX_ROOT
            ),
        });
    }
    let servers = servers(&config.url)?;
    let shown: Vec<String> = servers.iter().map(shown).collect();
    let shown = shown.join(",");
    let tls = config.ca_file.is_some() || servers.iter().all(|server| server.scheme() == "tls");
    let credentials = config.user.is_some() && config.password.is_some();
    let remote = leaves_machine(&servers);
    let missing = match (tls, credentials) {
        (true, true) => None,
        (false, true) => Some("TLS"),
        (true, false) => Some("credentials"),
        (false, false) => Some("TLS and no credentials"),
    };
    if let Some(missing) = missing.filter(|_| remote) {
        if !config.insecure {
            return Err(Error::Insecure { url: shown, missing });
        }
        tracing::warn!(url = %shown, "insecure: the bus leaves this machine with no {missing}, as asked");
    }
    Ok(Target { servers, tls, shown, ca_file: config.ca_file.clone() })
}

fn servers(url: &str) -> Result<Vec<ServerAddr>, Error> {
    let refuse =
        |reason: &str| Error::Config { key: "nats.url", value: mask(url), reason: reason.to_owned() };
    let mut servers = Vec::new();
    for part in url.split(',').map(str::trim) {
        if servers.len() == SERVERS_MAX {
            return Err(refuse("at most 16 servers"));
        }
        let server: ServerAddr =
            part.parse().map_err(|_| refuse("expected nats://host:port or tls://host:port"))?;
        if !matches!(server.scheme(), "nats" | "tls") {
            return Err(refuse("expected the scheme nats or tls"));
        }
        if server.has_user_pass() {
            return Err(refuse("the user belongs in nats.user and the password in nats.password_file"));
        }
        servers.push(server);
    }
    Ok(servers)
}

/// A url for messages: whatever stands before an `@` is cut.
fn mask(url: &str) -> String {
    url.split(',')
        .map(|part| match part.rsplit_once('@') {
            Some((_, host)) => format!("•••@{host}"),
            None => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join(",")
}

fn shown(server: &ServerAddr) -> String {
    format!("{}://{}:{}", server.scheme(), server.host(), server.port())
}

/// Whether a server is beyond this machine.
pub(crate) fn is_remote(url: &str) -> Result<bool, Error> {
    servers(url).map(|servers| leaves_machine(&servers))
}

fn leaves_machine(servers: &[ServerAddr]) -> bool {
    servers.iter().any(|server| !is_loopback(server.host()))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The error of a first connection, in our terms.
pub(crate) fn explain(error: &async_nats::ConnectError, target: &Target, config: &BusConfig) -> Error {
    let url = target.shown.clone();
    let reason = || std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Error::AuthRefused { url, user: config.user.clone().unwrap_or_else(|| "(none)".to_owned()) }
        }
        ConnectErrorKind::Tls => Error::Tls { url, reason: reason() },
        // The handshake's own errors come as io errors of the TLS library.
        ConnectErrorKind::Io if is_tls_error(&reason()) => Error::Tls { url, reason: reason() },
        _ => Error::Unreachable { url, reason: reason() },
    }
}

fn is_tls_error(reason: &str) -> bool {
    ["certificate", "HandshakeFailure", "corrupt message", "handshake"]
        .iter()
        .any(|word| reason.contains(word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::secret::Secret;
    use proptest::prelude::*;

    fn config(url: &str) -> BusConfig {
        BusConfig { url: url.into(), ..BusConfig::loopback("t", "_IN.svc.t") }
    }

    #[test]
    fn loopback_needs_nothing_and_anything_else_needs_tls_and_credentials() {
        for url in ["nats://127.0.0.1:4222", "127.0.0.1:4222", "nats://localhost:1", "nats://[::1]:4222"] {
            assert!(check(&config(url)).is_ok(), "{url}");
        }
        let mut remote = config("nats://10.0.0.7:4222");
        assert_eq!(check(&remote).unwrap_err().code(), "AST-N001");
        remote.user = Some("u".into());
        remote.password = Some(Secret::new("p"));
        assert_eq!(check(&remote).unwrap_err().code(), "AST-N001");
        remote.url = "tls://10.0.0.7:4222".into();
        assert!(check(&remote).unwrap().tls);
        remote.url = "tls://10.0.0.7:4222,nats://10.0.0.8:4222".into();
        assert_eq!(check(&remote).unwrap_err().code(), "AST-N001");
        remote.insecure = true;
        assert!(check(&remote).is_ok());
    }

    #[test]
    fn a_name_that_only_looks_like_loopback_is_not() {
        for url in
            ["nats://localhost.example.net:4222", "nats://127.0.0.1.example.net", "nats://0.0.0.0:4222"]
        {
            assert_eq!(check(&config(url)).unwrap_err().code(), "AST-N001", "{url}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        let error = check(&config("nats://joe:hunter2@127.0.0.1:4222")).unwrap_err();
        assert_eq!(error.code(), "AST-N004");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn an_inbox_outside_the_inbox_root_is_refused() {
        let mut config = config("nats://127.0.0.1:4222");
        config.inbox_prefix = "_INBOX.x".into();
        assert_eq!(check(&config).unwrap_err().code(), "AST-N004");
    }

    proptest! {
        #[test]
        fn any_url_is_judged_without_panic(url in "\\PC{0,120}") {
            let _ = check(&config(&url));
        }
    }
}
