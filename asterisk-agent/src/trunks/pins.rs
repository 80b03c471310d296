//! One address for one call. Where a name leads to several addresses, by SRV records or its own, the PBX sends a second
//! INVITE to the next of them after a 503, a 408 or silence, also where the first has rung (measured with Asterisk 22.10:
//! 180, then 503: two INVITEs). So this node looks names up itself, and each call's URI says the one server it goes to
//! (`maddr`, RFC 3261 19.1.1). What cannot be pinned so is not held.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use asterism_proto::v1;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::options;
use super::render::split;
use super::{Place, hash_of};

/// How long names may take to be looked up.
const PATIENCE: Duration = Duration::from_secs(3);
/// The port SIP has where nothing says another one.
const PORT: u16 = 5060;
const TCP: u32 = 2;
const TLS: u32 = 3;

/// One of the servers that a place's name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    /// What its SRV record says: the lowest is tried first.
    priority: u16,
    weight: u16,
    at: SocketAddr,
}

/// Where a trunk's names lead: for each of its places the servers, none where its calls need no pin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pins(Vec<Pinned>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pinned {
    host: String,
    parameter: &'static str,
    servers: Vec<Server>,
}

impl Pins {
    /// Looks up the names of a trunk. A name that is not found has no pins: the PBX does not find it either.
    ///
    /// # Errors
    /// The PBX would try several servers in one call, and no URI can keep it from that.
    pub(super) async fn find(settings: &v1::TrunkSettings, place: &Place) -> Result<Self, String> {
        let parameter = if settings.transport == TCP { ";transport=tcp" } else { "" };
        if !settings.outbound_proxy.is_empty() {
            let found = servers(&settings.outbound_proxy, settings.transport).await;
            return alone("its outbound proxy", &settings.outbound_proxy, &found).map(|()| Self::default());
        }
        let mut pins = Vec::new();
        for name in
            if settings.hosts.is_empty() { std::slice::from_ref(&settings.srv) } else { &settings.hosts }
        {
            let mut found = if settings.hosts.is_empty() {
                by_records(name, settings.transport).await
            } else {
                servers(name, settings.transport).await
            };
            if settings.transport == TLS {
                // A certificate is for a name: an address in its stead would fit none.
                alone("over tls", name, &found)?;
            }
            if found.len() < 2 {
                found.clear();
            } else if settings.qualify_s > 0 {
                found = answering(found, settings.transport, place).await;
            }
            let host = split(name).map_or_else(String::new, |(host, _)| host.to_owned());
            pins.push(Pinned { host, parameter, servers: found });
        }
        Ok(Self(pins))
    }

    /// No place leads to several servers, as far as is known.
    pub(super) fn is_unknown(&self) -> bool {
        self.0.iter().all(|pinned| pinned.servers.is_empty())
    }

    /// What stands behind the `@` of an attempt's URI; none where the endpoint's own address will do.
    pub(super) fn uri(&self, place: usize, attempt: &str) -> Option<String> {
        let Pinned { host, parameter, servers } =
            self.0.get(place).filter(|pinned| !pinned.servers.is_empty())?;
        let first = servers.iter().map(|server| server.priority).min()?;
        let first = || servers.iter().filter(move |server| server.priority == first);
        let all: u64 = first().map(|server| u64::from(server.weight.max(1))).sum();
        let mut left = hash_of(attempt, "server") % all.max(1);
        let server = first().find(|server| {
            let weight = u64::from(server.weight.max(1));
            let taken = left < weight;
            left = left.saturating_sub(weight);
            taken
        })?;
        let port = if server.at.port() == PORT { String::new() } else { format!(":{}", server.at.port()) };
        Some(format!("{host}{port};maddr={}{parameter}", server.at.ip()))
    }
}

fn alone(what: &str, name: &str, found: &[Server]) -> Result<(), String> {
    if found.len() < 2 {
        return Ok(());
    }
    Err(format!(
        "{what} {name} leads to {} servers: the pbx goes on to the next one where the first may have rung already. Name each \
         by a name or an address of its own",
        found.len()
    ))
}

/// The addresses of a name, in order; none where it is an address, or nobody knows it.
async fn servers(name: &str, transport: u32) -> Vec<Server> {
    let Some((host, port)) = split(name).filter(|(host, _)| host.parse::<IpAddr>().is_err()) else {
        return Vec::new();
    };
    let port = port.unwrap_or(if transport == TLS { 5061 } else { PORT });
    let Ok(Ok(found)) = timeout(PATIENCE, lookup_host((host, port))).await else { return Vec::new() };
    let mut found: Vec<Server> =
        found.filter(SocketAddr::is_ipv4).map(|at| Server { priority: 0, weight: 1, at }).collect();
    found.sort_by_key(|server| server.at);
    found.dedup();
    found
}

async fn by_records(domain: &str, transport: u32) -> Vec<Server> {
    let Ok(records) = options::records(domain, transport).await else { return Vec::new() };
    if records.is_empty() {
        return servers(domain, transport).await;
    }
    let mut all = Vec::new();
    for record in records {
        let name = format!("{}:{}", record.host, record.port);
        let of_name = match record.host.parse::<IpAddr>() {
            Ok(ip) => vec![Server { priority: 0, weight: 1, at: SocketAddr::new(ip, record.port) }],
            Err(_) => servers(&name, transport).await,
        };
        let ranked = |server: Server| Server { priority: record.priority, weight: record.weight, ..server };
        all.extend(of_name.into_iter().map(ranked));
    }
    all
}

/// Those that answer an OPTIONS; all of them where none does.
async fn answering(all: Vec<Server>, transport: u32, place: &Place) -> Vec<Server> {
    let asked = all.iter().map(|server| options::answers(server.at, transport, place));
    let answers = futures_util::future::join_all(asked).await;
    let up: Vec<Server> =
        all.iter().zip(answers).filter(|(_, answers)| *answers).map(|(server, _)| server.clone()).collect();
    if up.is_empty() { all } else { up }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn pins(servers: &[(u16, u16, &str)]) -> Pins {
        let server = |(priority, weight, at): &(u16, u16, &str)| Server {
            priority: *priority,
            weight: *weight,
            at: at.parse().unwrap(),
        };
        let servers = servers.iter().map(server).collect();
        Pins(vec![Pinned { host: "carrier.example".into(), parameter: "", servers }])
    }

    #[test]
    fn an_attempt_has_one_server_always_the_same_of_the_first_priority_by_weight() {
        let pins =
            pins(&[(10, 30, "192.0.2.1:5060"), (10, 10, "192.0.2.2:5071"), (20, 90, "192.0.2.3:5060")]);
        let mut count: BTreeMap<String, u32> = BTreeMap::new();
        for n in 0..4_000 {
            let attempt = format!("spring-{n}-1");
            let uri = pins.uri(0, &attempt).unwrap();
            assert_eq!(pins.uri(0, &attempt), Some(uri.clone()));
            *count.entry(uri).or_default() += 1;
        }
        let of = |uri: &str| count.get(uri).copied().unwrap_or_default();
        let (three, one) =
            (of("carrier.example;maddr=192.0.2.1"), of("carrier.example:5071;maddr=192.0.2.2"));
        assert_eq!((three + one, count.len()), (4_000, 2), "{count:?}");
        assert!((2_800..3_200).contains(&three), "three of four: {count:?}");
        assert_eq!(Pins::default().uri(0, "a-1-1"), None);
    }

    #[tokio::test]
    async fn an_address_needs_no_pin_and_what_cannot_be_pinned_is_refused() {
        let place = Place::loopback();
        let settings =
            v1::TrunkSettings { hosts: vec!["127.0.0.1:5060".into()], transport: 1, ..Default::default() };
        let found = Pins::find(&settings, &place).await.unwrap();
        assert_eq!(found.uri(0, "a-1-1"), None);
        let two = [
            Server { priority: 0, weight: 1, at: "192.0.2.1:5061".parse().unwrap() },
            Server { priority: 0, weight: 1, at: "192.0.2.2:5061".parse().unwrap() },
        ];
        assert_eq!(alone("over tls", "sip.example.com", &two[..1]), Ok(()));
        let why = alone("over tls", "sip.example.com", &two).unwrap_err();
        assert!(why.starts_with("over tls sip.example.com leads to 2 servers"), "{why}");
    }
}
