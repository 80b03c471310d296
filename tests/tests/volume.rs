//! Ten thousand attempts (a hundred thousand with `ASTERISM_TEST_FULL=1`) while everything that can die dies: dialers, agents,
//! nodes, the nats-server; while leaders and nodes stand still and wake, links to nodes are cut, and orders come twice, late
//! and in another order. Rings are counted at the carrier, by attempt and by number.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::{Event, invariant};
use asterism_nats::{Bus, Parsed, Subject, Verb};
use asterism_tests::stack::{CAMPAIGN, FLEET, Stack, StackOptions, StackPbx};
use asterism_tests::wire::Wire;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NODES: u32 = 5;
/// More than the pace needs: a node that stands still is given orders, which expire.
const SLOTS: u32 = 120;
const CALLS_PER_SECOND: u32 = 250;
const MAX_ATTEMPTS: u32 = 7;
/// Attempts a contact has on average with these callees.
const ATTEMPTS_PER_CONTACT: u64 = 5;
/// Most answer nothing but a refusal: an attempt costs little, and its contact has several.
const CALLEES: &str = "ring = { min_ms = 50, max_ms = 400 }\nprompt = { min_ms = 50, max_ms = 200 }\n\
    press = { min_ms = 50, max_ms = 200 }\nearly = { min_ms = 50, max_ms = 200 }\n[weights]\npress_1 = 12\npress_2 = 6\n\
    press_nothing = 0\nhang_up_early = 6\nbusy = 40\ndeclined = 20\nnot_found = 8\nunavailable = 8\ncongested = 0\n\
    no_answer = 0\nsilent = 0\nno_port = 4\n";
const DIALERS: [&str; 2] = ["asterism-dialer", "rival-dialer"];
/// Between two faults.
const PAUSE_MS: std::ops::Range<u64> = 100..700;
const FIRST: Duration = Duration::from_secs(90);

fn full() -> bool {
    std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|value| value == "1")
}

/// A seed printed with the result, and what follows from it.
struct Dice(u64);

impl Dice {
    fn seeded() -> Self {
        let given = std::env::var("ASTERISM_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(given.unwrap_or(now.as_nanos() as u64 | 1))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn within(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len() as u64) as usize) }
    }
}

/// Numbers reserved for fiction or not assigned: the carrier is a recorder.
fn contacts(many: u64) -> String {
    let mut list = String::from("number\n");
    for n in 0..many {
        writeln!(list, "+1{}555{:04}", 202 + n / 10_000, n % 10_000).unwrap();
    }
    list
}

/// Repeats orders that pass the bus: at once, and long after they may be carried out.
struct Echo {
    repeated: Arc<AtomicU64>,
    heard: Arc<Mutex<BTreeMap<String, ()>>>,
    bus: Bus,
}

impl Echo {
    async fn start(stack: &Stack) -> Self {
        let bus = Bus::connect(&stack.nats.service("echo").unwrap()).await.unwrap();
        Self { repeated: Arc::default(), heard: Arc::default(), bus }
    }

    /// Listens to the orders of nodes it has not heard of before.
    async fn listen(&self, nodes: Vec<String>) {
        for node in nodes {
            if self.heard.lock().unwrap().insert(node.clone(), ()).is_some() {
                continue;
            }
            let subject = Subject::commands(FLEET, &node).unwrap();
            let mut orders = self.bus.subscribe(&subject, None).await.unwrap();
            let (bus, repeated) = (self.bus.clone(), self.repeated.clone());
            tokio::spawn(async move {
                let dial = Subject::command(FLEET, &node, Verb::Dial).unwrap();
                let mut own = 0_u64;
                while let Some(message) = orders.next().await {
                    let is_dial =
                        matches!(message.subject.parse(), Ok(Parsed::Command { verb: Verb::Dial, .. }));
                    // Its own repeats come back to it too: every fifth order, a repeat of a repeat now and then.
                    own += 1;
                    if !is_dial || !own.is_multiple_of(5) {
                        continue;
                    }
                    for later_ms in [0, 40, 900, 2_500, 20_000] {
                        let (bus, dial, payload) = (bus.clone(), dial.clone(), message.payload.to_vec());
                        let repeated = repeated.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(later_ms)).await; // the delay is the fault
                            let _ = bus.request(&dial, payload, Duration::from_secs(1)).await; // whatever it says
                            repeated.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                }
            });
        }
    }
}

/// What happens to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    AgentKilled,
    AgentStopped,
    LinksCut,
    DialerKilled,
    DialerStopped,
    NatsKilled,
    ServiceKilled,
    NodeKilled,
}

/// A round of faults.
const ROUND: [Fault; 13] = [
    Fault::AgentKilled,
    Fault::AgentKilled,
    Fault::AgentKilled,
    Fault::AgentKilled,
    Fault::AgentStopped,
    Fault::AgentStopped,
    Fault::LinksCut,
    Fault::LinksCut,
    Fault::DialerKilled,
    Fault::DialerStopped,
    Fault::NatsKilled,
    Fault::ServiceKilled,
    Fault::NodeKilled,
];

/// The faults, and how many of each there were.
struct Faults {
    dice: Dice,
    wire: Wire,
    told: BTreeMap<Fault, u64>,
    /// What is left of this round.
    round: Vec<Fault>,
    /// What was held by what died: so many may be uncertain.
    bound: u64,
}

impl Faults {
    fn agent(&mut self, stack: &Stack) -> Option<(String, i32)> {
        let nodes: Vec<(String, u64)> = stack.log.read(|state| {
            let held = state.fleet.nodes.iter().filter(|(_, node)| !node.attempts.is_empty());
            held.map(|(id, node)| (id.clone(), node.attempts.len() as u64)).collect()
        });
        let (node, _) = self.dice.one_of(&nodes)?.clone();
        let agents = stack.pids(&node, "asterism-agent run");
        Some((node, *agents.first()?))
    }

    /// The next fault: every kind comes in each round, in another order.
    async fn one(&mut self, stack: &mut Stack) {
        if self.round.is_empty() {
            self.round = ROUND.to_vec();
        }
        let next = self.dice.below(self.round.len() as u64) as usize;
        let fault = self.round.swap_remove(next);
        match self.strike(stack, fault).await {
            Some(()) => *self.told.entry(fault).or_default() += 1,
            None => self.round.push(fault), // it met nobody: later
        }
    }

    async fn strike(&mut self, stack: &mut Stack, fault: Fault) -> Option<()> {
        match fault {
            Fault::AgentKilled => {
                let (_, pid) = self.agent(stack)?;
                self.bound += u64::from(SLOTS);
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok()?;
            }
            Fault::AgentStopped => {
                let (_, pid) = self.agent(stack)?;
                let asleep = self.dice.within(200..4_000);
                kill(Pid::from_raw(pid), Signal::SIGSTOP).ok()?;
                tokio::time::sleep(asleep).await; // the fault
                kill(Pid::from_raw(pid), Signal::SIGCONT).ok()?;
            }
            Fault::LinksCut => {
                let (mask, asleep) = (self.dice.below(1 << 16), self.dice.within(500..4_500));
                let cut = self.wire.cut(|link| mask >> (link % 16) & 1 == 1);
                tokio::time::sleep(asleep).await; // the fault
                self.wire.cut(|_| false);
                return (cut > 0).then_some(());
            }
            Fault::DialerKilled => {
                let dialer = DIALERS[self.dice.below(2) as usize];
                stack.kill_service(dialer);
                start_dialer(stack, dialer);
            }
            Fault::DialerStopped => {
                // Longer than a lease: the other one is elected, and this one wakes believing.
                let dialer = DIALERS[self.dice.below(2) as usize];
                let asleep = self.dice.within(3_000..8_000);
                stack.signal_service(dialer, Signal::SIGSTOP);
                tokio::time::sleep(asleep).await; // the fault
                stack.signal_service(dialer, Signal::SIGCONT);
            }
            Fault::NatsKilled => {
                stack.nats.kill9();
                stack.nats.restart().await.unwrap();
            }
            Fault::ServiceKilled => {
                let services = ["asterism-logic-responder", "asterism-ledger", "asterism-scaler"];
                let service = *self.dice.one_of(&services)?;
                stack.kill_service(service);
                stack.start_service(service);
            }
            Fault::NodeKilled => {
                let (node, _) = self.agent(stack)?;
                for pid in stack.pids(&node, "") {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // its parent's end took it along
                }
                self.bound += u64::from(SLOTS);
            }
        }
        Some(())
    }
}

fn start_dialer(stack: &mut Stack, dialer: &'static str) {
    if dialer == DIALERS[0] {
        stack.start_service(dialer)
    } else {
        stack.start_rival(DIALERS[0], dialer, &[])
    }
}

#[tokio::test]
async fn nobody_is_rung_twice_whatever_dies_and_however_often() {
    let attempts: u64 = if full() { 100_000 } else { 10_000 };
    let mut dice = Dice::seeded();
    let seed = dice.0;
    println!("ASTERISM_TEST_SEED={seed}");
    let files = tempfile::tempdir().unwrap();
    let (callees, list) = (files.path().join("callees.toml"), files.path().join("contacts.csv"));
    fs::write(&callees, format!("seed = {}\n{CALLEES}", dice.below(1 << 30))).unwrap();
    fs::write(&list, contacts(attempts / ATTEMPTS_PER_CONTACT)).unwrap();
    let wire = Wire::listen().await;
    let options = StackOptions { max_nodes: NODES, capacity: SLOTS, pbx: StackPbx::SimBehind(wire.port) };
    let env = [
        ("ASTERISM_CALLEES", callees.display().to_string()),
        ("ASTERISM_TRUNKS__CARRIER__CALLS_PER_SECOND", CALLS_PER_SECOND.to_string()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut stack = Box::pin(Stack::start_with_env(options, env)).await;
    let url = stack.nats.service("x").unwrap().url;
    wire.lead_to(url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap());
    stack.start_rival(DIALERS[0], DIALERS[1], &[]);
    Box::pin(stack.campaign_of(&list, None, MAX_ATTEMPTS)).await;
    stack.wait("nodes dial", FIRST, |state| state.in_flight > 20).await;

    let echo = Echo::start(&stack).await;
    let mut faults = Faults { dice, wire, told: BTreeMap::new(), round: Vec::new(), bound: 0 };
    let began = Instant::now();
    let patience = if full() { Duration::from_secs(3_600) } else { Duration::from_secs(300) };
    loop {
        let nodes = stack.log.read(|state| state.fleet.existing().map(|(id, _)| id.clone()).collect());
        echo.listen(nodes).await;
        let pause = faults.dice.within(PAUSE_MS);
        tokio::time::sleep(pause).await; // between two faults
        let (over, dialled) = stack.log.read(|state| {
            let campaign = &state.campaigns[CAMPAIGN];
            (campaign.status == CampaignStatus::Completed, u64::from(campaign.counts.attempts))
        });
        if over {
            break;
        }
        assert!(began.elapsed() < patience, "{dialled} attempts\n{}\n{}", stack.summary(), stack.logs());
        // The last ones end in peace: a campaign that is nearly over has nobody to kill.
        if dialled < attempts * 9 / 10 {
            faults.one(&mut stack).await;
        }
    }
    let took = began.elapsed();
    ends_well(&stack, &faults, (seed, took, echo.repeated.load(Ordering::Relaxed)), attempts).await;
}

async fn ends_well(stack: &Stack, faults: &Faults, (seed, took, repeated): (u64, Duration, u64), least: u64) {
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    let rings = stack.rings();
    println!(
        "seed {seed}, {took:?}: {} attempts, {} rings, {} refused, {} never rang, {} uncertain of {} contacts; {repeated} \
         orders repeated, {:?}",
        counts.attempts,
        rings.rings,
        counts.refused,
        counts.never_rang,
        counts.uncertain,
        counts.imported,
        faults.told
    );
    assert_eq!(counts.settled_total() + counts.uncertain, counts.imported, "{counts:?}");
    assert!(
        u64::from(counts.attempts) >= least * 8 / 10,
        "too few attempts for what this is to show: {counts:?}"
    );
    assert!(repeated > least / 1_000, "orders were not repeated");
    assert_eq!(faults.told.len(), 8, "a kind is missing: {:?}", faults.told);
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!((rings.double_rings, rings.rings), (0, rings.attempts));
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for recorded in stack.sealed_events() {
        if let Event::AttemptUncertain { reason, .. } = recorded.event {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    println!("told by nodes: {reasons:?}");
    assert!(reasons.keys().all(|reason| !reason.is_empty()));
    assert!(
        u64::from(counts.uncertain) <= faults.bound,
        "{} uncertain, at most {}",
        counts.uncertain,
        faults.bound
    );
}
