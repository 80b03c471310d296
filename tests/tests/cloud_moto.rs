//! A campaign on instances of EC2 with its prompts in S3, both served by moto, EC2 behind the fault proxy: from the first
//! launch to the last termination, seen from moto's own listing and from the requests that crossed the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic)]

#[path = "support/machines.rs"]
mod machines;
#[path = "../../services/core/object-store/tests/moto/mod.rs"]
#[allow(dead_code)]
mod moto;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::fleet::NodeStatus;
use asterism_domain::invariant;
use asterism_ec2_proxy::{Fault, Proxy, Query};
use asterism_object_store::{Location, S3Store};
use asterism_tests::stack::{CAMPAIGN, FLEET, Stack, StackOptions, StackPbx, program, root};
use machines::{Listed, Machines, left, listing};
use moto::{Front, Moto};

const CONTACTS: u64 = 100;
const NODES: u32 = 3;
const IMAGE: &str = "ami-12c6146b";
const INSTANCE_TYPE: &str = "c7g.large";
const KEY: &str = "test";
const RUN: &str = "RunInstances";

/// What the services are told besides the file of every stack.
fn variables(ec2: u16, objects: &str) -> Vec<(String, String)> {
    [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", KEY),
        ("ASTERISM_OBJECTS__URL", objects),
        ("ASTERISM_SCALER__PROVIDER", "ec2"),
        ("ASTERISM_SCALER__EC2__REGION", "eu-west-1"),
        ("ASTERISM_SCALER__EC2__ENDPOINT", &format!("http://127.0.0.1:{ec2}")),
        ("ASTERISM_SCALER__EC2__IMAGE_ID", IMAGE),
        ("ASTERISM_SCALER__EC2__INSTANCE_TYPE", INSTANCE_TYPE),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The fleet's name comes from the user data alone.
fn without_fleet(arguments: &[String]) -> Vec<String> {
    arguments.chunks(2).filter(|pair| pair[0] != "--fleet").flatten().cloned().collect()
}

#[tokio::test]
async fn a_campaign_on_instances_of_ec2_with_prompts_in_s3() {
    let Some(moto) = Moto::start("a_campaign_on_instances_of_ec2_with_prompts_in_s3") else { return };
    let moto = Arc::new(moto);
    moto.make_bucket("media");
    let (ec2, s3) = (Proxy::at(moto.port), Front::before(&moto));
    let objects = format!("s3://media/fleet?region=eu-west-1&endpoint=http://127.0.0.1:{}", s3.port);
    let options = StackOptions { max_nodes: NODES, capacity: 20, pbx: StackPbx::Sim };
    let stack = Stack::start_with_env(options, variables(ec2.port, &objects)).await;
    let nodes = stack.path().join("nodes");
    let _machines = Machines::start(&moto, &nodes, &without_fleet(&stack.config.scaler.agent_args));
    // The answer of the first launch is lost on its way: that must not cost a second instance.
    ec2.script(|script| {
        (script.pending_ms, script.stale_ms, script.has_buckets) = (500, 1_500, true);
        script.next(RUN, Fault::LoseAnswer);
    });

    let Location::S3(at) = Location::parse(&objects).unwrap() else { panic!("{objects} is not s3") };
    let store = S3Store::open_with_key(at, KEY, KEY).await.unwrap();
    let list = root().join("compose/demo/contacts.csv");
    stack.campaign_from(&store, &list, Some(CONTACTS), 1).await;
    stack
        .wait("the campaign completes", Duration::from_secs(150), |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    let down = fleet_down(&stack).await;
    let gone = serde_json::json!({ "done": "down", "instances": 0, "volumes": 0, "addresses": 0 });
    assert_eq!(down, gone, "{}", stack.summary());
    assert_eq!(left(&moto), (0, 0, 0), "instances, volumes and addresses by moto's own listing");
    stack
        .wait("every node is terminated in the log too", Duration::from_secs(60), |state| {
            !state.fleet.nodes.is_empty()
                && state.fleet.owed_launches().next().is_none()
                && state.fleet.nodes.values().all(|node| node.status == NodeStatus::Terminated)
        })
        .await;

    let failures = stack.log.read(|state| state.fleet.intents.values().map(|i| i.failures).sum::<u32>());
    assert_eq!(failures, 1, "the lost answer is one failure of one launch");
    every_contact_rang_once(&stack);
    let instances = listing(&moto);
    instances_are_the_logs(&stack, &instances);
    assert_eq!((ec2.hits("answer lost"), ec2.hits("token repeated")), (1, 1));
    assert_eq!(ec2.hits("request bucket empty"), 0);
    launches_were_guarded(&ec2, &instances);
    prompts_were_fetched(&s3.take_seen(), &stack);
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
    stack.replay_agrees().await;
}

/// `asterism fleet down`, as a person sends the fleet home.
async fn fleet_down(stack: &Stack) -> serde_json::Value {
    let mut command = tokio::process::Command::new(program("asterism"));
    command.arg("--config").arg(stack.path().join("asterism.toml"));
    let said =
        command.args(["--json", "fleet", "down", "--reason", "done", "--wait", "60"]).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}

/// All are settled, and the carrier saw each attempt that the log says rang, once.
fn every_contact_rang_once(stack: &Stack) {
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!((u64::from(counts.settled_total()), counts.uncertain), (CONTACTS, 0), "{counts:?}");
    let rings = stack.rings();
    assert_eq!((rings.double_rings, rings.attempts), (0, u64::from(counts.rang)), "{}", stack.summary());
}

/// moto has the nodes of the log and no others: one for each intent, as the policy wanted it, terminated.
fn instances_are_the_logs(stack: &Stack, instances: &[Listed]) {
    let of_moto: BTreeMap<String, String> =
        instances.iter().map(|i| (i.id.clone(), i.tags["asterism:intent"].clone())).collect();
    let (of_log, intents) = stack.log.read(|state| {
        let fleet = &state.fleet;
        let group = |intent: &str| fleet.intents[intent].placed.as_ref().unwrap().group.clone();
        let nodes = fleet.nodes.iter().map(|(id, node)| (id.clone(), group(&node.intent)));
        let intents: BTreeSet<String> = fleet.nodes.values().map(|node| node.intent.clone()).collect();
        (nodes.collect::<BTreeMap<_, _>>(), intents)
    });
    assert_eq!(of_moto, of_log);
    assert!((2..=NODES as usize).contains(&instances.len()), "{instances:?}");
    assert_eq!(intents.len(), instances.len(), "an intent has two instances: {instances:?}");
    for instance in instances {
        let Listed { state, image, instance_type, http_tokens, tags, .. } = instance;
        assert_eq!(state, "terminated", "{instance:?}");
        assert_eq!((image.as_str(), instance_type.as_str()), (IMAGE, INSTANCE_TYPE));
        assert_eq!(http_tokens, "required", "{instance:?}");
        assert_eq!(tags["asterism:fleet"], FLEET);
    }
}

/// Each launch carried its group as client token and as a tag of the same request, and IMDSv2; the lost one was repeated
/// with the same token.
fn launches_were_guarded(ec2: &Proxy, instances: &[Listed]) {
    let groups: BTreeSet<&str> = instances.iter().map(|i| i.tags["asterism:intent"].as_str()).collect();
    let runs = ec2.calls(RUN);
    assert_eq!(runs.len(), groups.len() + 1, "a launch was asked for twice");
    for run in &runs {
        let form = Query::parse(&run.form);
        let token = form.get("ClientToken");
        assert!(groups.contains(token), "no instance has the token {token}");
        assert_eq!(form.get("MetadataOptions.HttpTokens"), "required");
        for part in
            ["Key=Name&", "Key=asterism%3Afleet&", "Key=asterism%3Aintent&", &format!("Value={token}&")]
        {
            assert!(run.form.contains(part), "{part} is not in {}", run.form);
        }
    }
    assert!(ec2.calls("CreateTags").is_empty(), "tagged afterwards");
}

/// Every node that took calls proved its prompts, and fetched them all in one request by an address signed for it.
fn prompts_were_fetched(requests: &[String], stack: &Stack) {
    let signed = |folder: &str| {
        let begins = format!("GET /media/fleet/{folder}/");
        let lines = requests.iter().map(|request| request.lines().next().unwrap_or_default());
        lines.filter(|line| line.starts_with(&begins) && line.contains("X-Amz-Signature=")).count()
    };
    let proved = stack.log.read(|state| {
        let ready = state.fleet.nodes.values().filter(|node| node.ready_at.is_some());
        ready.filter(|node| !node.manifests.is_empty()).count()
    });
    assert!(proved >= 2, "{}", stack.summary());
    let (bundles, sounds) = (signed("bundles"), signed("blobs"));
    assert!(bundles >= proved && sounds == 0, "{bundles} bundles and {sounds} sounds by {proved} nodes");
}
