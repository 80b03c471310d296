//! The same node with real Asterisk and `SIPp` as its carrier. Where they are not installed the test says so and counts
//! as skipped: `tests/setup/asterisk.sh` and `tests/setup/sipp.sh` install them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use asterism_agent::render::endpoint;
use asterism_nats::Verb;
use asterism_proto::v1::{self, EventType};
use support::real::installed;
use support::{ANSWERED, Fleet, LONG_FLOW, Process, SAY_FLOW, TIMED_OUT, attempt, raw};

/// Q.850: redirected to a new destination.
const REDIRECTED: u32 = 23;

/// `SIPp` as the carrier: the last four digits of a number decide, and each INVITE's number and Call-ID is logged.
struct Carrier {
    _process: Process,
    log: PathBuf,
    port: u16,
}

impl Carrier {
    fn start(sipp: &Path, dir: &Path) -> Self {
        let free = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, media) = (free(), free() & !1);
        let log = dir.join("carrier.log");
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/carrier.xml");
        let process = Command::new(sipp)
            .arg("-sf")
            .arg(scenario)
            .args(["-i", "127.0.0.1", "-p", &port.to_string(), "-mi", "127.0.0.1", "-mp", &media.to_string()])
            .args(["-nostdin", "-trace_msg", "-message_file", "messages.log", "-trace_logs", "-log_file"])
            .arg(&log)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _process: Process(process), log, port }
    }

    /// Distinct Call-IDs for each number.
    fn invites(&self) -> BTreeMap<String, usize> {
        let mut calls: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
        for line in std::fs::read_to_string(&self.log).unwrap_or_default().lines() {
            let Some((_, rest)) = line.split_once("INVITE ") else { continue };
            let number: String = rest
                .chars()
                .skip_while(|c| *c != '+')
                .take_while(|c| *c == '+' || c.is_ascii_digit())
                .collect();
            let call_id = rest.split_whitespace().last().unwrap().to_owned();
            calls.entry(number).or_default().insert(call_id);
        }
        calls.into_iter().map(|(number, ids)| (number, ids.len())).collect()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn launch(fleet: &Fleet, root: &Path, carrier: &Carrier) -> Process {
    let trunk = format!("trunk-a=127.0.0.1:{}", carrier.port);
    let args = ["--pbx", "asterisk", "--asterisk-root", root.to_str().unwrap(), "--trunk", &trunk];
    let node = fleet.launch_with(20, &args);
    fleet.prepare().await;
    node
}

#[test]
fn real_asterisk_dials_what_was_ordered_and_its_outcomes_reach_the_log() {
    let Some((root, sipp)) = installed("agent: real Asterisk, outcomes") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&sipp, fleet.dir.path());
        let _node = launch(&fleet, &root, &carrier).await;
        let expected = [
            ("0150", ANSWERED, ""),
            ("0151", ANSWERED, "1"),
            ("0152", ANSWERED, "2"),
            ("0157", ANSWERED, ""),
            ("0186", (0, 486), ""),
            ("0160", (0, 603), ""),
            ("0144", (0, 404), ""),
            ("0180", (0, 480), ""),
            ("0153", (0, 503), ""),
            ("0199", TIMED_OUT, ""),
            ("0190", TIMED_OUT, ""),
            ("0187", (0, 486), ""),
            ("0158", ANSWERED, ""),
        ];
        let numbers: Vec<String> = expected.iter().map(|(last, ..)| format!("+1555010{last}")).collect();
        assert!(fleet.dial(1, "demo", &numbers).await.code.is_empty());
        let ended =
            fleet.until("13 ends", |log| Some(log.ended()).filter(|e| e.len() == expected.len())).await;
        for (number, (_, codes, digits)) in numbers.iter().zip(expected) {
            let end = &ended[&attempt(number, "").attempt];
            assert_eq!((raw(end), end.digits.as_str()), (codes, digits), "{number}: {end:?}");
        }
        let invites = carrier.invites();
        assert_eq!(
            invites,
            numbers.iter().map(|n| (n.clone(), 1)).collect(),
            "the carrier counted otherwise"
        );
        fleet.check_frames();
        let log = fleet.log.lock().unwrap();
        assert!(log.of(EventType::AttemptUncertain).is_empty());
        assert_eq!(log.of(EventType::AttemptAccepted).len(), expected.len());
    });
}

#[test]
fn a_carrier_that_sends_a_call_on_does_not_make_real_asterisk_dial_what_nobody_ordered() {
    let Some((root, sipp)) = installed("agent: real Asterisk, redirection") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&sipp, fleet.dir.path());
        let _node = launch(&fleet, &root, &carrier).await;
        // Sent on to a number, to a channel of the trunk, into the node's own dialplan.
        let sent_on = ["0130", "0131", "0132"].map(|last| format!("+1555010{last}"));
        let last = "+15550100158".to_owned();
        assert!(fleet.dial(1, "demo", &sent_on).await.code.is_empty());
        fleet.until("3 ends", |log| (log.ended().len() == 3).then_some(())).await;
        // What a call was sent on to is dialled before the call ends: before this one, had it been dialled.
        assert!(fleet.dial(1, "demo", std::slice::from_ref(&last)).await.code.is_empty());
        let ended = fleet.until("4 ends", |log| Some(log.ended()).filter(|ended| ended.len() == 4)).await;

        let ordered = sent_on.iter().chain([&last]);
        assert_eq!(
            carrier.invites(),
            ordered.map(|n| (n.clone(), 1)).collect(),
            "the carrier counted otherwise"
        );
        for number in &sent_on {
            let end = &ended[&attempt(number, "").attempt];
            assert_eq!((end.talk_ms, end.never_rang), (0, false), "{number}: {end:?}");
            // The channel's end may overtake its cause, and then what the carrier said, too.
            let (said, cause) = (raw(end), end.cause);
            assert!(said == (0, 302) || (said, cause) == ((0, 0), 0), "{number}: {end:?}");
            assert!([0, REDIRECTED].contains(&cause), "{number}: {end:?}");
        }
        assert_eq!(fleet.log.lock().unwrap().of(EventType::AttemptAnswered).len(), 1);
        let said = std::fs::read_to_string(fleet.node_dir().join("log/messages")).unwrap();
        assert!(said.contains("No such extension/context +15555550158@nowhere"), "{said}");
        assert!(!said.contains("ast_yyerror"), "a call without a flow walked the dialplan: {said}");
        let secret = std::fs::read_to_string(fleet.node_dir().join("secret/ami")).unwrap();
        let endpoint = endpoint(secret.trim(), "trunk-a");
        let pjsip = std::fs::read_to_string(fleet.node_dir().join("etc/trunks.conf")).unwrap();
        let heard = std::fs::read_to_string(fleet.dir.path().join("messages.log")).unwrap();
        assert!(pjsip.contains(&format!("[{endpoint}]\n")) && heard.contains(&last));
        assert!(!heard.contains(&endpoint), "the carrier was told the name of its endpoint");
        fleet.check_frames();
    });
}

#[test]
fn with_real_asterisk_an_agent_killed_in_the_middle_adopts_its_calls_and_an_order_hangs_up() {
    let Some((root, sipp)) = installed("agent: real Asterisk, adoption") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&sipp, fleet.dir.path());
        let _node = launch(&fleet, &root, &carrier).await;
        let stays = ["+15550110150".to_owned(), "+15550120150".to_owned()];
        assert!(fleet.dial(1, LONG_FLOW, &stays).await.code.is_empty());
        fleet.until("2 calls up", |log| (log.of(EventType::AttemptAnswered).len() == 2).then_some(())).await;
        fleet.kill9("agent");
        let hangup = v1::HangupOrder {
            term: 1,
            attempts: vec![attempt(&stays[1], "").attempt],
            reason: "test".into(),
            ..v1::HangupOrder::default()
        };
        let mut reply = fleet.order(Verb::Hangup, &hangup).await;
        while !reply.taken {
            reply = fleet.order(Verb::Hangup, &hangup).await;
        }
        let ended = fleet.until("2 ends", |log| Some(log.ended()).filter(|ended| ended.len() == 2)).await;
        assert!(ended.values().all(|end| raw(end) == ANSWERED), "{ended:?}");
        let hung_up = fleet.log.lock().unwrap().steps(&attempt(&stays[1], "").attempt).len();
        assert!(hung_up < 8, "it walked its whole flow");
        let steps = fleet.log.lock().unwrap().steps(&attempt(&stays[0], "").attempt);
        assert_eq!(steps.iter().map(|step| step.step).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
        assert!(fleet.log.lock().unwrap().of(EventType::AttemptUncertain).is_empty());
        assert!(carrier.invites().values().all(|count| *count == 1), "{:?}", carrier.invites());
        fleet.check_frames();
    });
}

#[test]
fn real_asterisk_killed_in_the_middle_leaves_no_call_unexplained() {
    let Some((root, sipp)) = installed("agent: real Asterisk, kill") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&sipp, fleet.dir.path());
        let _node = launch(&fleet, &root, &carrier).await;
        let numbers = ["+15550110150".to_owned(), "+15550120150".to_owned()];
        assert!(fleet.dial(1, LONG_FLOW, &numbers).await.code.is_empty());
        fleet.until("2 calls up", |log| (log.of(EventType::AttemptAnswered).len() == 2).then_some(())).await;
        fleet.kill9("asterisk");
        fleet
            .until("2 uncertain", |log| (log.of(EventType::AttemptUncertain).len() == 2).then_some(()))
            .await;
        fleet.until("a second ready", |log| (log.of(EventType::NodeReady).len() == 2).then_some(())).await;
        assert!(fleet.dial(1, "demo", &["+15550110158".to_owned()]).await.code.is_empty());
        fleet.until("the next call", |log| (log.ended().len() == 1).then_some(())).await;
        assert!(carrier.invites().values().all(|count| *count == 1), "{:?}", carrier.invites());
        fleet.check_frames();
    });
}

#[test]
fn real_asterisk_says_sounds_of_its_own_until_a_key_is_pressed_and_opts_out() {
    let Some((root, sipp)) = installed("agent: real Asterisk, say and optout") else { return };
    runtime().block_on(async {
        let fleet = Fleet::start().await;
        let carrier = Carrier::start(&sipp, fleet.dir.path());
        let _node = launch(&fleet, &root, &carrier).await;
        // Its digits are those of the installation; beside them something of ten seconds.
        let long = fleet.node_dir().join("data/sounds/en/test");
        std::fs::create_dir_all(&long).unwrap();
        std::fs::write(long.join("9.ulaw"), vec![0x7f; 80_000]).unwrap();
        // One lets ten seconds pass, the other presses 1 after one and a half.
        let numbers = ["+15550100150".to_owned(), "+15550100151".to_owned()];
        assert!(fleet.dial(1, SAY_FLOW, &numbers).await.code.is_empty());
        let ended = fleet.until("2 ends", |log| Some(log.ended()).filter(|ended| ended.len() == 2)).await;
        let expected = [("TIMEOUT", "", 10_000..60_000), ("OK 1", "1", 1_000..9_000)];
        for (number, (input, digits, talk_ms)) in numbers.iter().zip(expected) {
            let end = &ended[&attempt(number, "").attempt];
            assert_eq!(
                (raw(end), end.cause, end.digits.as_str()),
                (ANSWERED, 16, digits),
                "{number}: {end:?}"
            );
            assert!(talk_ms.contains(&end.talk_ms), "{number}: {end:?}");
            let steps = fleet.log.lock().unwrap().steps(&attempt(number, "").attempt);
            let steps: Vec<_> = steps.iter().map(|step| (step.input.as_str(), step.reply.as_str())).collect();
            let said = ["say|en/digits/5&en/digits/2|0", "say|en/test/9&en/digits/5|1"];
            assert_eq!(steps, [("", said[0]), ("SUCCESS", said[1]), (input, "optout|thanks")], "{number}");
        }
        fleet.check_frames();
    });
}
