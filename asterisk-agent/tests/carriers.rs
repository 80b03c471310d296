//! A node's real Asterisk and another as its carrier: whatever a trunk can be set to, and how the calls then came.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use asterism_agent::render::{endpoint, plain_trunk};
use asterism_nats::Verb;
use asterism_proto::v1::{self, EventType};
use prost::Message;
use support::carrier::{Came, Carrier};
use support::dns::NameServer;
use support::gateway::Gateway;
use support::real::{installed, skip};
use support::rings_then_503::{self, Gateways};
use support::{ANSWERED, Fleet, JOIN_FLOW, LEG, PATIENCE, attempt, raw};

const CALLER: &str = "+15550100000";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn trunk(name: &str, port: u16, change: impl FnOnce(&mut v1::TrunkSettings)) -> v1::TrunkEntry {
    let mut entry = plain_trunk(name, "127.0.0.1", port);
    change(entry.settings.as_mut().unwrap());
    entry
}

/// A port of loopback nobody listens at.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the node's own Asterisk says to a command.
fn console(root: &Path, fleet: &Fleet, command: &str) -> String {
    let config = fleet.node_dir().join("etc/asterisk.conf");
    let said = Command::new(root.join("run-asterisk")).arg("-C").arg(config).args(["-rx", command]).output();
    String::from_utf8(said.unwrap().stdout).unwrap()
}

/// The node has these trunks and told the log so.
async fn have(fleet: &Fleet, trunks: Vec<v1::TrunkEntry>) {
    let names: Vec<String> = trunks.iter().map(|entry| entry.trunk.clone()).collect();
    let reply = fleet.order(Verb::Trunks, &v1::TrunkOrder { term: 1, trunks }).await;
    assert!(reply.taken && reply.reason.is_empty(), "{reply:?}");
    fleet
        .until("each trunk is held", |log| {
            let held = log.of(EventType::TrunkHeld);
            let held = held.iter().map(|event| v1::TrunkHeld::decode(event.body.as_slice()).unwrap().trunk);
            let held: Vec<String> = held.collect();
            names.iter().all(|name| held.contains(name)).then_some(())
        })
        .await;
}

/// One call by each of these trunks, to a number of its own, at once. How each ended, by trunk.
async fn call(fleet: &Fleet, trunks: &[&str]) -> BTreeMap<String, v1::AttemptEnded> {
    let before = fleet.log.lock().unwrap().ended().len();
    let with = |(nth, name): (usize, &&str)| {
        let number = format!("+1555010{:04}", before + nth + 1);
        v1::DialAttempt { trunk: (*name).to_owned(), ring_timeout_ms: 8_000, ..attempt(&number, "demo") }
    };
    let attempts: Vec<v1::DialAttempt> = trunks.iter().enumerate().map(with).collect();
    let of: BTreeMap<String, String> =
        attempts.iter().map(|one| (one.attempt.clone(), one.trunk.clone())).collect();
    let reply = fleet.order(Verb::Dial, &v1::DialOrder { term: 1, log_position: 1, attempts }).await;
    assert!(reply.taken && reply.code.is_empty(), "{reply:?}");
    let all = before + trunks.len();
    let ended = fleet.until("every end", |log| Some(log.ended()).filter(|ended| ended.len() == all)).await;
    ended.into_iter().filter_map(|(id, end)| Some((of.get(&id)?.clone(), end))).collect()
}

fn carried(ended: &BTreeMap<String, v1::AttemptEnded>, carrier: &Carrier) {
    for (name, end) in ended {
        let said = (raw(end), end.digits.as_str());
        assert_eq!(said, (ANSWERED, "1"), "{name}: {end:?}\n{}", carrier.said());
    }
}

/// The call whose number ends so, and no second one.
fn came(carrier: &Carrier, ends: &str) -> Came {
    let calls: Vec<Came> = carrier.calls().into_iter().filter(|call| call["to"].ends_with(ends)).collect();
    assert_eq!(calls.len(), 1, "{ends}: {:?}\n{}", carrier.calls(), carrier.said());
    calls.into_iter().next().unwrap()
}

#[track_caller]
fn is(call: &Came, expected: &[(&str, &str)]) {
    for (what, value) in expected {
        assert_eq!(call[*what], *value, "{what} of {call:?}");
    }
}

#[test]
fn each_setting_of_a_trunk_reaches_the_carrier() {
    let Some((root, _)) = installed("agent: real Asterisk, a carrier that is one too") else { return };
    runtime().block_on(async {
        // SIP's own port for TLS is another node's on this machine.
        let _taken = std::net::TcpListener::bind("127.0.0.1:5061");
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&root, &fleet.dir.path().join("carrier"));
        let secrets = fleet.dir.path().join("credentials");
        std::fs::write(&secrets, "right alice s3cret\nwrong alice guessed\n").unwrap();
        private(&secrets);
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let ca = carrier.authority();
        let files =
            ["--trunk-credentials-file", secrets.to_str().unwrap(), "--trunk-ca-file", ca.to_str().unwrap()];
        let _node = fleet.launch_with(20, &[args.as_slice(), files.as_slice()].concat());
        fleet.prepare().await;
        have(&fleet, all_kinds(&carrier)).await;
        let ended = call(&fleet, &["plain", "digest", "over-tcp", "over-tls"]).await;
        carried(&ended, &carrier);
        each_call_came_as_it_was_set(&carrier);
        who_is_not_let_in_rings_nobody(&fleet, &carrier).await;
        the_gateway_that_answers_is_used(&root, &fleet, &carrier).await;
        fleet.check_frames();
    });
}

fn private(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn all_kinds(carrier: &Carrier) -> Vec<v1::TrunkEntry> {
    let digest = |name: &str, credentials: &str| {
        trunk(name, carrier.port, |s| {
            (s.credentials, s.from_domain) = (credentials.into(), "digest.example".into());
            (s.number_format, s.caller_id_header) = (2, 2);
        })
    };
    let tls = |name: &str, port| {
        trunk(name, port, |s| {
            (s.transport, s.srtp, s.from_domain) = (3, true, "tls.example".into());
        })
    };
    vec![
        trunk("plain", carrier.port, |_| {}),
        digest("digest", "right"),
        digest("guest", "wrong"),
        trunk("over-tcp", carrier.port, |s| {
            (s.transport, s.number_format, s.caller_id_header) = (2, 3, 3);
            s.codecs = vec!["g722".into(), "ulaw".into()];
        }),
        tls("over-tls", carrier.tls),
        tls("stranger", carrier.stranger),
        trunk("pair", closed_port(), |s| {
            s.hosts.push(format!("127.0.0.1:{}", carrier.port));
            s.qualify_s = 5;
        }),
    ]
}

fn each_call_came_as_it_was_set(carrier: &Carrier) {
    let plain = came(carrier, "0001");
    is(
        &plain,
        &[("to", "+15550100001"), ("pai", ""), ("rpid", ""), ("codec", "ulaw"), ("srtp", "0"), ("tls", "0")],
    );
    assert!(plain["from"].contains(&format!("<sip:{CALLER}@127.0.0.1")), "{plain:?}");
    assert!(plain["via"].starts_with("SIP/2.0/UDP"), "{plain:?}");
    let digest = came(carrier, "0002");
    is(&digest, &[("to", "15550100002"), ("rpid", ""), ("codec", "alaw"), ("srtp", "0")]);
    assert!(digest["from"].contains(&format!("<sip:{CALLER}@digest.example")), "{digest:?}");
    assert!(digest["pai"].contains(&format!("<sip:{CALLER}@")), "{digest:?}");
    let tcp = came(carrier, "0003");
    is(&tcp, &[("to", "0015550100003"), ("pai", ""), ("codec", "g722"), ("srtp", "0"), ("tls", "0")]);
    assert!(
        tcp["via"].starts_with("SIP/2.0/TCP") && tcp["rpid"].contains(&format!("<sip:{CALLER}@")),
        "{tcp:?}"
    );
    let tls = came(carrier, "0004");
    is(&tls, &[("to", "+15550100004"), ("codec", "ulaw"), ("srtp", "1"), ("tls", "1")]);
    assert!(tls["via"].starts_with("SIP/2.0/TLS"), "{tls:?}");
}

/// A wrong password, and a carrier whose certificate nobody vouches for: what the carrier or the transport says is told, and no call came.
async fn who_is_not_let_in_rings_nobody(fleet: &Fleet, carrier: &Carrier) {
    let before = carrier.calls().len();
    let ended = call(fleet, &["guest", "stranger"]).await;
    let said = |trunk: &str| (ended[trunk].sip_status, ended[trunk].heard, ended[trunk].talk_ms);
    // 1: a final response and nothing before it, so that another trunk may be tried where the response is listed.
    assert_eq!((said("guest"), said("stranger")), ((401, 1, 0), (503, 1, 0)), "{ended:?}");
    assert_eq!(carrier.calls().len(), before);
}

/// Of two gateways the one that answers no OPTIONS is passed over.
async fn the_gateway_that_answers_is_used(root: &Path, fleet: &Fleet, carrier: &Carrier) {
    its_first_is_away(root, fleet, "pair").await;
    carried(&call(fleet, &["pair"]).await, carrier);
}

/// The PBX has found out that one of the trunk's two hosts does not answer.
async fn its_first_is_away(root: &Path, fleet: &Fleet, trunk: &str) {
    let secret = std::fs::read_to_string(fleet.node_dir().join("secret/ami")).unwrap();
    let name = endpoint(secret.trim(), trunk);
    let began = Instant::now();
    loop {
        let said = console(root, fleet, &format!("pjsip show endpoint {name}"));
        if said.contains(" Unavail ") && said.contains(" Avail ") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "its gateways are not told apart\n{said}");
        tokio::time::sleep(Duration::from_millis(100)).await; // the pause of a poll
    }
}

#[test]
fn a_trunk_whose_transport_is_not_there_is_not_held() {
    let Some((root, _)) = installed("agent: real Asterisk, no TLS") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let nobody = fleet.dir.path().join("nobody.ca");
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let _node = fleet
            .launch_with(20, &[args.as_slice(), &["--trunk-ca-file", nobody.to_str().unwrap()]].concat());
        fleet.prepare().await;
        let over_tls = trunk("over-tls", closed_port(), |s| s.transport = 3);
        let plain = trunk("plain", closed_port(), |_| {});
        let order = v1::TrunkOrder { term: 1, trunks: vec![over_tls, plain] };
        let reply = fleet.order(Verb::Trunks, &order).await;
        assert!(reply.reason.contains("the trunk over-tls"), "{reply:?}");
        let held = fleet.until("a trunk", |log| log.first(EventType::TrunkHeld)).await;
        assert_eq!(v1::TrunkHeld::decode(held.body.as_slice()).unwrap().trunk, "plain");
    });
}

#[test]
fn a_carrier_is_found_by_its_srv_record() {
    let test = "agent: real Asterisk, SRV";
    let Some((root, _)) = installed(test) else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&root, &fleet.dir.path().join("carrier"));
        let Some(names) = NameServer::start(carrier.port) else {
            return skip(test, "port 53 of no address of loopback is to be had");
        };
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let Some(_node) = names.serve(fleet.dir.path(), &fleet.instance(20, &args)) else {
            return skip(test, "nobody may mount in a namespace of its own here");
        };
        fleet.prepare().await;
        have(&fleet, vec![trunk("found", 1, |s| (s.hosts, s.srv) = (Vec::new(), "carrier.example".into()))])
            .await;
        carried(&call(&fleet, &["found"]).await, &carrier);
        is(&came(&carrier, "0001"), &[("to", "+15550100001")]);
        assert!(names.was_asked());
        // A check reads the records itself.
        let reply = fleet.order(Verb::Check, &v1::CheckOrder { trunk: "found".into() }).await;
        let [answer] = reply.answers.as_slice() else { panic!("{reply:?}") };
        assert_eq!(answer.host, format!("gw.carrier.example:{}", carrier.port));
        assert_eq!((answer.record.as_str(), answer.problem.as_str()), ("priority 1, weight 1", ""));
        assert!((200..500).contains(&answer.status), "{answer:?}");
    });
}

/// Where a name leads to two servers, the PBX alone sends a second INVITE to the second after a 503 of the first, though that
/// has rung: each call is kept to one.
#[test]
fn a_call_goes_to_one_server_though_it_rang_there_and_had_no_room() {
    let test = "agent: real Asterisk, one INVITE";
    let Some((root, _)) = installed(test) else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let gateways = Gateways::start();
        let Some(names) = NameServer::of_two(gateways.port) else {
            return skip(test, "port 53 of no address of loopback is to be had");
        };
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let Some(_node) = names.serve(fleet.dir.path(), &fleet.instance(20, &args)) else {
            return skip(test, "nobody may mount in a namespace of its own here");
        };
        fleet.prepare().await;
        let both = format!("both.example:{}", gateways.port);
        let trunks = vec![
            trunk("records", 1, |s| (s.hosts, s.srv) = (Vec::new(), "carrier.example".into())),
            trunk("addresses", 1, |s| s.hosts = vec![both.clone()]),
            trunk("asked", 1, |s| (s.hosts, s.qualify_s) = (vec![both.clone()], 5)),
        ];
        have(&fleet, trunks).await;
        let ended = call(&fleet, &["records", "addresses", "asked"]).await;
        for (nth, name) in ["records", "addresses", "asked"].into_iter().enumerate() {
            let end = &ended[name];
            assert_eq!((end.sip_status, end.heard), (503, v1::Heard::Ringing as u32), "{name}: {end:?}");
            assert_eq!(gateways.invites(&format!("{:04}", nth + 1)), 1, "{name} rang one server");
        }
        // And so is the leg a call is joined with, which takes the trunk of its call.
        leg_goes_to_one_server(&fleet, &gateways, &["records", "addresses", "asked"]).await;
        // Over TLS an address fits no certificate, and an outbound proxy is one for all calls: such a trunk is not held.
        let refused = vec![
            trunk("over-tls", 1, |s| (s.hosts, s.transport) = (vec![both.clone()], 3)),
            trunk("by-proxy", 1, |s| s.outbound_proxy.clone_from(&both)),
        ];
        let reply = fleet.order(Verb::Trunks, &v1::TrunkOrder { term: 1, trunks: refused }).await;
        assert_eq!(reply.reason.matches("leads to 2 servers").count(), 2, "{reply:?}");
    });
}

/// One call by each trunk is answered and joined: its leg rings one server, which has no room, and no second one.
async fn leg_goes_to_one_server(fleet: &Fleet, gateways: &Gateways, trunks: &[&str]) {
    let before = fleet.log.lock().unwrap().ended().len();
    let with = |(nth, name): (usize, &&str)| v1::DialAttempt {
        trunk: (*name).to_owned(),
        ring_timeout_ms: 8_000,
        may_bridge: true,
        ..attempt(&format!("+155501{nth:03}{}", rings_then_503::ANSWERS), JOIN_FLOW)
    };
    let attempts = trunks.iter().enumerate().map(with).collect();
    let reply = fleet.order(Verb::Dial, &v1::DialOrder { term: 1, log_position: 1, attempts }).await;
    assert!(reply.taken && reply.code.is_empty(), "{reply:?}");
    let all = before + trunks.len();
    fleet.until("every end", |log| Some(()).filter(|()| log.ended().len() == all)).await;
    let log = fleet.log.lock().unwrap();
    let legs = log.of(EventType::BridgeEnded);
    let legs = legs.iter().map(|event| v1::BridgeEnded::decode(event.body.as_slice()).unwrap());
    let statuses: Vec<String> = legs.map(|leg| leg.status).collect();
    assert_eq!(statuses, vec!["CONGESTION"; trunks.len()]);
    assert_eq!(gateways.invites(&LEG[1..]), trunks.len(), "each leg rang one server");
}

/// Of the hosts of a trunk each gets its share, one call each as many times as it was dialled, and the share of one that is
/// known to be away goes to the next.
#[test]
fn calls_are_spread_over_the_hosts_of_a_trunk() {
    let Some((root, _)) = installed("agent: real Asterisk, gateways") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let gateways = [Gateway::start(), Gateway::start()];
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let _node = fleet.launch_with(20, &args);
        fleet.prepare().await;
        let hosts = |ports: &[u16]| ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
        let (first, second) = (gateways[0].port, gateways[1].port);
        let both = trunk("both", 1, |s| s.hosts = hosts(&[first, second]));
        let gap = trunk("gap", 1, |s| (s.hosts, s.qualify_s) = (hosts(&[closed_port(), second]), 5));
        have(&fleet, vec![both, gap]).await;
        let calls = || gateways.each_ref().map(Gateway::calls);
        call(&fleet, &["both"; 20]).await;
        let [one, other] = calls();
        assert!(one >= 5 && other >= 5 && one + other == 20, "{one} and {other}");
        its_first_is_away(&root, &fleet, "gap").await;
        call(&fleet, &["gap"; 12]).await;
        assert_eq!(calls(), [one, other + 12], "whoever's turn it was");
        fleet.check_frames();
    });
}

/// Long enough that only the listening can have ended the call before.
const MACHINE_STAYS_MS: u32 = 15_000;

#[test]
fn a_machine_that_answers_is_told_from_a_human_and_hung_up_on() {
    let Some((root, _)) = installed("agent: real Asterisk, who answers") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&root, &fleet.dir.path().join("carrier"));
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let _node = fleet.launch_with(20, &args);
        fleet.prepare().await;
        have(&fleet, vec![trunk("plain", carrier.port, |_| {})]).await;
        let order = |ends: &str, detect_machine| v1::DialAttempt {
            trunk: "plain".into(),
            detect_machine,
            ring_timeout_ms: 8_000,
            ..attempt(&format!("+1555010{ends}"), "demo")
        };
        let attempts = vec![order("0901", true), order("0902", true), order("0903", false)];
        let ids: Vec<String> = attempts.iter().map(|one| one.attempt.clone()).collect();
        let reply = fleet.order(Verb::Dial, &v1::DialOrder { term: 1, log_position: 1, attempts }).await;
        assert!(reply.taken && reply.code.is_empty(), "{reply:?}");
        let ended = fleet.until("3 ends", |log| Some(log.ended()).filter(|ended| ended.len() == 3)).await;
        assert!(ended.values().all(|end| raw(end) == ANSWERED), "{ended:?}\n{}", carrier.said());
        let log = fleet.log.lock().unwrap();
        let judged = log.of(EventType::MachineJudged);
        let judged = judged.iter().map(|event| v1::MachineJudged::decode(event.body.as_slice()).unwrap());
        let judged: BTreeMap<String, v1::MachineJudged> =
            judged.map(|body| (body.attempt.clone(), body)).collect();
        let (human, machine) = (&judged[&ids[0]], &judged[&ids[1]]);
        assert_eq!((human.verdict, machine.verdict), (1, 2), "{judged:?}");
        assert!(
            human.cause.starts_with("HUMAN-") && machine.cause.starts_with("LONGGREETING-"),
            "{judged:?}"
        );
        assert!([human, machine].iter().all(|one| (500..8_000).contains(&one.took_ms)), "{judged:?}");
        assert!(!judged.contains_key(&ids[2]), "nobody asked");
        assert!(log.steps(&ids[1]).is_empty() && ended[&ids[1]].talk_ms < MACHINE_STAYS_MS, "{ended:?}");
        assert!(!log.steps(&ids[0]).is_empty() && !log.steps(&ids[2]).is_empty());
        drop(log);
        fleet.check_frames();
    });
}
