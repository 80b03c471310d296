//! The scaler on an EC2 that is short of machines, throttles, answers late, in part or not at all (`tests/ec2-proxy`):
//! one instance per intent, limits kept, nobody ended by mistake, and nothing left in moto's own listing.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use asterism_domain::fleet::{FleetPolicy, IntentStatus, NodeStatus};
use asterism_ec2_proxy::{Fault, Pool, Script};
use asterism_scaler::ScalerConfig;
use support::node::Node;
use support::sky::{self, Sky, TYPE, count, tags};
use support::{Rig, config, eventually};

const ON_DEMAND: &str = "on-demand";

fn few(max_nodes: u32) -> FleetPolicy {
    FleetPolicy { max_nodes, launches_per_minute: 100, ..config().policy }
}

#[tokio::test]
async fn a_launch_that_finds_few_machines_goes_on_elsewhere_at_once() {
    let Some(mut sky) = Sky::start("a_launch_that_finds_few_machines_goes_on_elsewhere_at_once") else {
        return;
    };
    let mut rig = Rig::start().await;
    let subnets = sky.moto.subnets();
    sky.proxy.script(|script| {
        script.pending_ms = 200;
        script.pools = vec![
            Pool { left: 1, ..Pool::empty(TYPE, &subnets[0].1, ON_DEMAND) },
            Pool::empty(TYPE, &subnets[1].1, ON_DEMAND),
        ];
    });
    let cloud = sky.cloud(500).await;
    let scaler = rig.scaler("one", sky.config(few(6), &[ON_DEMAND]), cloud).await;
    rig.campaign("c", 8).await;
    rig.until("four nodes are launched", |state| count(state, NodeStatus::Launched) == 4).await;

    // One call for four, and what it did not find is asked for elsewhere: no plan in between.
    let runs = sky.runs();
    let asked: Vec<_> = runs
        .iter()
        .map(|(call, run)| {
            (run.get("SubnetId").to_owned(), run.get("MaxCount").to_owned(), call.code.clone())
        })
        .collect();
    let want = |subnet: usize, most: &str, code: &str| (subnets[subnet].0.clone(), most.into(), code.into());
    assert_eq!(asked, [want(0, "4", ""), want(1, "3", "InsufficientInstanceCapacity"), want(2, "3", "")]);
    let tokens: BTreeSet<&str> = runs.iter().map(|(_, run)| run.get("ClientToken")).collect();
    assert_eq!(tokens.len(), 3, "a token stands for one type and zone");
    rig.log().read(|state| {
        let planned: BTreeSet<u64> = state.fleet.intents.values().map(|intent| intent.at).collect();
        assert_eq!((planned.len(), state.fleet.intents.len()), (1, 4));
    });
    assert_eq!((sky.proxy.hits("launched in part"), sky.proxy.hits("no room")), (1, 1));
    for instance in sky.alive() {
        assert!(tokens.contains(tags(&instance)["asterism:intent"].as_str()), "tagged by the launch itself");
        assert_eq!(instance.at(&["metadataOptions", "httpTokens"]), "required");
    }
    assert!(sky.proxy.calls("CreateTags").is_empty());

    let _nodes = sky.boot(&rig, 4).await;
    rig.until("all are admitted and ready", |state| count(state, NodeStatus::Ready) == 4).await;
    // Where there was no room a moment ago nobody asks.
    rig.campaign("d", 4).await;
    rig.until("two more are launched", |state| count(state, NodeStatus::Launched) == 2).await;
    let more: Vec<String> = sky.runs()[3..].iter().map(|(_, run)| run.get("SubnetId").to_owned()).collect();
    assert_eq!(more, [subnets[2].0.clone()]);
    sky.ends(&rig).await;
    scaler.stop().await;
}

#[tokio::test]
async fn without_room_anywhere_each_place_is_asked_once_in_its_while() {
    let Some(sky) = Sky::start("without_room_anywhere_each_place_is_asked_once_in_its_while") else {
        return;
    };
    let mut rig = Rig::start().await;
    sky.proxy.script(|script| script.pools = vec![Pool::empty("*", "*", "*")]);
    // Five times three minutes, which are 1.7 s here: the limiter lets three launches pass in that.
    let settings = ScalerConfig { capacity_memory_ms: 1_700, ..sky.config(few(4), &[ON_DEMAND]) };
    let scaler = rig.scaler("one", settings, sky.cloud(500).await).await;
    rig.campaign("c", 8).await;
    sky.met("no room", 15).await;
    let runs = sky.runs();
    let took_ms = runs.last().unwrap().0.at_ms - runs[0].0.at_ms;
    assert!(runs.len() as u64 <= 3 * (took_ms / 1_700 + 1), "{} questions in {took_ms} ms", runs.len());
    assert!(runs.iter().all(|(call, _)| call.code == "InsufficientInstanceCapacity"));
    let tokens: BTreeSet<&str> = runs.iter().map(|(_, run)| run.get("ClientToken")).collect();
    assert_eq!(tokens.len(), runs.len(), "no token stands for two places");
    rig.log().read(|state| {
        assert_eq!(state.fleet.intents.len(), 4, "what is owed is not owed twice");
        assert!(state.fleet.nodes.is_empty());
    });
    sky.proxy.script(|script| *script = Script::default());
    rig.until("there is room again", |state| count(state, NodeStatus::Launched) == 4).await;
    sky.ends(&rig).await;
    scaler.stop().await;
}

#[tokio::test]
async fn a_quota_closes_its_market_and_a_launch_that_waited_too_long_fails() {
    let Some(sky) = Sky::start("a_quota_closes_its_market_and_a_launch_that_waited_too_long_fails") else {
        return;
    };
    let mut rig = Rig::start().await;
    let quota = |market: &str, code: &str| Pool { code: code.into(), ..Pool::empty("*", "*", market) };
    sky.proxy.script(|script| {
        script.pools =
            vec![quota("spot", "MaxSpotInstanceCountExceeded"), quota(ON_DEMAND, "VcpuLimitExceeded")];
    });
    let patient = ScalerConfig { capacity_patience_ms: 500, ..sky.config(few(4), &["spot", ON_DEMAND]) };
    let scaler = rig.scaler("one", patient, sky.cloud(500).await).await;
    rig.campaign("c", 4).await;
    rig.until("both launches have failed", |state| {
        let failed = state.fleet.intents.values().filter(|intent| intent.status == IntentStatus::Failed);
        failed.count() == 2
    })
    .await;
    // Both are told with what to do about each, the quota of on demand last.
    let told = rig.command("fleet.list", "").await;
    let told: serde_json::Value = serde_json::from_slice(&told.json).unwrap();
    let trouble = &told["troubles"][0];
    assert_eq!((trouble["call"].as_str(), trouble["code"].as_str()), (Some("launching"), Some("AST-S060")));
    let (why, next) = (trouble["why"].as_str().unwrap(), trouble["next"].as_str().unwrap());
    assert!(why.contains("VcpuLimitExceeded") && why.contains("in whichever zone"), "{why}");
    assert!(next.contains("request-service-quota-increase") && next.contains("L-1216C47A"), "{next}");
    let markets: Vec<String> =
        sky.runs().iter().map(|(_, run)| run.get("InstanceMarketOptions.MarketType").to_owned()).collect();
    assert_eq!(markets, ["spot", ""], "another zone has the same quota: six places, two questions");
    sky.ends(&rig).await;
    scaler.stop().await;
}

#[tokio::test]
async fn throttled_it_is_silent_for_longer_each_time() {
    let Some(sky) = Sky::start("throttled_it_is_silent_for_longer_each_time") else { return };
    let mut rig = Rig::start().await;
    sky.proxy.script(|script| {
        script.has_buckets = true;
        script.always("RunInstances", Fault::Error(503, "RequestLimitExceeded"));
    });
    let scaler = rig.scaler("one", sky.config(few(4), &[ON_DEMAND]), sky.cloud(500).await).await;
    rig.campaign("c", 4).await;
    sky.met("RequestLimitExceeded", 3).await;
    let at: Vec<u64> = sky.runs().iter().map(|(call, _)| call.at_ms).collect();
    assert!(at[1] - at[0] >= 450 && at[2] - at[1] >= 900, "a storm: {at:?}");
    sky.proxy.script(|script| script.planned.clear());
    rig.until("both are launched", |state| count(state, NodeStatus::Launched) == 2).await;
    rig.log().read(|state| {
        let failures: u32 = state.fleet.intents.values().map(|intent| intent.failures).sum();
        assert_eq!((failures, state.fleet.intents.len()), (1, 2), "told to the log once");
    });
    let tokens: BTreeSet<String> =
        sky.runs().iter().map(|(_, run)| run.get("ClientToken").to_owned()).collect();
    assert_eq!(tokens.len(), 1, "the same request, repeated");
    sky.ends(&rig).await;
    assert_eq!(
        sky.proxy.hits("request bucket empty"),
        0,
        "its own limiter keeps inside the published buckets"
    );
    scaler.stop().await;
}

#[tokio::test]
async fn a_lost_answer_in_a_cloud_that_shows_everything_late() {
    let Some(sky) = Sky::start("a_lost_answer_in_a_cloud_that_shows_everything_late") else { return };
    let mut rig = Rig::start().await;
    sky.proxy.script(|script| {
        (script.pending_ms, script.shutting_down_ms) = (500, 700);
        (script.stale_ms, script.not_found_ms) = (1_500, 2_500);
        script.next("RunInstances", Fault::LoseAnswer);
    });
    let scaler = rig.scaler("one", sky.config(few(4), &[ON_DEMAND]), sky.cloud(500).await).await;
    rig.campaign("c", 4).await;
    rig.until("both are launched", |state| count(state, NodeStatus::Launched) == 2).await;
    assert_eq!((sky.proxy.hits("answer lost"), sky.proxy.hits("token repeated")), (1, 1));
    assert_eq!(
        sky.alive().len(),
        2,
        "the listing lacked them: the token alone kept them from being launched again"
    );
    // Told to go at once: the ids are not known yet, which is no proof that they have ended.
    sky.ends(&rig).await;
    for late in ["listed late", "id not found yet", "shutting down"] {
        assert!(sky.proxy.hits(late) > 0, "{late} was not met");
    }
    scaler.stop().await;
}

#[tokio::test]
async fn listings_in_part_and_failed_ones_end_nobody() {
    let Some(mut sky) = Sky::start("listings_in_part_and_failed_ones_end_nobody") else { return };
    let mut rig = Rig::start().await;
    let scaler = rig.scaler("one", sky.config(few(7), &[ON_DEMAND]), sky.cloud(5).await).await;
    rig.campaign("c", 14).await;
    let nodes = sky.boot(&rig, 7).await;
    rig.until("seven are ready", |state| count(state, NodeStatus::Ready) == 7).await;

    sky.proxy.script(|script| script.always("DescribeInstances", Fault::DropNextPage));
    sky.met("page dropped with more behind it", 8).await;
    eventually("it is noticed", || scaler.counters.listings_in_part.get() >= 6).await;
    sky.proxy.script(|script| {
        script.planned.clear();
        script.plan("DescribeInstances", 1, 20, Fault::Error(500, "InternalError"));
    });
    sky.met("InternalError", 20).await;
    rig.log().read(|state| assert_eq!(count(state, NodeStatus::Ready), nodes.len()));
    assert!(sky.proxy.calls("TerminateInstances").is_empty());
    assert!(scaler.counters.list_failures.get() > 0);
    sky.ends(&rig).await;
    scaler.stop().await;
}

#[tokio::test]
async fn with_ec2_away_calls_go_on_and_what_was_to_end_ends_later() {
    let Some(mut sky) = Sky::start("with_ec2_away_calls_go_on_and_what_was_to_end_ends_later") else {
        return;
    };
    let mut rig = Rig::start().await;
    let scaler = rig.scaler("one", sky.config(few(2), &[ON_DEMAND]), sky.cloud(500).await).await;
    rig.campaign("c", 4).await;
    let nodes = sky.boot(&rig, 2).await;
    holds_calls(&mut rig, 4).await;

    sky.proxy.script(|script| script.always("*", Fault::LoseRequest));
    let refused = rig.command("fleet.drain", &format!(r#"{{"node":"{}"}}"#, nodes[0].id)).await;
    assert_eq!(refused.code, "", "{}", refused.reason);
    sky.met("request lost", 10).await;
    rig.log().read(|state| {
        assert_eq!((state.in_flight, count(state, NodeStatus::Ready)), (4, 1));
        assert_eq!(count(state, NodeStatus::Draining), 1, "a node with calls is not ended (INV-04)");
        let held: usize = state.fleet.nodes.values().map(|node| node.attempts.len()).sum();
        assert_eq!(held, 4);
    });
    assert_eq!(sky.alive().len(), 2);
    sky.proxy.script(|script| script.planned.clear());
    // The machines break, each with two calls: confirmed by the cloud before they are written off.
    for node in &nodes {
        sky.moto.ask(&format!("Action=TerminateInstances&InstanceId.1={}", node.id));
    }
    rig.until("both are lost", |state| count(state, NodeStatus::Lost) == 2).await;
    rig.log().read(|state| assert_eq!((state.campaigns["c"].counts.uncertain, state.in_flight), (4, 0)));
    drop(nodes);
    sky.ends(&rig).await;
    scaler.stop().await;
}

/// All nodes are ready, have the prompts, and hold so many attempts.
async fn holds_calls(rig: &mut Rig, calls: u32) {
    rig.until("the nodes are ready", |state| {
        let mut nodes = state.fleet.existing();
        count(state, NodeStatus::Ready) == calls as usize / 2
            && nodes.all(|(_, node)| !node.manifests.is_empty())
    })
    .await;
    rig.dial().await;
    rig.log().read(|state| assert_eq!(state.in_flight, calls));
}

#[tokio::test]
async fn a_node_that_never_registers_is_replaced_and_one_that_dies_draining_is_written_off() {
    let test = "a_node_that_never_registers_is_replaced_and_one_that_dies_draining_is_written_off";
    let Some(mut sky) = Sky::start(test) else { return };
    let mut rig = Rig::start().await;
    let policy = FleetPolicy { boot_deadline_ms: 4_000, ..few(1) };
    let scaler = rig.scaler("one", sky.config(policy, &[ON_DEMAND]), sky.cloud(500).await).await;
    rig.campaign("c", 2).await;
    rig.until("the first is given up", |state| count(state, NodeStatus::Terminated) == 1).await;
    let second: Vec<Node> = sky.boot_as(&rig, 1, true).await;
    holds_calls(&mut rig, 2).await;
    let drained = rig.command("fleet.drain", &format!(r#"{{"node":"{}"}}"#, second[0].id)).await;
    assert_eq!(drained.code, "", "{}", drained.reason);
    eventually("it is told to drain", || !second[0].orders.lock().unwrap().is_empty()).await;
    let ended = sky.proxy.calls("TerminateInstances").len();

    sky.moto.ask(&format!("Action=TerminateInstances&InstanceId.1={}", second[0].id));
    drop(second);
    rig.until("it is lost", |state| count(state, NodeStatus::Lost) == 1).await;
    rig.log().read(|state| assert_eq!((state.campaigns["c"].counts.uncertain, state.in_flight), (2, 0)));
    assert_eq!(sky.proxy.calls("TerminateInstances").len(), ended, "a node with calls was ended");
    sky.ends(&rig).await;
    scaler.stop().await;
}

#[tokio::test]
async fn an_orphan_is_ended_when_it_is_old_enough_and_others_are_not() {
    let Some(mut sky) = Sky::start("an_orphan_is_ended_when_it_is_old_enough_and_others_are_not") else {
        return;
    };
    let mut rig = Rig::start().await;
    let settings = ScalerConfig { orphan_after_ms: 3_000, ..sky.config(few(1), &[ON_DEMAND]) };
    let scaler = rig.scaler("one", settings, sky.cloud(500).await).await;
    rig.campaign("c", 2).await;
    let nodes = sky.boot(&rig, 1).await;
    rig.until("it is ready", |state| count(state, NodeStatus::Ready) == 1).await;
    let tagged = |fleet: &str| {
        let launched = sky.moto.ask(&format!(
            "Action=RunInstances&ImageId={}&InstanceType={TYPE}&MinCount=1&MaxCount=1&TagSpecification.1.ResourceType=instance\
             &TagSpecification.1.Tag.1.Key=asterism%3Afleet&TagSpecification.1.Tag.1.Value={fleet}",
            sky::IMAGE
        ));
        launched.items("instancesSet").next().unwrap().at(&["instanceId"]).to_owned()
    };
    let born_ms = sky.proxy.clock().now_ms();
    let (orphan, other) = (tagged(support::FLEET), tagged("another"));
    eventually("the orphan has ended", || scaler.counters.orphans.get() == 1).await;
    let ends = sky.proxy.calls("TerminateInstances");
    assert!(ends.iter().all(|call| call.form.contains(&orphan)), "{ends:?}");
    // moto writes launch times in whole seconds.
    assert!(ends[0].at_ms >= born_ms + 2_000, "{} ms old", ends[0].at_ms - born_ms);
    let alive: BTreeSet<String> = sky.alive().iter().map(|i| i.at(&["instanceId"]).to_owned()).collect();
    assert_eq!(alive, BTreeSet::from([other.clone(), nodes[0].id.clone()]));
    sky.moto.ask(&format!("Action=TerminateInstances&InstanceId.1={other}"));
    let stopped = rig.command("fleet.stop", "").await;
    assert_eq!(stopped.code, "", "{}", stopped.reason);
    rig.until("the node has ended", |state| count(state, NodeStatus::Terminated) == 1).await;
    assert_eq!(sky.moto.left(), (0, 0, 0));
    scaler.stop().await;
}
