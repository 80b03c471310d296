//! What the dialer runs with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use asterism_domain::paces::Paces;
use asterism_domain::trunk::TrunkSettings;
use asterism_runtime::config::{Config, WebhookConfig};

/// The dialer's settings.
#[derive(Clone, Debug)]
pub struct DialerConfig {
    /// Time between ticks, at least 20.
    pub tick_ms: u64,
    /// How long an order may be carried out, at most 2,000.
    pub order_window_ms: u32,
    /// Most attempts decided in one tick.
    pub max_intents: u32,
    /// Caps over all campaigns and trunks.
    pub caps: Paces,
    /// The trunks of the configuration.
    pub trunks: BTreeMap<String, TrunkSettings>,
    /// The number each trunk shows by itself.
    pub caller_ids: BTreeMap<String, String>,
    /// Where `POST /calls` answers, with the file of its token; none = it does not.
    pub calls: Option<(SocketAddr, PathBuf)>,
    /// Where notices go.
    pub webhook: WebhookConfig,
}

impl Default for DialerConfig {
    fn default() -> Self {
        Self {
            tick_ms: 50,
            order_window_ms: 1_000,
            max_intents: 100,
            caps: Paces::default(),
            trunks: BTreeMap::new(),
            caller_ids: BTreeMap::new(),
            calls: None,
            webhook: WebhookConfig::default(),
        }
    }
}

impl From<&Config> for DialerConfig {
    fn from(config: &Config) -> Self {
        let trunks = config.trunks.iter().map(|(name, trunk)| (name.clone(), trunk.settings(name)));
        Self {
            tick_ms: config.dialer.tick_ms,
            order_window_ms: config.dialer.order_window_ms.min(2_000) as u32,
            max_intents: config.dialer.max_intents,
            caps: Paces {
                calls_per_second: config.dialer.calls_per_second,
                node_calls_per_second: config.dialer.node_calls_per_second,
                max_channels: config.dialer.max_channels,
            },
            trunks: trunks.collect(),
            caller_ids: config
                .trunks
                .iter()
                .filter_map(|(name, trunk)| Some((name.clone(), trunk.caller_id.clone()?)))
                .collect(),
            calls: config.dialer.calls_token_file.clone().map(|file| (config.dialer.calls_listen, file)),
            webhook: config.webhook.clone(),
        }
    }
}
