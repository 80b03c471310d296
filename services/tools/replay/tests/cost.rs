//! What `verify` costs an event, at campaigns of several sizes. Printed, with `--nocapture`; that it does not grow is
//! tested in predicates asked (asterism-domain, `judge`), which no busy machine changes.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::time::Instant;

use asterism_replay::verify::{Against, verify};

#[test]
fn the_cost_of_an_event_does_not_grow_with_the_campaign() {
    let full = std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|full| full == "1");
    let sizes: &[u32] = if full { &[1_000, 10_000, 100_000] } else { &[200, 1_000] };
    for contacts in sizes {
        let folder = tempfile::tempdir().unwrap();
        let (events, root) = support::big::log(folder.path(), *contacts);
        let began = Instant::now();
        let report = verify(folder.path(), &Against::default(), &mut |_| {}).unwrap();
        let took = began.elapsed();
        assert!(report.replay_ok, "{:?}", report.problems);
        assert_eq!((report.events, report.root, report.invariant_checks), (events, root, events));
        // The script admits three nodes that nobody launched.
        assert_eq!((report.voids, report.incidents), (0, 3));
        let ns = took.as_nanos() / u128::from(events);
        println!("verify of {contacts} contacts: {events} events, {} ms, {ns} ns an event", took.as_millis());
        // A large log to look at by hand.
        if let Some(keep) = std::env::var_os("ASTERISM_KEEP_LOG") {
            let kept = std::path::Path::new(&keep).join(contacts.to_string());
            std::fs::rename(folder.keep(), kept).unwrap();
        }
    }
}
