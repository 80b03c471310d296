//! Real Asterisk and carriers that take calls from addresses they know only: the public address it is given while it runs,
//! and an outbound proxy. `SIPp` is what the calls come to, and its log of messages says how they came.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use asterism_agent::render::plain_trunk;
use asterism_ec2_proxy::imds::Metadata;
use asterism_nats::Verb;
use asterism_proto::v1::{self, EventType};
use support::real::installed;
use support::{ANSWERED, Fleet, LONG_FLOW, Process, attempt, raw, wait};

const PUBLIC: &str = "/latest/meta-data/public-ipv4";

/// `SIPp` at the end of the calls.
struct Sipp {
    _process: Process,
    messages: PathBuf,
    port: u16,
}

impl Sipp {
    fn start(sipp: &Path, dir: &Path) -> Self {
        let free = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, media) = (free(), free() & !1);
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/carrier.xml");
        let process = Command::new(sipp)
            .arg("-sf")
            .arg(scenario)
            .args(["-i", "127.0.0.1", "-p", &port.to_string(), "-mi", "127.0.0.1", "-mp", &media.to_string()])
            .args(["-nostdin", "-trace_msg", "-message_file", "messages.log"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _process: Process(process), messages: dir.join("messages.log"), port }
    }

    /// The INVITE for a number, as it came.
    fn invite(&self, number: &str) -> String {
        let all = std::fs::read_to_string(&self.messages).unwrap();
        let begins = format!("INVITE sip:{number}@");
        let from = all.find(&begins).unwrap_or_else(|| panic!("no {begins} in\n{all}"));
        all[from..].split("-----------------------------------------------").next().unwrap().to_owned()
    }
}

fn line<'a>(message: &'a str, begins: &str) -> &'a str {
    message.lines().find(|line| line.starts_with(begins)).unwrap_or_default().trim_end()
}

async fn have(fleet: &Fleet, entry: v1::TrunkEntry) {
    let reply = fleet.order(Verb::Trunks, &v1::TrunkOrder { term: 1, trunks: vec![entry] }).await;
    assert!(reply.taken && reply.reason.is_empty(), "{reply:?}");
    fleet.until("the trunk is held", |log| log.first(EventType::TrunkHeld)).await;
}

async fn dial(fleet: &Fleet, flow: &str, number: &str) {
    let attempts =
        vec![v1::DialAttempt { trunk: "carrier".into(), ring_timeout_ms: 8_000, ..attempt(number, flow) }];
    let reply = fleet.order(Verb::Dial, &v1::DialOrder { term: 1, log_position: 1, attempts }).await;
    assert!(reply.taken && reply.code.is_empty(), "{reply:?}");
}

async fn answered(fleet: &Fleet, count: usize) {
    let ended = fleet.until("every end", |log| Some(log.ended()).filter(|ended| ended.len() == count)).await;
    assert!(ended.values().all(|end| raw(end) == ANSWERED), "{ended:?}");
}

#[test]
fn asterisk_shows_its_public_address_from_the_moment_it_has_one_and_calls_go_on() {
    let Some((root, sipp)) = installed("agent: real Asterisk, public address") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        let sipp = Sipp::start(&sipp, fleet.dir.path());
        let metadata = Metadata::start("i-1");
        let url = format!("http://127.0.0.1:{}", metadata.port);
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let _node = fleet.launch_in(20, &args, &[("ASTERISM_METADATA_URL", &url)]);
        fleet.prepare().await;
        have(&fleet, plain_trunk("carrier", "127.0.0.1", sipp.port)).await;
        let said = || fleet.heartbeat.lock().unwrap().as_ref().map(|h| h.public_address.clone());

        // Up before, and over behind: nothing of it changes.
        dial(&fleet, LONG_FLOW, "+15550100150").await;
        fleet.until("it is up", |log| log.first(EventType::AttemptAnswered)).await;
        let before = sipp.invite("+15550100150");
        assert!(line(&before, "Contact:").contains("@127.0.0.1:"), "{before}");
        assert_eq!(line(&before, "c="), "c=IN IP4 127.0.0.1", "{before}");

        // Another address of loopback stands for one of the internet: what is sent there arrives.
        metadata.put(PUBLIC, "127.0.0.2");
        wait("the node says its address", || said().as_deref() == Some("127.0.0.2")).await;
        dial(&fleet, "demo", "+15550110150").await;
        answered(&fleet, 2).await;
        let behind = sipp.invite("+15550110150");
        assert!(line(&behind, "Contact:").contains("@127.0.0.2:"), "{behind}");
        assert!(line(&behind, "Via:").contains(" 127.0.0.2:"), "{behind}");
        assert_eq!(line(&behind, "c="), "c=IN IP4 127.0.0.2", "{behind}");
        assert!(line(&behind, "From:").contains("@127.0.0.2>"), "{behind}");
        assert_eq!(fleet.log.lock().unwrap().of(EventType::NodeReady).len(), 1, "it was not started again");
        assert_eq!(fleet.log.lock().unwrap().of(EventType::AttemptUncertain).len(), 0);
        fleet.check_frames();
    });
}

#[test]
fn an_outbound_proxy_gets_the_calls_of_a_carrier_that_knows_it_alone() {
    let Some((root, sipp)) = installed("agent: real Asterisk, outbound proxy") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        let proxy = Sipp::start(&sipp, fleet.dir.path());
        let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap()];
        let _node = fleet.launch_in(20, &args, &[]);
        fleet.prepare().await;
        // Nobody is at the carrier's address (TEST-NET-1): what arrives came by the proxy.
        let mut entry = plain_trunk("carrier", "192.0.2.10", 5060);
        entry.settings.as_mut().unwrap().outbound_proxy = format!("127.0.0.1:{}", proxy.port);
        have(&fleet, entry).await;
        dial(&fleet, "demo", "+15550100150").await;
        answered(&fleet, 1).await;
        let invite = proxy.invite("+15550100150");
        let begins = "INVITE sip:+15550100150@192.0.2.10:5060";
        assert!(invite.starts_with(begins), "the request is the carrier's: {invite}");
        let route = format!("Route: <sip:127.0.0.1:{};lr>", proxy.port);
        assert_eq!(line(&invite, "Route:"), route, "the way is the proxy's: {invite}");
        fleet.check_frames();
    });
}
