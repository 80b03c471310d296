//! Settings that cannot be meant: every problem at once, each with a code of its own.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use asterism_proto::origin::is_token;

use super::{Transport, TrunkSettings, host_and_port};

/// Most trunks of a fleet, and of a node.
pub const TRUNKS_MAX: usize = 64;
/// Most hosts of one trunk.
pub const HOSTS_MAX: usize = 16;
/// Most caller ids of one trunk, and of one campaign.
pub const CALLER_IDS_MAX: usize = 256;
/// Codecs the nodes' Asterisk loads.
pub const CODECS: [&str; 3] = ["ulaw", "alaw", "g722"];
/// Names pjsip.conf uses for itself.
const RESERVED: [&str; 5] = ["global", "system", "udp", "tcp", "tls"];
/// Final responses that may come from the callee's own device: whoever sends one can have been rung.
const OF_CALLEES: [u32; 6] = [408, 480, 486, 487, 600, 603];

/// One thing wrong with a trunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {field}: {why}")]
pub struct TrunkProblem {
    /// Stable code.
    pub code: &'static str,
    /// Which setting, as it is written.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub why: String,
}

struct Problems(Vec<TrunkProblem>);

impl Problems {
    fn unless(&mut self, right: bool, code: &'static str, field: &'static str, why: impl fmt::Display) {
        if !right {
            self.0.push(TrunkProblem { code, field, why: why.to_string() });
        }
    }
}

/// Everything wrong with a trunk of this name.
pub fn check(name: &str, settings: &TrunkSettings) -> Vec<TrunkProblem> {
    let mut found = Problems(Vec::new());
    let named = is_token(name) && !RESERVED.contains(&name);
    let expected = "expected 1 to 64 of [A-Za-z0-9_-], not global, system, udp, tcp or tls";
    found.unless(named, "AST-T001", "name", expected);
    check_places(settings, &mut found);
    check_media(settings, &mut found);
    check_limits(settings, &mut found);
    let plain = settings.credentials.is_empty() || is_token(&settings.credentials);
    found.unless(
        plain,
        "AST-T009",
        "credentials",
        "expected the name they have on the nodes, never a secret",
    );
    check_caller_ids(&settings.caller_ids, &mut found);
    found.0
}

fn check_places(settings: &TrunkSettings, found: &mut Problems) {
    let TrunkSettings { hosts, srv, outbound_proxy, from_domain, .. } = settings;
    let one_way = hosts.is_empty() != srv.is_empty();
    found.unless(
        one_way,
        "AST-T002",
        "hosts",
        "expected hosts, or the domain of SRV records, one of the two",
    );
    found.unless(hosts.len() <= HOSTS_MAX, "AST-T002", "hosts", format!("at most {HOSTS_MAX}"));
    for host in hosts {
        let why = format!("{host:?} is no host name or IPv4 address, with :port or without");
        found.unless(is_place(host), "AST-T003", "hosts", why);
    }
    let twice = hosts.iter().collect::<BTreeSet<_>>().len() < hosts.len();
    found.unless(!twice, "AST-T003", "hosts", "one is there twice");
    let why = "expected a domain, without a port: its SRV records have that";
    found.unless(srv.is_empty() || is_domain(srv), "AST-T004", "srv", why);
    let why = "expected a host name or IPv4 address, with :port or without";
    found.unless(outbound_proxy.is_empty() || is_place(outbound_proxy), "AST-T005", "outbound_proxy", why);
    let domain = from_domain.is_empty() || is_host(from_domain);
    found.unless(domain, "AST-T006", "from_domain", "expected a host name or IPv4 address");
}

fn check_media(settings: &TrunkSettings, found: &mut Problems) {
    let known = settings.codecs.iter().all(|codec| CODECS.contains(&codec.as_str()));
    let several = settings.codecs.iter().collect::<BTreeSet<_>>().len() == settings.codecs.len();
    let codecs = !settings.codecs.is_empty() && known && several;
    found.unless(codecs, "AST-T007", "codecs", format!("expected some of {}, each once", CODECS.join(", ")));
    let hidden = !settings.srtp || settings.transport == Transport::Tls;
    let why = "its keys pass in the SDP: with another transport than tls everybody on the way reads them";
    found.unless(hidden, "AST-T008", "srtp", why);
}

fn check_limits(settings: &TrunkSettings, found: &mut Problems) {
    found.unless(settings.max_channels <= 100_000, "AST-T010", "max_channels", "at most 100,000; 0 = no cap");
    let pace = settings.calls_per_second <= 10_000;
    found.unless(pace, "AST-T010", "calls_per_second", "at most 10,000; 0 = no cap");
    let qualify = settings.qualify_s == 0 || (5..=3_600).contains(&settings.qualify_s);
    found.unless(qualify, "AST-T010", "qualify_s", "expected 5 to 3,600 seconds, or 0 for never");
    found.unless(settings.priority <= 1_000, "AST-T010", "priority", "at most 1,000");
    found.unless(settings.failover.len() <= 32, "AST-T011", "failover", "at most 32 responses");
    for status in &settings.failover {
        let refusal = (400..700).contains(status);
        let why = format!("{status} is no final refusal of SIP, 400 to 699");
        found.unless(refusal, "AST-T011", "failover", why);
        let why = format!("{status} can come from the callee's own phone: somebody may have been rung");
        found.unless(!OF_CALLEES.contains(status), "AST-T012", "failover", why);
    }
}

fn check_caller_ids(numbers: &[String], found: &mut Problems) {
    let why = format!("at most {CALLER_IDS_MAX}");
    found.unless(numbers.len() <= CALLER_IDS_MAX, "AST-T013", "caller_ids", why);
    for number in numbers {
        let why = format!("{number:?} is no number like +12025550123");
        found.unless(is_caller_id(number), "AST-T013", "caller_ids", why);
    }
}

/// `+` and 7 to 15 digits.
pub fn is_caller_id(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn is_place(text: &str) -> bool {
    let (host, port) = host_and_port(text);
    is_host(host)
        && port.is_none_or(|port| {
            !port.starts_with('0')
                && port.bytes().all(|digit| digit.is_ascii_digit())
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
}

fn is_host(text: &str) -> bool {
    let v6 = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = text.parse::<Ipv4Addr>().is_ok() || v6.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
    // What has no letter must be an address: 300.1.1.1 is neither that nor a name.
    address || (is_domain(text) && text.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

fn is_domain(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
