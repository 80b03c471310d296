//! Sync orders: what is fetched, and what goes because nothing needs it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::tests::{NOW, order, ready};
use super::*;

fn sync(manifest: &str, keep: &[&str]) -> v1::SyncOrder {
    let keep = keep.iter().map(|manifest| (*manifest).to_owned()).collect();
    v1::SyncOrder { term: 1, manifest: manifest.into(), keep, ..v1::SyncOrder::default() }
}

/// Manifests told to go, and those removed.
fn gone(out: &Output) -> (Vec<&str>, Vec<&str>) {
    let facts = out.facts.iter().filter_map(|fact| match &fact.body {
        Body::ManifestDropped(dropped) => Some(dropped.manifest.as_str()),
        _ => None,
    });
    let effects = out.effects.iter().filter_map(|effect| match effect {
        Effect::Forget(manifest) => Some(manifest.as_str()),
        _ => None,
    });
    (facts.collect(), effects.collect())
}

#[test]
fn what_no_campaign_needs_goes_and_is_told_before() {
    let mut machine = ready(2);
    machine.on_manifest("m2");
    let out = machine.on_sync(1, sync("m3", &["m2", "m3"]));
    assert_eq!(gone(&out), (vec!["m1"], vec!["m1"]));
    assert!(out.changes.contains(&Change::DropManifest("m1".into())), "{out:?}");
    assert!(out.effects.iter().any(|effect| matches!(effect, Effect::Sync(order) if order.manifest == "m3")));
    assert_eq!(machine.held().collect::<Vec<_>>(), ["m2"]);
    let refused = machine.on_dial(2, order(1, &["a"]), NOW);
    assert!(refused.facts.iter().any(|fact| matches!(&fact.body, Body::Refused(_))), "nobody plays m1 here");

    // It is needed again: fetched and told again.
    assert!(!gone(&machine.on_sync(3, sync("m1", &["m1", "m2"]))).0.contains(&"m1"));
    let out = machine.on_manifest("m1");
    assert!(
        out.facts.iter().any(|fact| matches!(&fact.body, Body::ManifestHeld(held) if held.manifest == "m1"))
    );
}

#[test]
fn a_call_keeps_its_prompts_and_an_order_that_says_nothing_lets_nothing_go() {
    let mut machine = ready(2);
    machine.on_manifest("m2");
    machine.on_dial(1, order(1, &["a"]), NOW);
    assert_eq!(gone(&machine.on_sync(2, sync("m2", &["m2"]))), (vec![], vec![]), "a plays m1");
    for silent in [sync("m3", &[]), sync("m3", &["m9"])] {
        assert_eq!(gone(&machine.on_sync(3, silent)), (vec![], vec![]));
    }
    let old = v1::SyncOrder { term: 0, ..sync("m3", &["m3"]) };
    machine.on_sync(4, v1::SyncOrder { term: 5, ..sync("m2", &["m1", "m2"]) });
    assert_eq!(gone(&machine.on_sync(5, old)), (vec![], vec![]), "a former leader's");
}
