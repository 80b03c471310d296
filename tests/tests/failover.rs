//! Failover on real Asterisk: a carrier without room, one whose port is closed, and one that takes over, each counted by
//! its own INVITEs. Whoever may have been rung is not tried again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;

use asterism_tests::asterisk::RealParts;
use asterism_tests::sipp::{Carrier, Habits};
use asterism_tests::stack::root;
use asterism_tests::up::Up;

const HABITS: Habits = Habits { press_ms: 8_000, leave_ms: 500 };
/// The first carrier has no room for these; elsewhere they answer and leave.
const NO_ROOM: [&str; 3] = ["+12025550157", "+12035550157", "+12045550157"];
/// It rings these, and then has no room; and this one is busy.
const RUNG: [&str; 3] = ["+12025550154", "+12035550154", "+12025550186"];

fn once(numbers: &[&str]) -> BTreeMap<String, usize> {
    numbers.iter().map(|number| ((*number).to_owned(), 1)).collect()
}

/// The campaign over the three trunks, in this order; nobody is called a second time.
fn create(up: &Up) {
    let list = NO_ROOM.iter().chain(&RUNG).fold("number\n".to_owned(), |mut list, number| {
        writeln!(list, "{number}").unwrap();
        list
    });
    fs::write(up.path().join("people.csv"), list).unwrap();
    let rules = "[retries]\ncongestion = { after = \"1m\", max = 0 }\nbusy = { after = \"1m\", max = 0 }\n";
    fs::write(up.path().join("rules.toml"), rules).unwrap();
    let demo = root().join("compose/demo");
    let (prompts, flow) = (demo.join("prompts"), demo.join("flow.toml"));
    let words = format!(
        "campaign create spring --flow {} --prompts {} --trunk carrier --trunk closed --trunk backup --contacts people.csv \
         --rules rules.toml --start",
        flow.display(),
        prompts.display()
    );
    up.done(&words);
}

#[tokio::test]
async fn whoever_nobody_rang_is_tried_on_the_next_trunk_and_nobody_else() {
    let name = "failover::whoever_nobody_rang_is_tried_on_the_next_trunk_and_nobody_else";
    let Some(parts) = RealParts::find(name) else { return };
    let full = Carrier::start_refusing(&parts.sipp, HABITS, "0157");
    let backup = Carrier::start(&parts.sipp, HABITS);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (trunk, asterisk) = (format!("sip:127.0.0.1:{}", full.port), parts.root.display().to_string());
    let real = ["--pbx", "asterisk", "--asterisk-root", &asterisk, "--trunk", &trunk];
    let mut up = Up::start_with(&[real.as_slice(), &["--set", "scaler.min_nodes=1"]].concat()).await;
    up.done(&format!("trunk add closed --transport tcp --host {closed}"));
    up.done(&format!("trunk add backup --host 127.0.0.1:{}", backup.port));
    create(&up);
    let shown =
        up.until_of("spring", "everybody has an outcome", |shown| shown["status"] == "completed").await;
    let said = format!("{shown:#}\n{}\n{}", full.complaints(), backup.complaints());
    let outcome = |name: &str| shown["outcomes"][name].as_u64().unwrap_or_default();
    assert_eq!((outcome("answered"), outcome("congestion"), outcome("busy")), (3, 2, 1), "{said}");
    // Each of the three was turned away twice: by a response, and by a port that is closed.
    assert_eq!((shown["rang"].as_u64(), shown["turned_away"].as_u64()), (Some(6), Some(6)), "{said}");
    assert_eq!(full.rings(), once(&[NO_ROOM, RUNG].concat()), "{said}");
    assert_eq!(backup.rings(), once(&NO_ROOM), "{said}");
    up.stop().await;
    let log = up.path().join("fleet/log").display().to_string();
    let verified = up.run(&["replay", "verify", &log]);
    assert_eq!(verified.status, 0, "{}{}", verified.out, verified.err);
    let keys = up.path().join("fleet/keys/numbers.key").display().to_string();
    let told = up.run(&["replay", "explain", &log, NO_ROOM[0], "--numbers-key", &keys]).out;
    for said in ["the carrier said 503 at once and rang nobody", "by trunk closed", "by trunk backup"] {
        assert!(told.contains(said), "{said:?} is not in\n{told}");
    }
}
