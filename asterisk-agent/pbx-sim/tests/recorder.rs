//! The carrier recorder: what it counts, what it survives, and what a node does without it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use asterism_pbx_sim::recorder::{RecorderClient, RingCount, read_rings};
use asterism_pbx_sim::{Error, Sim};
use common::{Ami, DEADLINE, config, script, start_recorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn ask(addr: std::net::SocketAddr, lines: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(lines.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn the_protocol_counts_rings_and_refuses_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = start_recorder(&folder).await;
    let addr = recorder.addr();
    assert_eq!(ask(addr, "RING a +15550100001 n1\nRING b +15550100002 n1\n").await, "OK\nOK\n");
    assert_eq!(ask(addr, "COUNT\n").await, "2 2 0\n");
    assert_eq!(ask(addr, "RING a +15550100001 n2\nRING a +15550100001 n2\n").await, "OK\nOK\n");
    let bad = "ERR not a request\n";
    let answers = ask(addr, "RING a,b 1 n\nCOUNT\nRING a 1\nDROP\n\nRING  1 n\n").await;
    assert_eq!(answers, format!("{bad}4 2 1\n{}", bad.repeat(4)));
    let count = read_rings(&folder.path().join("rings.csv"), |_| {}).unwrap();
    assert_eq!(count, RingCount { rings: 4, attempts: 2, double_rings: 1 });

    let long = format!("RING {} 1 n\n", "a".repeat(1000));
    assert_eq!(ask(recorder.addr(), &long).await, bad);
    assert_eq!(recorder.count(), count);
}

#[tokio::test]
async fn many_nodes_share_syncs_and_every_confirmed_ring_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = start_recorder(&folder).await;
    let mut nodes = tokio::task::JoinSet::new();
    for node in 0..8 {
        let client = RecorderClient::new(recorder.addr());
        nodes.spawn(async move {
            let mut rings = tokio::task::JoinSet::new();
            for n in 0..100 {
                let client = client.clone();
                rings.spawn(async move { client.ring(&format!("{node}-{n}"), "+15550100001", "n").await });
            }
            rings.join_all().await.into_iter().flatten().count()
        });
    }
    assert_eq!(nodes.join_all().await.into_iter().sum::<usize>(), 800);
    let count = read_rings(&folder.path().join("rings.csv"), |_| {}).unwrap();
    assert_eq!(count, RingCount { rings: 800, attempts: 800, double_rings: 0 });
}

#[tokio::test]
async fn a_restart_appends_and_the_node_finds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = start_recorder(&folder).await;
    let addr = recorder.addr();
    let client = RecorderClient::new(addr);
    client.ring("a", "+15550100001", "n1").await.unwrap();
    drop(recorder);
    // Until the address is free and taken again, rings fail; none of them may happen.
    let failed = client.ring("b", "+15550100001", "n1").await;
    assert!(matches!(failed, Err(Error::NotRecorded)));
    let again =
        asterism_pbx_sim::recorder::RecorderConfig { listen: addr, out: folder.path().join("rings.csv") };
    let end = tokio::time::Instant::now() + DEADLINE;
    let recorder = loop {
        match asterism_pbx_sim::recorder::Recorder::start(&again).await {
            Ok(recorder) => break recorder,
            Err(error) => assert!(tokio::time::Instant::now() < end, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(recorder.count().rings, 1);
    client.ring("c", "+15550100001", "n1").await.unwrap();
    assert_eq!(recorder.count(), RingCount { rings: 2, attempts: 2, double_rings: 0 });
}

#[tokio::test]
async fn without_a_recorder_an_originate_fails_and_nothing_rings() {
    let folder = tempfile::tempdir().unwrap();
    let steps = common::Steps::start(common::three_steps).await;
    // One that refuses connections, and one that takes them but confirms nothing.
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let liar = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lying = liar.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = liar.accept().await {
            let _ = stream.write_all(b"ERR not written\n").await;
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
        }
    });
    for carrier in [refusing, lying] {
        let sim = Sim::start(config(steps.addr, Some(carrier), 10, &folder), script()).await.unwrap();
        let mut ami = Ami::login(sim.ami_addr()).await;
        ami.originate("+15550100150", "a", 8000).await;
        assert_eq!(ami.response("order-a").await.get("Response"), Some("Success"));
        ami.until("its failure", |m| m.get("Event") == Some("OriginateResponse")).await;
        ami.until("its end", |m| m.get("Event") == Some("Hangup")).await;
        // As where a transport did not take the INVITE: that the carrier saw nothing is not certain.
        let story = ami.story("a").join("; ");
        let told = ["DialBegin", "HangupRequest", "OriginateResponse Failure 0", "Hangup"];
        assert!(told.iter().all(|event| story.contains(event)), "{story}");
        assert_eq!(sim.channel_count(), 0);
        assert!(steps.asked("a").is_empty());
    }
}

#[tokio::test]
async fn the_ring_is_on_disk_before_the_originate_is_answered() {
    let node = common::Node::start(script(), 10, common::three_steps).await;
    let mut ami = node.ami().await;
    for n in 0..20 {
        let id = format!("a{n}");
        ami.originate("+15550100186", &id, 8000).await;
        ami.response(&format!("order-{id}")).await;
        let mut last = String::new();
        let count = read_rings(&node.rings(), |ring| last.clone_from(&ring.attempt_id)).unwrap();
        assert_eq!((count.rings, last.as_str()), (n + 1, id.as_str()));
    }
}
