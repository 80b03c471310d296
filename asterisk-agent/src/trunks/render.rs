//! One trunk as pjsip.conf has it: every value checked, so that a template's shape is all there ever is.

use std::net::Ipv4Addr;

use asterism_proto::origin::is_token;
use asterism_proto::v1;

use super::Credentials;
use crate::Error;
use crate::render::{endpoint_at, fill, is_host, is_reserved};

/// Codecs modules.conf loads.
const CODECS: [&str; 3] = ["ulaw", "alaw", "g722"];

/// What a trunk's text depends on beside its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address the world knows this machine by.
    pub advertised: Ipv4Addr,
    /// Media leaves from that address.
    pub bind_rtp: bool,
}

/// A trunk's sections.
///
/// # Errors
/// AST-A026 with what cannot be used; never a secret.
pub fn render(
    entry: &v1::TrunkEntry,
    place: &Place,
    ami_secret: &str,
    credentials: &Credentials,
) -> Result<String, Error> {
    let bad = |why: &str| Error::Trunk { trunk: shown(&entry.trunk), why: why.to_owned() };
    if !is_token(&entry.trunk) || is_reserved(&entry.trunk) || !is_token(&entry.revision) {
        return Err(bad("its name or revision is not usable"));
    }
    let set = entry.settings.as_ref().ok_or_else(|| bad("it has no settings"))?;
    let transport = match set.transport {
        1 => "udp",
        2 => "tcp",
        3 => "tls",
        _ => return Err(bad("its transport is not known here")),
    };
    let places = places(set, transport).ok_or_else(|| bad("a host is no name or address"))?;
    let known = set.codecs.iter().all(|codec| CODECS.contains(&codec.as_str())) && !set.codecs.is_empty();
    if !known {
        return Err(bad("a codec is not known here"));
    }
    let advertised = place.advertised.to_string();
    let from_domain = if set.from_domain.is_empty() { advertised.as_str() } else { set.from_domain.as_str() };
    if !is_host(from_domain) {
        return Err(bad("its from domain is no name or address"));
    }
    let proxy = proxy(set, transport).ok_or_else(|| bad("its outbound proxy is no name or address"))?;
    let (auth, of_endpoint) = auth(&entry.trunk, set, credentials).map_err(|why| bad(&why))?;
    let [pai, rpid] = [2, 3].map(|header| if set.caller_id_header == header { "yes" } else { "no" });
    let media = if set.srtp { "sdes" } else { "no" };
    let values = [
        ("REVISION", entry.revision.as_str()),
        ("TRANSPORT", transport),
        ("QUALIFY", &set.qualify_s.min(3_600).to_string()),
        ("PROXY", &proxy),
        ("AUTH", &of_endpoint),
        ("CODECS", &set.codecs.join(",")),
        ("PAI", pai),
        ("RPID", rpid),
        ("ENCRYPTION", media),
        ("FROM_DOMAIN", from_domain),
        ("ADVERTISED", &advertised),
        ("BIND_RTP", if place.bind_rtp { "yes" } else { "no" }),
    ];
    let mut text = auth;
    for (place, contact) in places.contacts.iter().enumerate() {
        let own = [
            ("AOR", aor(&entry.trunk, place)),
            ("AORS", aors(&entry.trunk, place, places.contacts.len())),
            ("CONTACT", contact.clone()),
            ("ENDPOINT", endpoint_at(ami_secret, &entry.trunk, place)),
        ];
        let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        text.push_str(&fill(
            include_str!("../render/templates/trunk.conf"),
            &[values.as_slice(), &own].concat(),
        ));
    }
    let (name, from) = (endpoint_at(ami_secret, &entry.trunk, 0), places.matches.join("\n"));
    let whose = [("TRUNK", entry.trunk.as_str()), ("ENDPOINT", &name), ("MATCHES", &from)];
    text.push_str(&fill(include_str!("../render/templates/identify.conf"), &whose));
    Ok(text)
}

/// The address of record of one of a trunk's places. No name of a trunk has a dot.
fn aor(trunk: &str, place: usize) -> String {
    if place == 0 { trunk.to_owned() } else { format!("{trunk}.{place}") }
}

/// All of them, beginning with this one: the PBX takes the first that is not known to be away.
fn aors(trunk: &str, first: usize, places: usize) -> String {
    (0..places).map(|step| aor(trunk, (first + step) % places)).collect::<Vec<_>>().join(",")
}

/// A line for each place calls go to, and for each they may come from.
struct Places {
    contacts: Vec<String>,
    matches: Vec<String>,
}

fn places(set: &v1::TrunkSettings, transport: &str) -> Option<Places> {
    let parameter = if transport == "udp" { String::new() } else { format!("\\;transport={transport}") };
    let mut all = set.hosts.clone();
    if all.is_empty() {
        all.push(set.srv.clone()); // without a port its SRV records are asked
    }
    let (mut contacts, mut matches) = (Vec::new(), Vec::new());
    for place in &all {
        let (host, port) = split(place)?;
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        contacts.push(format!("contact = sip:{host}{port}{parameter}"));
        let from = format!("match = {host}");
        matches.extend(Some(from).filter(|from| !matches.contains(from)));
    }
    Some(Places { contacts, matches })
}

/// `host` or `host:port`, both checked.
pub(super) fn split(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|port| *port != 0)?)),
        None => (place, None),
    };
    is_host(host).then_some((host, port))
}

fn proxy(set: &v1::TrunkSettings, transport: &str) -> Option<String> {
    if set.outbound_proxy.is_empty() {
        return Some(String::new());
    }
    let (host, port) = split(&set.outbound_proxy)?;
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let parameter = if transport == "udp" { String::new() } else { format!("\\;transport={transport}") };
    Some(format!("outbound_proxy = sip:{host}{port}{parameter}\\;lr\n"))
}

/// The section with the credentials, and the endpoint's line that names it.
fn auth(trunk: &str, set: &v1::TrunkSettings, credentials: &Credentials) -> Result<(String, String), String> {
    if set.credentials.is_empty() {
        return Ok((String::new(), String::new()));
    }
    let (user, password) = credentials.get(&set.credentials).ok_or_else(|| {
        format!(
            "this node has no credentials named {}: add a line to its --trunk-credentials-file",
            shown(&set.credentials)
        )
    })?;
    let section =
        format!("[{trunk}]\ntype = auth\nauth_type = digest\nusername = {user}\npassword = {password}\n\n");
    Ok((section, format!("outbound_auth = {trunk}\n")))
}

fn shown(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(64).collect()
}
