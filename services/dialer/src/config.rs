//! What the dialer runs with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use asterism_domain::campaign::TrunkLimits;
use asterism_runtime::config::Config;

/// The dialer's settings.
#[derive(Clone, Debug)]
pub struct DialerConfig {
    /// Time between ticks, at least 20.
    pub tick_ms: u64,
    /// How long an order may be carried out, at most 2,000.
    pub order_window_ms: u32,
    /// Most attempts decided in one tick.
    pub max_intents: u32,
    /// Caps of each trunk.
    pub trunks: BTreeMap<String, TrunkLimits>,
    /// The number each trunk shows by itself.
    pub caller_ids: BTreeMap<String, String>,
    /// Where `POST /calls` answers, with the file of its token; none = it does not.
    pub calls: Option<(SocketAddr, PathBuf)>,
}

impl Default for DialerConfig {
    fn default() -> Self {
        Self {
            tick_ms: 50,
            order_window_ms: 1_000,
            max_intents: 100,
            trunks: BTreeMap::new(),
            caller_ids: BTreeMap::new(),
            calls: None,
        }
    }
}

impl From<&Config> for DialerConfig {
    fn from(config: &Config) -> Self {
        let trunks = config.trunks.iter().map(|(name, trunk)| {
            let limits = TrunkLimits {
                max_channels: trunk.max_channels,
                calls_per_second: trunk.calls_per_second,
                outside: !is_loopback(&trunk.uri),
            };
            (name.clone(), limits)
        });
        Self {
            tick_ms: config.dialer.tick_ms,
            order_window_ms: config.dialer.order_window_ms.min(2_000) as u32,
            max_intents: config.dialer.max_intents,
            trunks: trunks.collect(),
            caller_ids: config
                .trunks
                .iter()
                .filter_map(|(name, trunk)| Some((name.clone(), trunk.caller_id.clone()?)))
                .collect(),
            calls: config.dialer.calls_token_file.clone().map(|file| (config.dialer.calls_listen, file)),
        }
    }
}

/// Whether a trunk's URI names this machine. Anything that is not plainly loopback leads outside.
pub fn is_loopback(uri: &str) -> bool {
    let host = uri.strip_prefix("sip:").unwrap_or(uri);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_plainly_loopback_is_inside() {
        for inside in ["sip:127.0.0.1:5060", "sip:127.0.0.9", "sip:user@127.0.0.1:5060", "sip:[::1]:5060"] {
            assert!(is_loopback(inside), "{inside}");
        }
        for outside in
            ["sip:10.0.0.1", "sip:carrier.example", "sip:127.0.0.1.example", "sip:localhost.example:5060", ""]
        {
            assert!(!is_loopback(outside), "{outside}");
        }
    }
}
