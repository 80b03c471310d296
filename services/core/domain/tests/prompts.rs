//! A campaign's prompts, changed while it runs, and prompts that are retired.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use asterism_domain::campaign::CampaignCommand;
use asterism_domain::campaign::command::Limits;
use asterism_domain::catalogue::{self, CatalogueCommand};
use asterism_domain::rules::CampaignRules;
use asterism_domain::{AttemptId, Event};
use asterism_proto::{Origin, Role};
use support::Lab;

fn publish(lab: &mut Lab, manifest: &str) {
    let event = Event::ManifestPublished {
        manifest: manifest.into(),
        name: "spring".into(),
        object: "o".into(),
        sha256: vec![],
        prompts: 1,
        size_bytes: 1,
    };
    lab.write(Origin::Role(Role::MediaSync), event);
}

fn change(lab: &mut Lab, manifest: &str) {
    let limits = Limits {
        max_channels: 0,
        calls_per_second: 0,
        ring_timeout_ms: 20_000,
        max_attempts: 1,
        caller_id: String::new(),
        caller_ids: vec![],
        rules: CampaignRules::default(),
    };
    let (campaign, limits) = ("c".to_owned(), Box::new(limits));
    let command = CampaignCommand::Change {
        campaign,
        limits,
        trunks: vec![],
        manifest: manifest.into(),
        reason: "said anew".into(),
    };
    lab.dialer(&command);
}

fn retire(lab: &Lab, manifest: &str) -> Result<Vec<Event>, String> {
    let command = CatalogueCommand::RetireManifest { manifest: manifest.into(), reason: "old".into() };
    catalogue::decide(&lab.state, &command, lab.now).map_err(|refused| refused.code.to_owned())
}

/// What each attempt in flight plays, with its node.
fn played(lab: &Lab) -> Vec<(AttemptId, String, String)> {
    let flights = lab.state.campaigns["c"].in_flight.iter();
    flights.map(|(id, flight)| (id.clone(), flight.node.clone(), flight.manifest.clone())).collect()
}

/// A campaign with people to spare on two nodes, a call or more on each.
fn dialling() -> (Lab, [String; 2]) {
    let mut lab = Lab::new();
    lab.campaign("c", 30, 1);
    lab.plan();
    lab.boot_all();
    let nodes: Vec<String> = lab.ready().into_iter().take(2).collect();
    (lab, nodes.try_into().unwrap())
}

fn hold(lab: &mut Lab, node: &str, manifest: &str) {
    lab.node(node, Event::ManifestHeld { node: node.into(), manifest: manifest.into() });
}

fn needed(lab: &Lab) -> Vec<&str> {
    lab.state.needed_manifests().into_iter().map(String::as_str).collect()
}

fn end_all(lab: &mut Lab) {
    for (attempt, node, _) in played(lab) {
        lab.node(&node, Event::AttemptRefused { attempt, reason: "test".into() });
    }
}

#[test]
fn calls_go_on_with_the_old_prompts_and_new_ones_play_the_new_where_they_are() {
    let (mut lab, [first, second]) = dialling();
    lab.tick();
    let before = played(&lab);
    assert!(before.iter().all(|(.., manifest)| manifest == "m"));

    publish(&mut lab, "n");
    change(&mut lab, "n");
    assert_eq!(played(&lab), before, "a call in progress keeps its prompts");
    assert_eq!(needed(&lab), ["m", "n"]);
    let owed: Vec<(String, String)> =
        catalogue::owed_syncs(&lab.state).map(|(node, manifest)| (node.clone(), manifest.clone())).collect();
    assert!(owed.iter().all(|(_, manifest)| manifest == "n"), "{owed:?}");
    assert!(owed.iter().any(|(node, _)| *node == first) && owed.iter().any(|(node, _)| *node == second));

    end_all(&mut lab);
    hold(&mut lab, &first, "n");
    lab.now += 1_000;
    lab.tick();
    let now = played(&lab);
    for (attempt, node, manifest) in &now {
        let wanted = if *node == first { "n" } else { "m" };
        assert_eq!(manifest, wanted, "{attempt} on {node}");
    }
    assert!(now.iter().any(|(_, node, _)| *node == second), "nobody waits for the new prompts");

    let others: Vec<String> = lab.ready().into_iter().filter(|node| *node != first).collect();
    for node in others {
        hold(&mut lab, &node, "n");
    }
    assert_eq!(needed(&lab), ["m", "n"], "calls play the old ones");
    end_all(&mut lab);
    assert_eq!(needed(&lab), ["n"]);
}

#[test]
fn prompts_are_retired_when_nothing_needs_them_and_never_before() {
    let (mut lab, _) = dialling();
    assert_eq!(retire(&lab, "m"), Err("AST-M101".to_owned()), "a campaign plays them");
    assert_eq!(retire(&lab, "x"), Err("AST-M100".to_owned()));
    publish(&mut lab, "n");
    publish(&mut lab, "unused");
    change(&mut lab, "n");
    assert_eq!(retire(&lab, "m"), Err("AST-M101".to_owned()), "it may go back to them");
    let [gone] = &retire(&lab, "unused").unwrap()[..] else { panic!("one event") };
    let media = Origin::Role(Role::MediaSync);
    lab.write(media.clone(), gone.clone());
    assert!(!lab.state.catalogue.manifests.contains_key("unused"));

    // Decided before it went, landing after.
    let voids = lab.state.voids;
    let made = lab.written.iter().find(|recorded| matches!(recorded.event, Event::CampaignCreated { .. }));
    let mut late = made.unwrap().event.clone();
    if let Event::CampaignCreated { campaign, manifest, .. } = &mut late {
        *campaign = "late".into();
        *manifest = "unused".into();
    }
    lab.write(Origin::Role(Role::Dialer), late);
    lab.write(media.clone(), Event::ManifestRetired { manifest: "n".into(), reason: "raced".into() });
    assert_eq!(lab.state.voids, voids + 2);
    assert!(!lab.state.campaigns.contains_key("late") && lab.state.catalogue.manifests.contains_key("n"));

    // Published once more, it can be used once more.
    publish(&mut lab, "unused");
    change(&mut lab, "unused");
    assert_eq!(lab.state.campaigns["c"].manifest, "unused");
}

#[test]
fn prompts_that_are_not_published_are_not_taken() {
    let (lab, _) = dialling();
    let campaign = &lab.state.campaigns["c"];
    let limits = Limits {
        max_channels: campaign.max_channels,
        calls_per_second: 0,
        ring_timeout_ms: 20_000,
        max_attempts: 1,
        caller_id: String::new(),
        caller_ids: vec![],
        rules: CampaignRules::default(),
    };
    let (limits, reason) = (Box::new(limits), String::new());
    let command = CampaignCommand::Change {
        campaign: "c".into(),
        limits,
        trunks: vec![],
        manifest: "x".into(),
        reason,
    };
    let refused = asterism_domain::campaign::decide::decide(&lab.state, &command, lab.now).unwrap_err();
    assert_eq!(refused.code, "AST-D004");
}
