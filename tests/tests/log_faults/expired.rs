//! Age takes the last frame of a leader that was idle: the stream then refuses what that leader expects, and accepts what
//! a stranger expects. Neither decides anything; the log's own rule does.

use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::Envelope;
use asterism_nats::{Bus, PublishFrameError, stream};
use asterism_proto::Role;
use asterism_proto::frame::message_id;
use asterism_runtime::commit::{CommitError, Term};
use asterism_runtime::testkit::{FLEET, Fixture};

use crate::fleet::*;

/// Lets age take everything the stream has, as 24 idle hours would.
async fn expire(fixture: &Fixture, bus: &Bus) {
    let before = reshape(fixture, |config| {
        config.max_age = Duration::from_millis(200);
        config.duplicate_window = Duration::from_millis(200);
    })
    .await;
    within("an empty stream", async {
        loop {
            let info = stream::info(bus, FLEET).await.unwrap();
            if info.first_sequence > info.last_sequence {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    reshape(fixture, |config| *config = before.clone()).await;
}

fn said(reason: &str) -> [Event; 1] {
    [Event::FleetStopRequested { reason: reason.to_owned() }]
}

#[tokio::test]
async fn a_leader_whose_last_frame_expired_goes_on_and_a_stranger_is_judged_by_the_log() {
    let fixture = Fixture::start().await;
    let (near, other) = (Process::start(&fixture, "near").await, Process::start(&fixture, "other").await);
    let key = near.key(Role::Scaler).unwrap();
    let mut term = within("an election", Term::elect(&near.log, Role::Scaler, &key, "near")).await.unwrap();
    let size = within("a commit", term.commit(&said("one"), &Envelope::default())).await.unwrap();
    assert!(other.log.at_least(size, PATIENCE).await);
    let last = stream::info(&near.bus, FLEET).await.unwrap().last_sequence;

    // The control: what holds a leader's place in raw JetStream is gone, and a stranger's expectation is met.
    expire(&fixture, &near.bus).await;
    let stranger = fixture.service("stranger").await;
    let put = async |frame: Vec<u8>, id: &str, expected| {
        within("an answer", stranger.publish_frame(FLEET, &scaler(), frame, id, Some(expected))).await
    };
    let answer = put(frame(&fixture, 7, 2), &message_id(&scaler(), &[7; 16], 2), last).await;
    assert!(matches!(answer, Err(PublishFrameError::WrongLastSequence)), "{answer:?}");
    // A second leader of the same term, one of a term far ahead, and a frame of the first one's next number that it
    // never wrote: the stream takes the one that comes first, and each but the first expects what is there.
    let mut expected = 0;
    for (epoch, number, of_term) in [(8, 1, 1), (9, 1, 5), (9, 2, 1)] {
        let bytes = frame_of(&fixture, of_term, epoch, number, 1);
        let ack = put(bytes, &message_id(&scaler(), &[epoch; 16], number), expected).await.unwrap();
        expected = ack.sequence;
    }
    // The leader's expectation is refused now for both reasons; it reads on and finds that its frame counts.
    let size = within("a commit", term.commit(&said("two"), &Envelope::default())).await.unwrap();
    assert!(other.log.at_least(size, PATIENCE).await);
    assert_eq!(size, 4, "creation, election and two decisions: no stranger is in the log");

    // The same without a stranger: nothing is there, and something is expected.
    expire(&fixture, &near.bus).await;
    let size = within("a commit", term.commit(&said("three"), &Envelope::default())).await.unwrap();
    assert_eq!(size, 5);

    // A rival that is elected by the rule shuts the first one out.
    expire(&fixture, &near.bus).await;
    let rival = within("an election", Term::elect(&other.log, Role::Scaler, &key, "other")).await.unwrap();
    assert_eq!(rival.number(), 2);
    let late = within("a refusal", term.commit(&said("late"), &Envelope::default())).await;
    assert!(matches!(late, Err(CommitError::Fenced(_))), "{late:?}");

    // Every copy agrees, one that is started again too; one that begins now cannot know what age took, and says so.
    let size = other.log.read(|state| state.size);
    assert!(near.log.at_least(size, PATIENCE).await);
    assert_eq!((size, root(&near.log, size)), (6, root(&other.log, size)));
    within("the disk", near.log.sync()).await.unwrap();
    let same = root(&near.log, size);
    drop((term, near));
    let near = Process::start(&fixture, "near").await;
    assert!(near.log.at_least(size, PATIENCE).await);
    assert_eq!(root(&near.log, size), same);
    let fresh = within("an answer", fixture.process_with("fresh", None)).await.err().unwrap().to_string();
    assert!(fresh.starts_with("AST-R"), "{fresh}");
}
