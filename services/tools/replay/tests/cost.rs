//! What `verify` costs an event, at campaigns of several sizes, in processor time, which a busy machine hardly changes.
//! Printed with `--nocapture`; in predicates asked it is tested in asterism-domain (`judge`).
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::path::Path;

use asterism_replay::verify::{Against, verify};

/// Processor time of this thread, ms.
fn used_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    // A hundred ticks a second, on every Linux there is.
    (ticks(11) + ticks(12)) * 10
}

#[test]
fn the_cost_of_an_event_does_not_grow_with_the_campaign() {
    let full = std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|full| full == "1");
    let sizes: &[u32] = if full { &[1_000, 10_000, 100_000] } else { &[1_000, 10_000] };
    let mut costs = Vec::new();
    for contacts in sizes {
        let folder = tempfile::tempdir().unwrap();
        let (events, root) = support::big::log(folder.path(), *contacts);
        let began = used_ms();
        let report = verify(folder.path(), &Against::default(), &mut |_| {}).unwrap();
        let took = used_ms() - began;
        assert!(report.replay_ok, "{:?}", report.problems);
        assert_eq!((report.events, report.root, report.invariant_checks), (events, root, events));
        // The script admits three nodes that nobody launched.
        assert_eq!((report.voids, report.incidents), (0, 3));
        let ns = took * 1_000_000 / events;
        println!("verify of {contacts} contacts: {events} events, {took} ms, {ns} ns an event");
        costs.push(ns);
        // A large log to look at by hand.
        if let Some(keep) = std::env::var_os("ASTERISM_KEEP_LOG") {
            std::fs::rename(folder.keep(), Path::new(&keep).join(contacts.to_string())).unwrap();
        }
    }
    let (least, most) = (costs.iter().min().unwrap(), costs.iter().max().unwrap());
    assert!(most < &(2 * least), "an event costs {costs:?} ns");
}
