//! Each write and each send that a ring depends on, and the process that takes it dead right before and right after. The
//! campaign goes on through all of it, and ends: no attempt rang twice, each number as often as the log says, every contact is
//! settled or uncertain with a reason, and the replay finds nothing wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::{Event, State, invariant};
use asterism_proto::Role;
use asterism_tests::crash::{Points, named_in};
use asterism_tests::stack::{CAMPAIGN, Stack, StackOptions, StackPbx, root};

const CONTACTS: u64 = 600;
const NODES: u32 = 4;
const SLOTS: u32 = 20;
/// Attempts a second while points are still to be hit, and afterwards.
const SLOW: u32 = 30;
const FAST: u32 = 0;
/// Agents that may be dead at once; its supervisor lets one that dies often wait for seconds.
const AGENTS_AT_ONCE: usize = 3;
/// Longest until every point has killed, and until the campaign has ended after that.
const PATIENCE: Duration = Duration::from_secs(150);

/// The dialer's: the intent (S1), the order (S2), what nodes say (S7), its copy of the log.
const DIALER: [&str; 9] = [
    "intent.unsent",
    "intent.acknowledged",
    "intent.committed",
    "order.unsent",
    "order.sent",
    "order.answered",
    "fact.folded",
    "copy.unsynced",
    "copy.synced",
];

/// The agent's: custody (S3), the originate (S4), what the PBX says and the end (S6), frames to the log and what a checkpoint
/// lets go (S7); `written` outlives the process, `synced` the machine.
const AGENT: [&str; 31] = [
    "order.received",
    "accepted.unwritten",
    "accepted.written",
    "reply.unsent",
    "reply.sent",
    "refused.unwritten",
    "refused.written",
    "originating.unwritten",
    "originating.written",
    "originating.synced",
    "originate.unsent",
    "originate.sent",
    "originate.answered",
    "ring.begun",
    "answered.unwritten",
    "answered.written",
    "step.unwritten",
    "step.written",
    "ended.unwritten",
    "ended.written",
    "uncertain.unwritten",
    "uncertain.written",
    "store.unsynced",
    "store.synced",
    "frame.unwritten",
    "frame.written",
    "frame.synced",
    "frame.unsent",
    "frame.acknowledged",
    "covered.unwritten",
    "covered.written",
];

/// What an agent writes only when one died before: armed from the beginning.
const AFTER_A_DEATH: [&str; 2] = ["refused", "uncertain"];

/// The responder's: an answered call's next step.
const RESPONDER: [&str; 3] = ["decision.unsent", "decision.acknowledged", "answer.sent"];

/// The agent's while it fetches prompts: its own suite kills it at each, since a stack fetches too few.
const MEDIA: [&str; 6] =
    ["media.begun", "media.filled", "media.listed", "media.part", "media.renamed", "media.sound"];

/// Of recordings, the agent's and media-sync's: `tests/recordings.rs` kills at each.
const RECORDINGS: [&str; 12] = [
    "recording.sealed",
    "recording.hashed",
    "recording.unwritten",
    "recording.written",
    "recording.placed",
    "recording.half",
    "recording.sent",
    "recording.verified",
    "recording.committed",
    "recording.confirmed",
    "recording.dropped",
    "recording.removed",
];

fn of(program: &str, points: &[&str]) -> Vec<String> {
    points.iter().map(|point| format!("{program}:{point}")).collect()
}

fn agent_points() -> Vec<String> {
    of("asterism-agent", &AGENT)
}

#[test]
fn every_point_there_is_has_its_kill_here() {
    let mut named = BTreeSet::new();
    for folder in [
        "nats/src",
        "asterisk-agent/src",
        "services/core/runtime/src",
        "services/dialer/src",
        "services/logic-responder/src",
        "services/media-sync/src",
    ] {
        named.extend(named_in(&root().join(folder)));
    }
    let listed = DIALER.iter().chain(&AGENT).chain(&RESPONDER).chain(&MEDIA).chain(&RECORDINGS);
    assert_eq!(named, listed.map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
    for (suite, points) in
        [("asterisk-agent/tests/prompts.rs", &MEDIA[..]), ("tests/tests/recordings.rs", &RECORDINGS[..])]
    {
        let suite = std::fs::read_to_string(root().join(suite)).unwrap();
        assert!(
            points.iter().all(|point| suite.contains(&format!("\"{point}\""))),
            "a point without its kill"
        );
    }
}

/// Kills at one point after the other, for those processes that the test itself starts again.
struct Turns {
    service: &'static str,
    role: Option<Role>,
    left: Vec<String>,
    armed: Option<String>,
    /// Attempts intended, or steps decided, when it was started again: it has to work before it dies again.
    since: Option<u64>,
    kills: u32,
}

impl Turns {
    fn new(service: &'static str, role: Option<Role>, points: &[&str]) -> Self {
        Self { service, role, left: of(service, points), armed: None, since: Some(0), kills: 0 }
    }

    fn work(&self, state: &State) -> u64 {
        if self.role.is_some() { u64::from(state.campaigns[CAMPAIGN].counts.attempts) } else { state.steps }
    }

    fn turn(&mut self, stack: &mut Stack, points: &Points) {
        if !stack.runs(self.service) {
            let hit = points.hit();
            let armed = self.armed.take().expect("it died without being killed");
            assert!(
                hit.contains(&armed),
                "{} died elsewhere than at {armed}\n{}",
                self.service,
                stack.logs()
            );
            self.kills += 1;
            stack.kill_service(self.service); // reaps it
            stack.start_service(self.service);
            self.since = Some(stack.log.read(|state| self.work(state)));
        }
        let works = self.since.is_none_or(|since| stack.log.read(|state| self.work(state)) > since);
        if works && self.armed.is_none() && !self.left.is_empty() {
            self.since = None;
            let next = self.left.remove(0);
            points.arm(&next, 1 + u64::from(self.kills % 3));
            self.armed = Some(next);
        }
    }

    fn done(&self) -> bool {
        self.left.is_empty() && self.armed.is_none()
    }
}

/// Arms the agents' points, a few at a time; their supervisors start them again. Gives what is still to be hit.
fn agents_turn(points: &Points, armed: &mut BTreeSet<String>, left: &mut Vec<String>) {
    let hit = points.hit();
    armed.retain(|point| !hit.contains(point));
    while armed.len() < AGENTS_AT_ONCE && !left.is_empty() {
        let next = left.remove(0);
        points.arm(&next, 1 + left.len() as u64 % 4);
        armed.insert(next);
    }
}

async fn pace(stack: &Stack, calls_per_second: u32) {
    let set = serde_json::json!({ "campaign": CAMPAIGN, "calls_per_second": calls_per_second, "reason": "the test's pace" });
    let began = Instant::now();
    while let Err(error) = stack.client.role(Role::Dialer, "campaign.set", &set).await {
        assert!(began.elapsed() < PATIENCE, "{error}");
    }
}

#[tokio::test]
async fn who_dies_at_any_step_of_a_dial_rings_nobody_twice() {
    let dir = tempfile::tempdir().unwrap();
    let points = Points::new(dir.path());
    let pbx = StackPbx::Sim;
    let options = StackOptions { max_nodes: NODES, capacity: SLOTS, pbx };
    let mut stack = Box::pin(Stack::start_with_env(options, vec![points.variable()])).await;
    Box::pin(stack.campaign_of(&root().join("compose/demo/contacts.csv"), Some(CONTACTS), 2)).await;
    pace(&stack, SLOW).await;
    stack
        .wait("every node dials", PATIENCE, |state| {
            state.fleet.nodes.values().filter(|node| !node.attempts.is_empty()).count() == NODES as usize
        })
        .await;

    let mut dialer = Turns::new("asterism-dialer", Some(Role::Dialer), &DIALER);
    let mut responder = Turns::new("asterism-logic-responder", None, &RESPONDER);
    let (after_a_death, left): (Vec<_>, Vec<_>) =
        agent_points().into_iter().partition(|point| AFTER_A_DEATH.iter().any(|thing| point.contains(thing)));
    for point in &after_a_death {
        points.arm(point, 1);
    }
    let (mut armed, mut left) = (BTreeSet::new(), left);
    let began = Instant::now();
    let after = |points: &Points| after_a_death.iter().all(|point| points.hit().contains(point));
    while !(dialer.done() && responder.done() && armed.is_empty() && left.is_empty() && after(&points)) {
        dialer.turn(&mut stack, &points);
        responder.turn(&mut stack, &points);
        agents_turn(&points, &mut armed, &mut left);
        let over = stack.log.read(|state| state.campaigns[CAMPAIGN].status == CampaignStatus::Completed);
        assert!(
            !over && began.elapsed() < PATIENCE,
            "not hit by the end: {:?} {:?} {armed:?} {left:?}\n{:#?}\n{}",
            dialer.armed,
            responder.armed,
            points.passes(),
            stack.summary()
        );
        tokio::time::sleep(Duration::from_millis(50)).await; // the pause of a poll
    }
    println!("{} points killed within {:?}", points.hit().len(), began.elapsed());
    pace(&stack, FAST).await;
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    print_table(&points);
    ends_well(&stack).await;
}

fn print_table(points: &Points) {
    let (hit, passes) = (points.hit(), points.passes());
    println!("{:45} {:>7} {:>6}", "point", "passed", "killed");
    for point in
        [of("asterism-dialer", &DIALER), agent_points(), of("asterism-logic-responder", &RESPONDER)].concat()
    {
        let (passed, killed) = (passes.get(&point).copied().unwrap_or_default(), hit.contains(&point));
        println!("{point:45} {passed:>7} {:>6}", u32::from(killed));
        assert!(passed > 0 && killed, "{point} was never hit");
    }
}

async fn ends_well(stack: &Stack) {
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!(u64::from(counts.settled_total() + counts.uncertain), CONTACTS, "{counts:?}");
    stack.replay_agrees().await;
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    let rings = stack.rings();
    assert_eq!(rings.double_rings, 0, "{rings:?}");
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for recorded in stack.sealed_events() {
        if let Event::AttemptUncertain { reason, .. } = recorded.event {
            assert!(!reason.is_empty());
            *reasons.entry(reason).or_default() += 1;
        }
    }
    println!("rings {}, uncertain {} of {CONTACTS}: {reasons:?}", rings.rings, counts.uncertain);
    assert_eq!(reasons.values().sum::<u32>(), counts.uncertain, "each has its reason");
    // An agent that dies leaves no more in doubt than what it held.
    assert!(counts.uncertain <= SLOTS * agent_points().len() as u32);
}
