//! Trunks through the real programs: one is added while a node runs, a carrier is asked whether it is there, and one that
//! turns everybody away rests while another takes over, all of it back out of the sealed log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use asterism_pbx_sim::recorder::read_rings;
use asterism_tests::stack::root;
use asterism_tests::up::{PATIENCE, Up};
use serde_json::Value;

const PEOPLE: u64 = 24;
/// People of the campaign that is given another trunk.
const MORE: u64 = 6;
const CALLER_IDS: [&str; 2] = ["+12015550197", "+12015550198"];

/// A carrier that answers every OPTIONS.
struct Gateway {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Gateway {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (port, stop) = (socket.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !told.load(Ordering::Relaxed) {
                let Ok((count, from)) = socket.recv_from(&mut bytes) else { continue };
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                assert!(text.starts_with("OPTIONS sip:127.0.0.1:"), "{text}");
                let header =
                    |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
                let mut answer = "SIP/2.0 200 OK\r\nServer: gateway 1\r\n".to_owned();
                for name in ["Via:", "From:", "To:", "Call-ID:", "CSeq:"] {
                    write!(answer, "{}\r\n", header(name)).unwrap();
                }
                socket.send_to(format!("{answer}Content-Length: 0\r\n\r\n").as_bytes(), from).unwrap();
            }
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until the list of trunks is so.
async fn trunks_until(up: &Up, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let list = up.json("trunk list");
        if so(&list) {
            return list;
        }
        assert!(began.elapsed() < PATIENCE, "not in time: {what}\n{list:#}\n{}", up.said());
        tokio::time::sleep(Duration::from_millis(100)).await; // the pause of a poll
    }
}

fn of<'a>(list: &'a Value, trunk: &str) -> &'a Value {
    let found = list["trunks"].as_array().unwrap().iter().find(|one| one["trunk"] == trunk);
    found.unwrap_or_else(|| panic!("no {trunk} in {list:#}"))
}

/// Everything wrong with a trunk is said at once, and nothing of it reaches the log.
fn what_cannot_be_meant_is_refused(up: &Up) {
    let bad = up.run(&["trunk", "add", "tls", "--host", "300.1.1.1", "--srtp", "--failover", "486"]);
    assert_eq!(bad.status, 1);
    for code in ["AST-T001", "AST-T003", "AST-T008", "AST-T012"] {
        assert!(bad.err.contains(code), "{}", bad.err);
    }
    let dry = up.run(&["trunk", "add", "dry", "--host", "192.0.2.10", "--dry-run"]);
    assert!(dry.status == 0 && dry.out.contains("it leads outside this machine"), "{}", dry.out);
    for (words, code) in [
        ("trunk set carrier --priority 3", "AST-D101"),
        ("trunk remove carrier", "AST-D101"),
        ("trunk set dry --priority 3", "AST-U130"),
        ("trunk check dry", "AST-D106"),
    ] {
        let refused = up.run(&words.split(' ').collect::<Vec<_>>());
        assert!(refused.status == 1 && refused.err.contains(code), "{words}: {}", refused.err);
    }
}

/// The node that runs gets the trunk, and asks its carrier.
async fn a_trunk_is_added_to_a_running_node(up: &Up) {
    trunks_until(up, "a node has the configured trunk", |list| of(list, "carrier")["nodes"] == 1).await;
    let gateway = Gateway::start();
    let add = format!("trunk add backup --host 127.0.0.1:{} --caller-id {}", gateway.port, CALLER_IDS[0]);
    up.done(&add);
    trunks_until(up, "the node has the new trunk", |list| of(list, "backup")["nodes"] == 1).await;
    let answers = up.json("trunk check backup");
    let answer = &answers[0];
    assert_eq!((answer["status"].as_u64(), answer["said"].as_str()), (Some(200), Some("OK, gateway 1")));
    assert!(answer["rtt_us"].as_u64().unwrap() > 0, "{answer:#}");
    drop(gateway);
    let silent = up.run(&["trunk", "check", "backup"]);
    assert!(
        silent.status == 1 && silent.out.contains("it cannot be reached"),
        "{}{}",
        silent.out,
        silent.err
    );
    assert!(silent.err.contains("AST-U131"), "{}", silent.err);
}

fn list(up: &Up, name: &str, from: u64, people: u64) {
    let mut list = "number,name\n".to_owned();
    for n in 0..people {
        writeln!(list, "+1202555{:04},Person {n}", from + n).unwrap();
    }
    fs::write(up.path().join(name), list).unwrap();
}

fn words(campaign: &str) -> String {
    let demo = root().join("compose/demo");
    let (prompts, flow) = (demo.join("prompts"), demo.join("flow.toml"));
    format!("campaign create {campaign} --flow {} --prompts {}", flow.display(), prompts.display())
}

fn create(up: &Up) {
    list(up, "people.csv", 100, PEOPLE);
    let words = words("spring") + " --trunk carrier --trunk backup --contacts people.csv";
    let wrong = up.run(&[words.split(' ').collect::<Vec<_>>(), vec!["--caller-id", CALLER_IDS[1]]].concat());
    assert!(wrong.status == 1 && wrong.err.contains("AST-D009"), "{}", wrong.err);
    up.done(&format!("{words} --caller-id {} --caller-id {} --start", CALLER_IDS[0], CALLER_IDS[1]));
}

/// A campaign whose only trunk rests is given another while it runs: whatever is wrong with that is said at once first.
async fn a_campaign_is_given_another_trunk(up: &Up) -> Value {
    list(up, "more.csv", 300, MORE);
    up.done("trunk add far --host 192.0.2.10");
    up.done(&(words("autumn") + " --trunk carrier --contacts more.csv --start"));
    let set = |words: &str| {
        up.run(&format!("campaign set autumn --reason ill {words}").split(' ').collect::<Vec<_>>())
    };
    let wrong = set(&format!("--trunk backup --trunk far --trunk nowhere --caller-id {}", CALLER_IDS[1]));
    assert_eq!(wrong.status, 1, "{}", wrong.out);
    for code in ["AST-D009", "AST-D043", "AST-D044"] {
        assert!(wrong.err.contains(code), "{code} is missing in\n{}", wrong.err);
    }
    let many = set("--trunk carrier ".repeat(9).trim_end());
    assert!(many.status == 1 && many.err.contains("AST-D008"), "{}", many.err);
    let still = up.json("campaign show autumn");
    assert_eq!(
        (still["waiting"].as_u64(), still["status"].as_str()),
        (Some(MORE), Some("running")),
        "{still:#}"
    );
    assert_eq!(set("--trunk backup").status, 0);
    let shown =
        up.until_of("autumn", "everybody has been reached", |shown| shown["status"] == "completed").await;
    assert_eq!(shown["outcomes"]["answered"].as_u64(), Some(MORE), "{shown:#}");
    shown
}

#[tokio::test]
async fn a_carrier_that_turns_everybody_away_rests_while_another_takes_over() {
    let callees = "[trunks]\ncarrier = \"congested\"\n";
    let mut up = Up::start_of(callees, &["--set", "scaler.min_nodes=1"]).await;
    what_cannot_be_meant_is_refused(&up);
    a_trunk_is_added_to_a_running_node(&up).await;
    create(&up);
    let shown =
        up.until_of("spring", "everybody has been reached", |shown| shown["status"] == "completed").await;
    assert_eq!(shown["outcomes"]["answered"].as_u64(), Some(PEOPLE), "{shown:#}");
    let (rang, away) = (shown["rang"].as_u64().unwrap(), shown["turned_away"].as_u64().unwrap());
    assert_eq!(rang, PEOPLE, "whoever was turned away was not rung: {shown:#}");
    assert!(away >= 10, "the breaker looks at ten ends before it opens: {shown:#}");
    let list = up.json("trunk list");
    let carrier = of(&list, "carrier");
    assert_ne!(carrier["breaker"], "closed", "{carrier:#}");
    assert_eq!(of(&list, "backup")["breaker"], "closed", "{list:#}");
    let moved = a_campaign_is_given_another_trunk(&up).await;
    let rang = rang + moved["rang"].as_u64().unwrap();
    let away = away + moved["turned_away"].as_u64().unwrap();
    up.stop().await;
    let count = read_rings(&up.path().join("fleet/rings.csv"), |_| {}).unwrap();
    assert_eq!((count.double_rings, count.rings), (0, rang + away), "the carrier saw what the log says");
    let log = up.path().join("fleet/log").display().to_string();
    let verified = up.run(&["replay", "verify", &log]);
    assert_eq!(verified.status, 0, "{}{}", verified.out, verified.err);
    let keys = up.path().join("fleet/keys/numbers.key").display().to_string();
    let told = up.run(&["replay", "explain", &log, "+12025550100", "--numbers-key", &keys]).out;
    for said in [
        "the carrier said 503 at once and rang nobody",
        "by trunk backup as +12015550197",
        "turned away by another trunk",
    ] {
        assert!(told.contains(said), "{said:?} is not in\n{told}");
    }
    let tail = up.run(&["replay", "tail", &log, "-n", "10000"]).out;
    assert!(tail.contains("the trunk carrier rests until") && tail.contains("503 x"), "{tail}");
    assert!(
        tail.contains("campaign autumn is changed (ill)") && tail.contains("over the trunks backup"),
        "{tail}"
    );
}
