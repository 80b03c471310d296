//! Trunks: what a carrier is, how much it may carry, how it does, and which number an attempt shows on it.
//!
//! Reading order: [`TrunkSettings`] (what was set), [`check`] (what cannot be meant), [`state`] (what the log says of
//! one), [`health`] (the circuit breaker and the pace), [`choose`] (trunk and caller id of an attempt), [`decide`] and
//! [`apply`].

#![deny(clippy::float_arithmetic)]

pub mod apply;
pub mod check;
pub mod choose;
pub mod decide;
pub mod health;
pub mod report;
pub mod state;
mod wire;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use check::{TrunkProblem, check};
pub use decide::TrunkCommand;
pub use state::Trunk;

/// How a trunk's SIP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
    /// TLS.
    Tls,
}

/// How a number is written on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberFormat {
    /// `+12025550123`.
    #[default]
    Plus,
    /// `12025550123`.
    Digits,
    /// `0012025550123`.
    DoubleZero,
}

/// The header that carries the caller id beside From.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerIdHeader {
    /// None: From says it.
    #[default]
    From,
    /// P-Asserted-Identity (RFC 3325).
    PAssertedIdentity,
    /// Remote-Party-ID.
    RemotePartyId,
}

/// Everything the log says a trunk is. Credentials are named here; what they are only the nodes know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkSettings {
    /// `name`, `address` or either with `:port`. Gateways of one carrier: calls take turns
    /// over those that answer its OPTIONS.
    pub hosts: Vec<String>,
    /// A domain whose SRV records say where, instead of hosts.
    pub srv: String,
    /// How its SIP travels.
    pub transport: Transport,
    /// Encrypted media, keys in the SDP; with TLS only.
    pub srtp: bool,
    /// Codecs, the first is offered first.
    pub codecs: Vec<String>,
    /// How numbers are written.
    pub number_format: NumberFormat,
    /// Where the caller id is beside From.
    pub caller_id_header: CallerIdHeader,
    /// An OPTIONS every so many seconds; 0 = none.
    pub qualify_s: u32,
    /// Most attempts in flight over all nodes; 0 = no cap.
    pub max_channels: u32,
    /// Most attempts started a second over all nodes; 0 = no cap.
    pub calls_per_second: u32,
    /// Final responses after which nobody can have been rung, so that another trunk may be tried.
    pub failover: Vec<u32>,
    /// The highest is tried first.
    pub priority: u32,
    /// Name of the credentials on the nodes; empty = none.
    pub credentials: String,
    /// `host` or `host:port` that all of its SIP passes through; empty = none.
    pub outbound_proxy: String,
    /// The domain in From; empty = the node's address.
    pub from_domain: String,
    /// Numbers it may show; none = any.
    pub caller_ids: Vec<String>,
}

/// Final responses that mean: the carrier has no room or is out of order, and has rung nobody.
pub const FAILOVER: [u32; 4] = [500, 502, 503, 504];

impl Default for TrunkSettings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            srv: String::new(),
            transport: Transport::Udp,
            srtp: false,
            codecs: vec!["ulaw".to_owned(), "alaw".to_owned()],
            number_format: NumberFormat::Plus,
            caller_id_header: CallerIdHeader::From,
            qualify_s: 0,
            max_channels: 0,
            calls_per_second: 0,
            failover: FAILOVER.to_vec(),
            priority: 0,
            credentials: String::new(),
            outbound_proxy: String::new(),
            from_domain: String::new(),
            caller_ids: Vec::new(),
        }
    }
}

impl TrunkSettings {
    /// Whether it leads outside this machine: then only allowed numbers are dialled until go-live. Anything that is not
    /// plainly loopback does.
    pub fn is_outside(&self) -> bool {
        let mut hosts = self.hosts.iter().chain(Some(&self.outbound_proxy).filter(|proxy| !proxy.is_empty()));
        !self.srv.is_empty() || self.hosts.is_empty() || !hosts.all(|host| is_loopback(host))
    }

    /// Names what a node renders of them: equal settings, and only those, have equal revisions. Caps, priority, failover
    /// and caller ids are the dialer's and change nothing on a node.
    pub fn revision(&self) -> String {
        use prost::Message as _;
        let rendered = Self {
            max_channels: 0,
            calls_per_second: 0,
            failover: Vec::new(),
            priority: 0,
            caller_ids: Vec::new(),
            ..self.clone()
        };
        hex::encode(&Sha256::digest(asterism_proto::v1::TrunkSettings::from(&rendered).encode_to_vec())[..8])
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn host_and_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

fn is_loopback(text: &str) -> bool {
    let (host, _) = host_and_port(text);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
