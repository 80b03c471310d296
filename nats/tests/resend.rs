//! What the stream does with a frame it has lost, or that the log needs once more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use asterism_nats::stream;
use async_nats::jetstream;
use support::{FLEET, Fixture, dialer, raw_client, within};

#[tokio::test]
async fn a_frame_is_stored_once_more_only_without_its_id() {
    let fixture = Fixture::start().await;
    let (bus, _) = fixture.with_stream().await;
    let origin = dialer();
    let send = async |id: &str| bus.publish_frame(FLEET, &origin, id.into(), id, None).await.unwrap();
    for id in ["one", "three"] {
        assert!(!send(id).await.duplicate);
    }
    let again = send("three").await;
    assert!(again.duplicate && again.sequence == 2, "{again:?}");
    let again = bus.publish_frame_again(FLEET, &origin, b"three".to_vec()).await.unwrap();
    assert!(!again.duplicate && again.sequence == 3, "{again:?}");
    let stored = stream::frame_at(&bus, FLEET, 3).await.unwrap().unwrap();
    assert_eq!(stored.payload.as_ref(), b"three");
}

/// Our own stream takes no deletes, so the loss is made in one that does.
#[tokio::test]
async fn a_stream_remembers_the_id_of_a_frame_it_has_lost_until_it_starts_again() {
    let mut fixture = Fixture::start().await;
    let context = jetstream::new(raw_client(&fixture).await);
    let config = jetstream::stream::Config {
        name: "LOSSY".to_owned(),
        subjects: vec!["lossy".to_owned()],
        duplicate_window: stream::DUPLICATE_WINDOW,
        ..Default::default()
    };
    let lossy = context.create_stream(config).await.unwrap();
    let send = async || {
        let message = jetstream::message::PublishMessage::build().message_id("two").payload("two".into());
        within("an acknowledgement", context.send_publish("lossy", message).await.unwrap().into_future())
            .await
            .unwrap()
    };
    let first = send().await;
    assert!(lossy.delete_message(first.sequence).await.unwrap());
    let again = send().await;
    assert!(again.duplicate && again.sequence == first.sequence, "{again:?}");
    assert!(lossy.get_raw_message(first.sequence).await.is_err(), "it is neither kept nor stored again");
    fixture.server.kill9();
    fixture.server.restart().await.unwrap();
    let restarted = within("an answer", async {
        loop {
            let message = jetstream::message::PublishMessage::build().message_id("two").payload("two".into());
            if let Ok(ack) = context.send_publish("lossy", message).await
                && let Ok(ack) = ack.await
            {
                return ack;
            }
        }
    })
    .await;
    assert!(!restarted.duplicate && restarted.sequence == first.sequence + 1, "{restarted:?}");
}
