//! One holder at a time, and another one soon after it is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::time::{Duration, Instant};

use asterism_nats::{Bus, Lease, LeaseEvent, LeaseTiming};
use asterism_proto::Role;
use futures_util::StreamExt as _;
use support::{FLEET, Fixture, within};

fn timing() -> LeaseTiming {
    LeaseTiming::faster(5)
}

fn campaign(bus: &Bus, holder: &str) -> Lease {
    Lease::campaign_with(bus, FLEET, Role::Dialer, holder, timing()).unwrap()
}

#[tokio::test]
async fn a_rival_takes_over_after_its_time_and_not_before() {
    let fixture = Fixture::start().await;
    fixture.with_stream().await;
    let (a, b) = (fixture.service("a").await, fixture.service("b").await);
    let mut first = campaign(&a, "a");
    assert!(matches!(within("the lease", first.next()).await, LeaseEvent::Held { .. }));
    assert!(first.is_held());
    let mut rival = campaign(&b, "b");
    // While the holder renews, the rival waits: three times its patience.
    assert!(tokio::time::timeout(timing().takeover * 3, rival.next()).await.is_err());
    assert!(first.is_held() && !rival.is_held());

    drop(first);
    let since = Instant::now();
    assert!(matches!(within("the takeover", rival.next()).await, LeaseEvent::Held { .. }));
    let took = since.elapsed();
    println!("takeover after {took:?} with {:?}", timing());
    assert!(took >= timing().takeover.checked_sub(timing().renew * 2).unwrap(), "{took:?}");
    assert!(rival.is_held());
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once_and_roles_do_not_meet() {
    let fixture = Fixture::start().await;
    fixture.with_stream().await;
    let (a, b) = (fixture.service("a").await, fixture.service("b").await);
    let mut first = campaign(&a, "a");
    within("the lease", first.next()).await;
    let mut other = Lease::campaign_with(&b, FLEET, Role::Scaler, "b", timing()).unwrap();
    assert!(matches!(within("the other role", other.next()).await, LeaseEvent::Held { .. }));
    let mut rival = campaign(&b, "b");
    first.release().await;
    let since = Instant::now();
    assert!(matches!(within("the lease", rival.next()).await, LeaseEvent::Held { .. }));
    assert!(since.elapsed() < timing().takeover, "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_holder_cut_off_stops_believing_and_takes_it_again_when_the_server_is_back() {
    let mut fixture = Fixture::start().await;
    fixture.with_stream().await;
    let bus = fixture.service("a").await;
    let mut lease = campaign(&bus, "a");
    assert!(matches!(within("the lease", lease.next()).await, LeaseEvent::Held { .. }));
    fixture.server.kill9();
    assert!(matches!(within("the loss", lease.next()).await, LeaseEvent::Lost { .. }));
    assert!(!lease.is_held());
    fixture.server.restart().await.unwrap();
    assert!(matches!(within("the lease again", lease.next()).await, LeaseEvent::Held { .. }));
}

#[tokio::test]
async fn a_process_stopped_for_long_does_not_believe_when_it_wakes() {
    let fixture = Fixture::start().await;
    fixture.with_stream().await;
    let bus = fixture.service("a").await;
    let mut lease = campaign(&bus, "a");
    within("the lease", lease.next()).await;
    assert!(lease.is_held());
    let (stopped, since) = (timing().give_up + Duration::from_millis(50), Instant::now());
    // Without a yield, so that the runtime stands still as a stopped process does.
    while since.elapsed() < stopped {
        std::hint::spin_loop();
    }
    assert!(!lease.is_held(), "held after {:?} without renewal", since.elapsed());
}

/// Whoever may publish an event can have the stream's acknowledgement sent to the lease's own subject: nats-server asks no
/// permission for where an answer goes. Nobody of ours wrote that entry.
#[tokio::test]
async fn an_entry_that_no_process_wrote_takes_the_lease_from_nobody() {
    let fixture = Fixture::start().await;
    fixture.with_stream().await;
    let (a, b) = (fixture.service("a").await, fixture.service("b").await);
    let mut first = campaign(&a, "a");
    assert!(matches!(within("the lease", first.next()).await, LeaseEvent::Held { .. }));
    let mut rival = campaign(&b, "b");
    let enemy = support::raw_client_as(fixture.server.node("i-1").unwrap()).await;
    let key = format!("$KV.AST_LEASE_{FLEET}.dialer");
    let listener = support::raw_client(&fixture).await;
    let mut written = listener.subscribe(key.clone()).await.unwrap();
    listener.flush().await.unwrap();
    let (mut overwritten, since) = (0, Instant::now());
    while since.elapsed() < timing().takeover * 3 {
        enemy.publish_with_reply("ast.v1.ev.demo.node.i-1", key.clone(), "x".into()).await.unwrap();
        enemy.flush().await.unwrap();
        while !within("what is written", written.next()).await.unwrap().payload.starts_with(b"{\"stream\"") {}
        overwritten += 1;
        let lost = tokio::time::timeout(timing().renew * 2, first.next()).await;
        assert!(lost.is_err(), "{lost:?} after {overwritten} entries");
        assert!(first.is_held() && !rival.is_held());
    }
    println!("{overwritten} entries of nobody were written over");
    drop(first);
    assert!(matches!(within("the takeover", rival.next()).await, LeaseEvent::Held { .. }));
}
