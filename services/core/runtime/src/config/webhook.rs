//! The section `[webhook]`: where notices go.

use std::path::PathBuf;

use asterism_domain::webhook::NoticeKind;
use axum::http::Uri;
use serde::{Deserialize, Serialize};

use super::Config;
use super::validate::Checks;

/// Notices to a server of the user's own, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Where they are posted, `https://host/path`; `http://` on this machine. Without it there are none.
    pub url: Option<String>,
    /// Allow `http://` to another machine: whole numbers pass in clear.
    pub insecure: bool,
    /// File whose first line is the secret they are signed with, at least 16 characters.
    pub secret_file: Option<PathBuf>,
    /// Or the environment variable that holds it.
    pub secret_env: Option<String>,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The kinds wanted: `contact.settled`, `campaign.ended`, `recording.stored`.
    pub kinds: Vec<NoticeKind>,
    /// How long the receiver may take for one request.
    pub timeout_ms: u64,
    /// Most notices of one request.
    pub batch: u32,
    /// The first pause after a failure; it doubles with each.
    pub retry_first_ms: u64,
    /// The longest pause.
    pub retry_max_ms: u64,
    /// How often a notice is tried alone.
    pub max_tries: u32,
    /// A notice older than this is not tried again after a failure.
    pub give_up_after_s: u64,
    /// Most notices owed; the oldest are given up beyond it.
    pub max_owed: u32,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: None,
            insecure: false,
            secret_file: None,
            secret_env: None,
            ca_file: None,
            kinds: vec![NoticeKind::ContactSettled, NoticeKind::CampaignEnded],
            timeout_ms: 10_000,
            batch: 100,
            retry_first_ms: 1_000,
            retry_max_ms: 300_000,
            max_tries: 50,
            give_up_after_s: 86_400,
            max_owed: 200_000,
        }
    }
}

impl WebhookConfig {
    /// The url, and the part of it that may be shown: scheme, host and port.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn target(&self) -> Result<Option<(Uri, String)>, String> {
        let Some(url) = &self.url else { return Ok(None) };
        let bad = || "expected https://host/path, or http:// on this machine".to_owned();
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err("a user in it is sent nowhere; notices are signed instead".to_owned());
        }
        let host = authority.host();
        let here = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") if here || self.insecure => "http",
            Some("http") => {
                return Err(
                    "whole numbers would pass in clear: expected https://, or webhook.insecure = true"
                        .to_owned(),
                );
            }
            _ => return Err(bad()),
        };
        let shown = format!("{scheme}://{authority}");
        Ok(Some((uri, shown)))
    }
}

pub(super) fn check(checks: &mut Checks<'_>, config: &Config) {
    let webhook = &config.webhook;
    match webhook.target() {
        Err(why) => checks.say("AST-C010", "webhook.url", why),
        Ok(Some(_)) if webhook.secret_file.is_some() == webhook.secret_env.is_some() => {
            let what = "webhook.url needs a secret: one of webhook.secret_file and webhook.secret_env";
            checks.say("AST-C014", "webhook.secret_file", what);
        }
        Ok(_) => {}
    }
    if webhook.kinds.is_empty() {
        checks.say("AST-C010", "webhook.kinds", "is empty: leave webhook.url out where no notice is wanted");
    }
    checks.range("webhook.timeout_ms", webhook.timeout_ms, 100, 60_000);
    checks.range("webhook.batch", webhook.batch.into(), 1, 100);
    checks.range("webhook.retry_first_ms", webhook.retry_first_ms, 10, 60_000);
    checks.range("webhook.retry_max_ms", webhook.retry_max_ms, webhook.retry_first_ms, 3_600_000);
    checks.range("webhook.max_tries", webhook.max_tries.into(), 1, 10_000);
    checks.range("webhook.give_up_after_s", webhook.give_up_after_s, 1, 30 * 86_400);
    checks.range("webhook.max_owed", webhook.max_owed.into(), 1, 1_000_000);
}
