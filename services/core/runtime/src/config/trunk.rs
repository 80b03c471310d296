//! `[trunks.NAME]`: a carrier as the file tells it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use asterism_domain::trunk::{self, CallerIdHeader, NumberFormat, Transport, TrunkSettings};
use serde::{Deserialize, Serialize};

/// Trunks by name.
pub type Trunks = BTreeMap<String, TrunkConfig>;

/// A carrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkConfig {
    /// `sip:host:port`, of a trunk with one gateway.
    pub uri: String,
    /// Channels there may be at the same time over all nodes.
    pub max_channels: u32,
    /// New calls in a second over all nodes.
    pub calls_per_second: u32,
    /// The domain in From; the node's address when absent.
    pub from_domain: Option<String>,
    /// The number shown to the far end, in E.164.
    pub caller_id: Option<String>,
    /// The user at the carrier.
    pub user: Option<String>,
    /// The file with its password.
    pub password_file: Option<PathBuf>,
    /// Real calls beyond this machine are wanted.
    pub live: bool,
    /// Numbers that may be called before `campaign go-live`, in E.164.
    pub allowed_numbers: Vec<String>,
    /// Several equal gateways, `host` or `host:port` each, instead of a uri.
    pub hosts: Vec<String>,
    /// The domain whose SRV records name the gateways, instead of a uri.
    pub srv: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: Transport,
    /// Encrypted media; with tls.
    pub srtp: bool,
    /// Codecs, the first is offered first.
    pub codecs: Vec<String>,
    /// `plus`, `digits` or `double-zero`.
    pub number_format: NumberFormat,
    /// `from`, `p-asserted-identity` or `remote-party-id`.
    pub caller_id_header: CallerIdHeader,
    /// An OPTIONS every so many seconds; 0 = none.
    pub qualify_s: u32,
    /// Final responses after which another trunk may be tried.
    pub failover: Vec<u32>,
    /// Of a campaign's trunks the highest is tried first.
    pub priority: u32,
    /// `host` or `host:port` all of its SIP passes through.
    pub outbound_proxy: String,
    /// Numbers it may show; none = any.
    pub caller_ids: Vec<String>,
}

impl TrunkConfig {
    /// What the log says of a trunk of this name. Its credentials are named as it is.
    pub fn settings(&self, name: &str) -> TrunkSettings {
        let place = self.uri.strip_prefix("sip:").unwrap_or(&self.uri);
        let of_uri = || vec![place.rsplit_once('@').map_or(place, |(_, host)| host).to_owned()];
        TrunkSettings {
            hosts: if self.uri.is_empty() { self.hosts.clone() } else { of_uri() },
            srv: self.srv.clone(),
            transport: self.transport,
            srtp: self.srtp,
            codecs: self.codecs.clone(),
            number_format: self.number_format,
            caller_id_header: self.caller_id_header,
            qualify_s: self.qualify_s,
            max_channels: self.max_channels,
            calls_per_second: self.calls_per_second,
            failover: self.failover.clone(),
            priority: self.priority,
            credentials: self.user.as_ref().map_or_else(String::new, |_| name.to_owned()),
            outbound_proxy: self.outbound_proxy.clone(),
            from_domain: self.from_domain.clone().unwrap_or_default(),
            caller_ids: self.caller_ids.clone(),
        }
    }
}

impl Default for TrunkConfig {
    fn default() -> Self {
        Self {
            uri: String::new(),
            max_channels: 100,
            calls_per_second: 10,
            from_domain: None,
            caller_id: None,
            user: None,
            password_file: None,
            live: false,
            allowed_numbers: Vec::new(),
            hosts: Vec::new(),
            srv: String::new(),
            transport: Transport::Udp,
            srtp: false,
            codecs: TrunkSettings::default().codecs,
            number_format: NumberFormat::Plus,
            caller_id_header: CallerIdHeader::From,
            qualify_s: 0,
            failover: trunk::FAILOVER.to_vec(),
            priority: 0,
            outbound_proxy: String::new(),
            caller_ids: Vec::new(),
        }
    }
}
