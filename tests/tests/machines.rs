//! Machines that answer, through the real programs on simulated nodes: listened to, hung up on, rung again by their own
//! rule, and told from people in every report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use asterism_tests::stack::root;
use asterism_tests::up::Up;

const PEOPLE: u64 = 20;
/// Numbers that end so are machines.
const MACHINES: &str =
    "[[number]]\nnumber = \"*5\"\nhabit = \"machine\"\n[[number]]\nnumber = \"*0\"\nhabit = \"machine\"\n";
const RULES: &str = "detect_machines = true\n[retries]\nmachine = { after = \"2s\", max = 1 }\n";

fn people() -> impl Iterator<Item = (String, bool)> {
    (0..PEOPLE).map(|n| (format!("+1202555{:04}", 100 + n), n % 5 == 0))
}

#[tokio::test]
async fn a_machine_is_hung_up_on_and_rung_again_by_its_own_rule() {
    let mut up = Up::start_of(MACHINES, &[]).await;
    let list = people().fold("number\n".to_owned(), |mut list, (number, _)| {
        writeln!(list, "{number}").unwrap();
        list
    });
    fs::write(up.path().join("people.csv"), list).unwrap();
    fs::write(up.path().join("rules.toml"), RULES).unwrap();
    let demo = root().join("compose/demo");
    let (prompts, flow) = (demo.join("prompts"), demo.join("flow.toml"));
    up.done(&format!(
        "campaign create spring --flow {} --prompts {} --trunk carrier --contacts people.csv --rules rules.toml \
         --max-attempts 3 --start",
        flow.display(),
        prompts.display()
    ));
    let shown = up.until("everybody has an outcome", |shown| shown["status"] == "completed").await;
    let (machines, humans) = (PEOPLE / 5, PEOPLE - PEOPLE / 5);
    let outcome = |name: &str| shown["outcomes"][name].as_u64().unwrap_or_default();
    assert_eq!((outcome("answered"), outcome("machine")), (humans, machines), "{shown:#}");
    assert_eq!(shown["digits"]["1"].as_u64(), Some(humans), "machines press nothing: {shown:#}");
    let expected: BTreeMap<String, usize> =
        people().map(|(number, machine)| (number, if machine { 2 } else { 1 })).collect();
    assert_eq!(up.rings(), expected);
    up.stop().await;
    let log = up.path().join("fleet/log").display().to_string();
    let verified = up.run(&["replay", "verify", &log]);
    assert_eq!(verified.status, 0, "{}{}", verified.out, verified.err);
    let keys = up.path().join("fleet/keys/numbers.key").display().to_string();
    let told = |number: &str| up.run(&["replay", "explain", &log, number, "--numbers-key", &keys]).out;
    let machine = told("+12025550100");
    for said in ["a machine, and was hung up on (LONGGREETING-", "settled: machine"] {
        assert!(machine.contains(said), "{said:?} is not in\n{machine}");
    }
    assert!(!machine.contains("step 1"), "{machine}");
    let human = told("+12025550101");
    assert!(human.contains("a human (HUMAN-") && human.contains("settled: answered"), "{human}");
}
