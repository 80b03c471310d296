//! Two who would lead: behind a link that is cut, stopped and woken. At most one's decisions count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use asterism_domain::wire::Envelope;
use asterism_domain::{Event, fleet};
use asterism_nats::{Bus, LeaseTiming};
use asterism_proto::{Origin, Role};
use asterism_runtime::log::{Log, LogConfig, SealAt};
use asterism_runtime::role::Deps;
use asterism_runtime::shutdown::Shutdown;
use asterism_runtime::testkit::{FLEET, Fixture};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::fleet::*;

/// A link between a process and nats-server that a story can cut.
struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: AtomicU8,
    /// How often the link was cut: a connection does not outlive that.
    cuts: AtomicU64,
}

/// Everything passes.
const OPEN: u8 = 0;
/// What the server says is lost; what the process says arrives.
const DEAF: u8 = 1;
/// Nothing passes, and no connection is made.
const CUT: u8 = 2;

impl Link {
    async fn to(url: &str) -> Self {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let link = shared.clone();
        tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { return };
                if link.state.load(Ordering::SeqCst) == CUT {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&server).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pump(near_in, far_out, link.clone(), DEAF));
                tokio::spawn(pump(far_in, near_out, link.clone(), OPEN));
            }
        });
        Self { address, shared }
    }

    fn set(&self, state: u8) {
        if state == CUT {
            self.shared.cuts.fetch_add(1, Ordering::SeqCst);
        }
        self.shared.state.store(state, Ordering::SeqCst);
    }
}

/// Passes bytes on while the link is no worse than `passes`; drops them otherwise, and ends when it is cut.
async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    link: Arc<Shared>,
    passes: u8,
) {
    let cuts = link.cuts.load(Ordering::SeqCst);
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::time::timeout(Duration::from_millis(20), from.read(&mut bytes)).await;
        let now = link.state.load(Ordering::SeqCst);
        match read {
            _ if link.cuts.load(Ordering::SeqCst) != cuts => return,
            Err(_) => {}
            Ok(Ok(count)) if count > 0 => {
                if now <= passes && to.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
            Ok(_) => return,
        }
    }
}

/// A process whose bus goes over a link.
async fn behind(fixture: &Fixture, link: &Link, name: &str) -> Deps {
    let mut config = fixture.server.service(name).unwrap();
    config.url = format!("nats://{}", link.address);
    let bus = Bus::connect(&config).await.unwrap();
    let config = LogConfig {
        fleet: FLEET.to_owned(),
        dir: fixture.dir.path().join("log").join(name),
        anchor: fixture.keyring.anchor(),
        first_frame: fixture.keyring.first_frame().to_vec(),
        stream_max_bytes: 64 << 20,
        seal: SealAt::default(),
    };
    let log = Log::open(config, bus.clone()).await.unwrap();
    Deps {
        bus,
        log,
        keyring: fixture.keyring.clone(),
        holder: name.to_owned(),
        lease_timing: LeaseTiming::faster(5),
        shutdown: Shutdown::new(),
    }
}

fn stop(reason: &str) -> fleet::FleetCommand {
    fleet::FleetCommand::Stop { reason: reason.to_owned() }
}

/// Two scalers, and the link of the one that leads first.
#[tokio::test]
async fn of_two_writers_with_a_partition_between_them_one_decides() {
    let fixture = Fixture::start().await;
    let link = Link::to(&fixture.server.url).await;
    let (near, far) = (behind(&fixture, &link, "near").await, Link::to(&fixture.server.url).await);
    let first = near.lead(Role::Scaler, fleet::decide::decide).unwrap();
    within("the first lead", first.leading().wait_for(Option::is_some)).await.unwrap();
    let rival = behind(&fixture, &far, "rival").await;
    let second = rival.lead(Role::Scaler, fleet::decide::decide).unwrap();

    // The acknowledgement is lost and the frame is not; then nothing passes at all.
    link.set(DEAF);
    let asked = {
        let first = first.clone();
        let meta = Envelope { command_id: "deaf".to_owned(), ..Envelope::default() };
        tokio::spawn(async move { first.ask(stop("said behind the partition"), meta).await })
    };
    let arrived = || rival.log.read(|state| state.fleet.stop_requested);
    let mut head = rival.log.head();
    within("the frame whose acknowledgement was lost", async {
        while !arrived() {
            head.changed().await.unwrap();
        }
    })
    .await;
    link.set(CUT);
    within("the rival's lead", second.leading().wait_for(Option::is_some)).await.unwrap();
    within("the end of the first lead", first.leading().wait_for(Option::is_none)).await.unwrap();
    assert_eq!(rival.log.term(Role::Scaler), 2);
    // Behind the cut nothing is decided any more, and what is asked there is refused at once.
    assert!(within("a refusal", first.tell(stop("cut off"))).await.is_err());

    link.set(OPEN);
    // What was in flight is concluded by reading it, and once: the answer is either its place or "ask again".
    let outcome = within("an answer", asked).await.unwrap();
    let meta = Envelope { command_id: "deaf".to_owned(), ..Envelope::default() };
    let again =
        within("the same command", second.ask(stop("said behind the partition"), meta)).await.unwrap();
    assert!(again.events.is_empty(), "it is in the log already");
    if let Ok(answer) = outcome {
        assert_eq!(answer.position, again.position);
    }
    let size = rival.log.read(|state| state.size);
    assert!(near.log.at_least(size, PATIENCE).await);
    assert_eq!(root(&near.log, size), root(&rival.log, size));
    assert!(near.log.failure().borrow().is_none() && rival.log.failure().borrow().is_none());
}

/// Five acknowledgements in a row are lost.
#[tokio::test]
async fn a_frame_whose_acknowledgement_was_lost_is_concluded_by_reading_it() {
    let fixture = Fixture::start().await;
    let link = Link::to(&fixture.server.url).await;
    let near = behind(&fixture, &link, "near").await;
    let key = near.key(Role::Scaler).unwrap();
    let mut term =
        within("an election", asterism_runtime::commit::Term::elect(&near.log, Role::Scaler, &key, "near"))
            .await
            .unwrap();
    let other = fixture.process("other").await;
    let told = |reason: &str| Event::FleetStopRequested { reason: reason.to_owned() };
    for round in 0..5u64 {
        // The answer to each publish is lost: the frame is in the stream, and its writer does not know.
        let size = near.log.read(|state| state.size);
        assert!(other.log.at_least(size, PATIENCE).await);
        link.set(DEAF);
        let event = told(&round.to_string());
        let committing = tokio::spawn(async move {
            let done = term.commit(&[event], &Envelope::default()).await;
            (term, done)
        });
        assert!(other.log.at_least(size + 1, PATIENCE).await);
        // The writer repeats it over the next connection: an answer is "duplicate", or "wrong last sequence".
        link.set(CUT);
        link.set(OPEN);
        let (back, done) = within("the commit", committing).await.unwrap();
        term = back;
        assert_eq!(done.unwrap(), size + 1, "once, at its place");
    }
    let size = near.log.read(|state| state.size);
    assert!(other.log.at_least(size, PATIENCE).await);
    assert_eq!(root(&near.log, size), root(&other.log, size));
    assert_eq!(size, 7, "creation, election and five events");
    let mark = other.log.sequencer(|log, _, _| log.mark(&Origin::Role(Role::Scaler)).unwrap());
    assert_eq!(mark.number, 6);
}
