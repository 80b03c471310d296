//! The public address of a node: its metadata service names it long after the start, the PBX gets it while it runs, and the
//! heartbeats say so only then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use asterism_agent::render::plain_trunk;
use asterism_ec2_proxy::imds::Metadata;
use asterism_nats::Verb;
use asterism_proto::v1::{self, EventType};
use support::{Fleet, wait};

const PUBLIC: &str = "/latest/meta-data/public-ipv4";

#[test]
fn a_public_address_that_comes_late_is_rendered_and_said() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let fleet = Fleet::start().await;
        let metadata = Metadata::start("i-1");
        let url = format!("http://127.0.0.1:{}", metadata.port);
        let _node = fleet.launch_in(20, &[], &[("ASTERISM_METADATA_URL", &url)]);
        fleet.prepare().await;
        let trunks = vec![plain_trunk("carrier", "127.0.0.1", 5060)];
        let reply = fleet.order(Verb::Trunks, &v1::TrunkOrder { term: 1, trunks }).await;
        assert!(reply.taken && reply.reason.is_empty(), "{reply:?}");
        fleet.until("the trunk is held", |log| log.first(EventType::TrunkHeld)).await;
        let said = || fleet.heartbeat.lock().unwrap().as_ref().map(|h| h.public_address.clone());
        let is_asked = || metadata.requests().iter().filter(|r| r.ends_with(PUBLIC)).count() > 1;
        wait("it is asked for", is_asked).await;
        assert_eq!(said().as_deref(), Some(""), "nobody knows it yet");

        for address in ["203.0.113.7", "203.0.113.8"] {
            metadata.put(PUBLIC, address);
            wait("the node says its address", || said().as_deref() == Some(address)).await;
            let etc = fleet.node_dir().join("etc");
            let external = std::fs::read_to_string(etc.join("external.conf")).unwrap();
            let lines =
                format!("external_media_address = {address}\nexternal_signaling_address = {address}\n");
            assert_eq!(external, lines);
            let trunks = std::fs::read_to_string(etc.join("trunks.conf")).unwrap();
            assert!(trunks.contains(address), "{trunks}");
        }
        // What is no address changes nothing, and a service that is away says nothing.
        metadata.put(PUBLIC, "10.0.0.1.example");
        metadata.set_down(true);
        let before = metadata.requests().len();
        wait("it is asked again", || metadata.requests().len() > before + 2).await;
        assert_eq!(said().as_deref(), Some("203.0.113.8"));
        assert_eq!(metadata.refused(), 0, "a page was asked for without a token");
        fleet.check_frames();
    });
}
