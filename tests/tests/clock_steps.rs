//! The wall clock of every service and every node jumps by hours in the middle of a campaign, forward and back: nobody
//! decides by it. Orders' windows, leases and record times are as they would be, and the campaign goes on meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

use std::time::Duration;

use asterism_domain::campaign::CampaignStatus;
use asterism_domain::{Event, State, invariant};
use asterism_runtime::leader::now_ms;
use asterism_tests::clock::WallClock;
use asterism_tests::stack::{CAMPAIGN, Stack, StackOptions, StackPbx};

const CONTACTS: u64 = 150;
const PATIENCE: Duration = Duration::from_secs(90);
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
/// How far the clocks are off, one after the other.
const STEPS: [i64; 7] = [5 * HOUR, -7 * HOUR, HOUR, -HOUR, 5 * MINUTE, -5 * MINUTE, 0];
/// Calls that end at each step.
const CALLS: u64 = 17;
/// Further from the true time than any delay here.
const FAR_MS: u64 = 600_000;
/// No order's window ends later behind its decision.
const WINDOW_MS: u64 = 2_500;

fn settled(state: &State) -> u64 {
    u64::from(state.campaigns[CAMPAIGN].counts.settled_total())
}

#[tokio::test]
async fn a_wall_clock_that_jumps_by_hours_moves_no_window_no_lease_and_no_record_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = WallClock::build(dir.path());
    let began = now_ms();
    let options = StackOptions { max_nodes: 2, capacity: 10, pbx: StackPbx::Sim };
    let mut env = clock.env();
    env.push(("ASTERISM_CLOCK_SCALE".to_owned(), "4".to_owned()));
    let stack = Stack::start_with_env(options, env).await;
    stack.campaign(CONTACTS).await;
    stack.wait("calls up", PATIENCE, |state| state.up >= 2 && settled(state) >= 10).await;
    let terms = stack.log.read(|state| state.terms.clone());
    for seconds in STEPS {
        clock.step(seconds);
        let target = stack.log.read(settled) + CALLS;
        stack.wait(&format!("calls more at {seconds} s"), PATIENCE, |state| settled(state) >= target).await;
    }
    // Row 7 of the fault table, and no scale-in: a wrong clock ends no instance while there is work.
    let gone =
        stack.log.read(|state| state.fleet.nodes.values().filter(|node| !node.status.exists()).count());
    assert_eq!(gone, 0, "{}", stack.summary());
    stack
        .wait("the campaign completes", PATIENCE, |state| {
            state.campaigns[CAMPAIGN].status == CampaignStatus::Completed
        })
        .await;
    let counts = stack.log.read(|state| state.campaigns[CAMPAIGN].counts.clone());
    assert_eq!((u64::from(counts.settled_total()), counts.refused), (CONTACTS, 0), "{counts:?}");
    assert_eq!(stack.log.read(|state| state.terms.clone()), terms, "a lease was lost\n{}", stack.logs());

    stack.replay_agrees().await;
    let events = stack.timed_events();
    let (mut last, mut jumped, mut intended) = (began, 0, 0);
    for (event, occurred_at_ms) in &events {
        assert!(last <= event.at && event.at <= now_ms(), "{event:?} behind {last}");
        last = event.at;
        let told_apart = occurred_at_ms.abs_diff(event.at);
        match &event.event {
            Event::AttemptIntended { not_before_ms, not_after_ms, .. } => {
                intended += 1;
                assert!(not_before_ms.abs_diff(event.at) < WINDOW_MS, "{event:?}");
                assert!(*not_after_ms < event.at + WINDOW_MS, "{event:?}");
            }
            // A node's own clock is corrected by the fleet's.
            Event::AttemptOriginating { .. } => assert!(told_apart < FAR_MS, "{event:?} at {occurred_at_ms}"),
            // A responder says what its machine's clock says: the jumps were there.
            Event::StepDecided { .. } => jumped += u64::from(told_apart > FAR_MS),
            _ => {}
        }
    }
    println!("{jumped} decisions of responders were signed hours off, {intended} attempts were intended");
    assert!(jumped >= 30, "the clocks did not jump");
    assert_eq!(stack.ring_differences(), Vec::<String>::new(), "{}", stack.summary());
    assert_eq!(stack.log.read(invariant::broken), [], "{}", stack.summary());
    assert_eq!(stack.log.read(|state| state.incidents), 0, "{}", stack.summary());
}
