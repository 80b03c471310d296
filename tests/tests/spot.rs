//! An instance that its cloud takes away, in the whole system (row 21 of the fault table): a rebalance recommendation
//! changes nothing; from a notice on the node gets no new calls within five seconds, and another one is ready before the
//! instance ends; its calls end as they would have.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use asterism_cli::{import, ops};
use asterism_dialer::commands::CreateCampaign;
use asterism_domain::campaign::CampaignStatus;
use asterism_domain::fleet::NodeStatus;
use asterism_domain::{Event, State, invariant};
use asterism_ec2_proxy::imds::Metadata;
use asterism_runtime::leader::now_ms;
use asterism_tests::stack::{CALLER, CAMPAIGN, Stack, StackOptions, StackPbx, program, root};

const CONTACTS: u64 = 90;
const CAPACITY: u32 = 5;
/// What the campaign fills: two nodes. A third may be launched beside them.
const CHANNELS: u32 = 2 * CAPACITY;
const MAX_NODES: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(90);
/// From the notice to the last new call.
const CLOSED_WITHIN_MS: u64 = 5_000;

/// The metadata service of each instance there may be, and the agent that asks its own.
struct Sky(Vec<Metadata>);

impl Sky {
    /// Writes `agent`: a program that takes the next service and becomes the agent.
    fn new(dir: &Path) -> Self {
        let services: Vec<Metadata> = (0..8).map(|number| Metadata::start(&format!("i-{number}"))).collect();
        let urls: String =
            services.iter().map(|service| format!(" http://127.0.0.1:{}", service.port)).collect();
        let (dir, agent) = (dir.display(), program("asterism-agent"));
        let script = format!(
            "#!/bin/sh\nnumber=0\nfor url in{urls}; do\n  if mkdir {dir}/taken-$number 2>/dev/null; then\n    \
             echo \"$*\" > {dir}/taken-$number/by\n    ASTERISM_METADATA_URL=$url exec {} \"$@\"\n  fi\n  \
             number=$((number + 1))\ndone\nexit 1\n",
            agent.display()
        );
        let file = Self::agent(Path::new(&dir.to_string()));
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        Self(services)
    }

    fn agent(dir: &Path) -> std::path::PathBuf {
        dir.join("agent")
    }

    /// The service a node asks.
    fn of(&self, dir: &Path, node: &str) -> &Metadata {
        let by =
            |number: &usize| fs::read_to_string(dir.join(format!("taken-{number}/by"))).unwrap_or_default();
        let number = (0..self.0.len()).find(|number| by(number).contains(node));
        &self.0[number.unwrap_or_else(|| panic!("{node} asks no metadata service"))]
    }
}

/// The demo's campaign with a cap on its calls.
async fn campaign(stack: &Stack) {
    let store = asterism_object_store::open(&stack.config.objects_url().unwrap()).await.unwrap();
    let demo = root().join("compose/demo");
    let prompts =
        ops::publish_prompts(&stack.client, store.as_ref(), &demo.join("prompts"), "demo").await.unwrap();
    let flow = ops::publish_flow(&stack.client, store.as_ref(), &demo.join("flow.toml")).await.unwrap();
    let create: CreateCampaign = serde_json::from_value(serde_json::json!({
        "campaign": CAMPAIGN, "flow": flow.id(), "manifest": prompts.manifest_id, "trunk": "carrier",
        "ring_timeout_ms": 5_000, "max_attempts": 1, "caller_id": CALLER, "max_channels": CHANNELS,
    }))
    .unwrap();
    ops::create_campaign(&stack.client, &create).await.unwrap();
    let (list, options) = (demo.join("contacts.csv"), import::Options::default());
    ops::import_contacts(&stack.client, CAMPAIGN, &list, &options, Some(CONTACTS), |_| {}).await.unwrap();
    ops::start_campaign(&stack.client, CAMPAIGN).await.unwrap();
}

fn settled(state: &State) -> u32 {
    state.campaigns.get(CAMPAIGN).map_or(0, |campaign| campaign.counts.settled_total())
}

fn ready(state: &State) -> usize {
    state.fleet.nodes.values().filter(|node| node.status == NodeStatus::Ready).count()
}

async fn wait(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
    }
}

#[tokio::test]
async fn a_node_with_a_spot_notice_is_replaced_before_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let sky = Sky::new(dir.path());
    let agent = Sky::agent(dir.path()).display().to_string();
    let options = StackOptions { max_nodes: MAX_NODES, capacity: CAPACITY, pbx: StackPbx::Sim };
    let stack =
        Box::pin(Stack::start_with_env(options, vec![("ASTERISM_SCALER__AGENT_BIN".to_owned(), agent)]))
            .await;
    campaign(&stack).await;
    stack
        .wait("two nodes have calls", PATIENCE, |state| {
            let busy = state.fleet.nodes.values().filter(|node| node.attempts.len() >= 2);
            busy.count() == 2 && state.up >= 2
        })
        .await;
    let node = stack.log.read(|state| {
        let busiest = state.fleet.nodes.iter().max_by_key(|(_, node)| node.attempts.len());
        busiest.map(|(id, _)| id.clone()).unwrap()
    });
    let metadata = sky.of(dir.path(), &node);

    // A recommendation is written down, and that is all.
    metadata.recommend_rebalance("2026-12-01T11:50:00Z");
    wait("the recommendation is read", || metadata.requests().iter().any(|r| r.ends_with("/rebalance")))
        .await;
    let target = stack.log.read(settled) + 10;
    stack.wait("calls go on", PATIENCE, |state| settled(state) >= target).await;
    stack.log.read(|state| assert_eq!((ready(state), state.fleet.nodes.len()), (2, 2)));

    metadata.interrupt("2026-12-01T12:00:00Z");
    let noticed_ms = now_ms();
    stack
        .wait("it is closed and replaced", PATIENCE, |state| {
            let leaving = &state.fleet.nodes[&node];
            leaving.drain > 0 && ready(state) == 2
        })
        .await;
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    stack.wait("it has ended", PATIENCE, |state| !state.fleet.nodes[&node].status.exists()).await;

    let (counts, leaving, after) = stack.log.read(|state| {
        let leaving = state.fleet.nodes[&node].clone();
        let after = state.fleet.nodes.values().filter(|other| other.launched_at >= noticed_ms).count();
        (state.campaigns[CAMPAIGN].counts.clone(), leaving, after)
    });
    assert_eq!((u64::from(counts.settled_total()), counts.uncertain), (CONTACTS, 0), "{counts:?}");
    assert_eq!((leaving.status, leaving.cut.len()), (NodeStatus::Terminated, 0), "drained, then ended");
    assert_eq!(after, 1, "one for one: {}", stack.summary());
    assert!(noticed_ms < leaving.terminating_at.unwrap());
    stack.replay_agrees().await;
    let (mut calls, mut last) = (0, 0);
    for (event, _) in stack.timed_events() {
        match &event.event {
            Event::NodeDraining { node: drained, reason, .. } if *drained == node => {
                assert!(reason.contains("its cloud takes it away"), "{reason}");
            }
            Event::AttemptOriginating { .. } if event.origin.to_string().ends_with(&node) => {
                (calls, last) = (calls + 1, event.at);
            }
            _ => {}
        }
    }
    assert!(calls >= 2, "it never had a call");
    assert!(last < noticed_ms + CLOSED_WITHIN_MS, "a call {} ms after the notice", last - noticed_ms);
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
}
