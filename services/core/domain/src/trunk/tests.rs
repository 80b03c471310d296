//! What can be meant of a trunk, and what cannot.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::trunk::state::{keeps_pace, spacing_us};

type Bend = fn(&mut TrunkSettings);

fn usual() -> TrunkSettings {
    TrunkSettings { hosts: vec!["sip.example.com".into()], ..TrunkSettings::default() }
}

fn codes(name: &str, bend: impl Fn(&mut TrunkSettings)) -> Vec<&'static str> {
    let mut settings = usual();
    bend(&mut settings);
    check(name, &settings).iter().map(|problem| problem.code).collect()
}

#[test]
fn each_setting_that_cannot_be_meant_has_its_code_and_all_are_told_at_once() {
    assert_eq!(check("carrier", &usual()), []);
    let bends: [(&str, Bend); 19] = [
        ("AST-T002", |s| s.hosts.clear()),
        ("AST-T002", |s| s.srv = "example.com".into()),
        ("AST-T003", |s| s.hosts[0] = "300.1.1.1".into()),
        ("AST-T003", |s| s.hosts[0] = "a]\nb".into()),
        ("AST-T003", |s| s.hosts[0] = "example.com:0".into()),
        ("AST-T003", |s| s.hosts[0] = "example.com:+80".into()),
        ("AST-T003", |s| s.hosts.push("sip.example.com".into())),
        ("AST-T004", |s| (s.hosts, s.srv) = (vec![], "example.com:5060".into())),
        ("AST-T005", |s| s.outbound_proxy = "proxy;lr".into()),
        ("AST-T006", |s| s.from_domain = "a b".into()),
        ("AST-T007", |s| s.codecs = vec!["opus".into()]),
        ("AST-T007", |s| s.codecs.clear()),
        ("AST-T008", |s| s.srtp = true),
        ("AST-T009", |s| s.credentials = "pass word".into()),
        ("AST-T010", |s| s.qualify_s = 1),
        ("AST-T010", |s| s.calls_per_second = 10_001),
        ("AST-T011", |s| s.failover = vec![200]),
        ("AST-T012", |s| s.failover = vec![486]),
        ("AST-T013", |s| s.caller_ids = vec!["2025550123".into()]),
    ];
    for (code, bend) in bends {
        assert_eq!(codes("carrier", bend), [code]);
    }
    assert_eq!(codes("udp", |s| (s.srtp, s.qualify_s) = (true, 4)), ["AST-T001", "AST-T008", "AST-T010"]);
    assert_eq!(codes("c", |s| (s.srtp, s.transport) = (true, Transport::Tls)), Vec::<&str>::new());
    assert_eq!(codes("c", |s| s.hosts = vec!["[::1]:5060".into(), "10.0.0.1".into()]), Vec::<&str>::new());
}

#[test]
fn only_what_is_plainly_loopback_is_inside() {
    let outside = |hosts: &[&str]| {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        TrunkSettings { hosts, ..TrunkSettings::default() }.is_outside()
    };
    for inside in ["127.0.0.1:5060", "127.0.0.9", "[::1]:5060"] {
        assert!(!outside(&[inside]), "{inside}");
        assert!(outside(&[inside, "10.0.0.1"]), "one of them leads outside");
    }
    for host in ["10.0.0.1", "carrier.example", "127.0.0.1.example", "localhost.example:5060", ""] {
        assert!(outside(&[host]), "{host}");
    }
    assert!(outside(&[]));
    let proxied =
        TrunkSettings { hosts: vec!["127.0.0.1".into()], outbound_proxy: "10.0.0.1".into(), ..usual() };
    assert!(proxied.is_outside());
}

#[test]
fn a_revision_changes_with_what_a_node_renders_and_with_nothing_else() {
    let plain = usual().revision();
    let limits = TrunkSettings {
        max_channels: 3,
        calls_per_second: 2,
        priority: 9,
        failover: vec![],
        caller_ids: vec!["+12025550123".into()],
        ..usual()
    };
    assert_eq!(limits.revision(), plain);
    let changes: [fn(&mut TrunkSettings); 11] = [
        |s| s.hosts[0].push('x'),
        |s| s.srv = "example.com".into(),
        |s| s.transport = Transport::Tcp,
        |s| s.srtp = true,
        |s| s.codecs.reverse(),
        |s| s.number_format = NumberFormat::Digits,
        |s| s.caller_id_header = CallerIdHeader::RemotePartyId,
        |s| s.qualify_s = 60,
        |s| s.credentials = "a".into(),
        |s| s.outbound_proxy = "a".into(),
        |s| s.from_domain = "a".into(),
    ];
    let mut seen = vec![plain];
    for change in changes {
        let mut settings = usual();
        change(&mut settings);
        assert!(!seen.contains(&settings.revision()));
        seen.push(settings.revision());
    }
}

#[test]
fn a_pace_gives_each_start_the_whole_of_its_millisecond() {
    assert_eq!((spacing_us(0), spacing_us(3_000), spacing_us(500)), (0, 333_333, 2_000_000));
    assert!(keeps_pace(0, 0, 3_000) && keeps_pace(1_000, 1_000, 0), "no start before, no pace");
    assert!(!keeps_pace(1_000, 1_332, 3_000) && keeps_pace(1_000, 1_333, 3_000));
}
