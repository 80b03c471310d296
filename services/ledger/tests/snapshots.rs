//! Archived snapshots: an empty disk begins with the newest that fits, and leads from it only once the log bears it out; a
//! wrong one is passed over.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use asterism_domain::{REDUCER, State};
use asterism_event_log::snapshot::{self, Snapshot};
use asterism_ledger::{LedgerConfig, run};
use asterism_proto::Role;
use asterism_runtime::archive::{Archive, ArchivedSnapshot};
use asterism_runtime::role::Deps;
use asterism_runtime::testkit::{Fixture, within};
use support::*;

/// A fleet with snapshots in its archive, and a tail that only the stream has.
struct Fleet {
    fixture: Fixture,
    one: Deps,
    archive: Archive,
    size: u64,
}

impl Fleet {
    async fn start() -> Self {
        let fixture = Fixture::start().await;
        let ledger = process(&fixture, "ledger").await;
        let config = LedgerConfig { snapshot_events: 10, ..quick(&fixture) };
        let running = tokio::spawn(run(config, ledger.clone()));
        let one = process(&fixture, "one").await;
        let mut term = elect(&one, Role::Scaler).await;
        for _ in 0..4 {
            archived(&one, write(&mut term, 20).await).await;
        }
        let archive = archive(&fixture).await;
        // Announced behind it: whatever is said to be archived, its snapshot is there.
        assert!(!snapshots(&archive).await.is_empty());
        ledger.shutdown.request();
        within("the ledger's end", running).await.unwrap().unwrap();
        let size = write(&mut term, 7).await;
        Self { fixture, one, archive, size }
    }

    /// The objects of the archive's snapshots, or their entries.
    fn objects(&self, kind: &str) -> Vec<PathBuf> {
        let folder = self.fixture.dir.path().join("archive/log").join(self.archive.tag()).join(kind);
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }

    /// A process on an empty disk, made whole; the size of the snapshot it began with.
    async fn whole(&self, name: &str) -> (Deps, u64) {
        let deps = process(&self.fixture, name).await;
        let from = deps.log.snapshots().borrow().opened_from;
        assert_eq!(root_at(&deps, self.size).await, root_at(&self.one, self.size).await, "{name}");
        assert_eq!(deps.log.read(State::hash), self.one.log.read(State::hash), "{name}");
        (deps, from)
    }
}

async fn snapshots(archive: &Archive) -> Vec<ArchivedSnapshot> {
    archive.snapshots(REDUCER, u64::MAX).await.unwrap()
}

/// The same with one call that never was.
fn bent(taken: Snapshot) -> Arc<Snapshot> {
    let mut state = State::from_bytes(&taken.state).unwrap();
    state.up += 1;
    Arc::new(Snapshot { state: state.to_bytes(), ..taken })
}

#[tokio::test]
async fn an_empty_disk_begins_with_the_newest_archived_snapshot_and_is_led_from() {
    let fleet = Fleet::start().await;
    let kept = snapshots(&fleet.archive).await;
    assert_eq!(kept.len(), 2, "older ones are removed: {kept:?}");
    assert_eq!((fleet.objects("snap").len(), fleet.objects("snx").len()), (2, 2));
    let (wiped, from) = fleet.whole("wiped").await;
    assert_eq!(from, kept[0].size);
    elect(&wiped, Role::Dialer).await;
    agree(&[&fleet.one, &wiped]).await;
    let told = repairs(&fleet.one.log).await;
    let [asterism_domain::Event::LogRepaired { refilled_from, .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(refilled_from, "archive");
    // The whole log is folded a second time all the same.
    let mut proofs = wiped.log.snapshots();
    within("the proof", proofs.wait_for(|told| told.proved >= from)).await.unwrap();
}

#[tokio::test]
async fn an_archived_snapshot_that_is_not_what_it_should_be_is_passed_over() {
    let fleet = Fleet::start().await;
    let kept = snapshots(&fleet.archive).await;
    // One bit of the newest: the one before it serves.
    let newest = fleet.objects("snap").pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    assert_eq!(fleet.whole("flipped").await.1, kept[1].size);
    // An entry that somebody else has written: without the log key nobody is believed.
    let entry = fleet.objects("snx").swap_remove(0);
    let text = std::fs::read_to_string(&entry).unwrap();
    std::fs::write(&entry, text.replacen(&kept[1].state[..8], "00000000", 1)).unwrap();
    assert_eq!(snapshots(&fleet.archive).await.len(), 1);
    assert_eq!(fleet.whole("forged").await.1, 0, "folded from the beginning");
    // Of another reducer, or of a size no checkpoint is signed at.
    assert_eq!(fleet.archive.snapshots("asterism-0", u64::MAX).await.unwrap(), []);
    let note = fleet.objects("ck").into_iter().find(|path| path.ends_with(format!("{:020}", kept[0].size)));
    std::fs::remove_file(note.unwrap()).unwrap();
    let refused = fleet.archive.fetch_snapshot(&kept[0]).await.unwrap_err().to_string();
    assert!(refused.starts_with("AST-R07"), "{refused}");
}

#[tokio::test]
async fn a_false_state_the_log_key_has_signed_is_refuted_by_the_log_itself() {
    let fleet = Fleet::start().await;
    let kept = snapshots(&fleet.archive).await;
    let taken = fleet.archive.fetch_snapshot(&kept[0]).await.unwrap();
    for kind in ["snap", "snx"] {
        fleet.objects(kind).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
    let key = fleet.fixture.keyring.role(Role::Ledger).unwrap();
    fleet.archive.put_snapshot(&key, &bent(taken)).await.unwrap().unwrap();
    // The ledger's own word of that size stands right behind it.
    let (deps, from) = fleet.whole("refuted").await;
    assert_eq!((from, deps.log.failure().borrow().clone()), (0, None));
    elect(&deps, Role::Dialer).await;
}

#[tokio::test]
async fn a_snapshot_nothing_bears_out_is_followed_and_never_led_from() {
    let fleet = Fleet::start().await;
    for kind in ["snap", "snx"] {
        fleet.objects(kind).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
    // All is archived, so that the segments reach the snapshot; no word of the ledger's is of that size.
    let config = quick(&fleet.fixture);
    asterism_ledger::archive_at_the_end(&config, &fleet.one).await.unwrap();
    let key = fleet.fixture.keyring.role(Role::Ledger).unwrap();
    fleet.archive.put_snapshot(&key, &bent(fleet.one.log.snapshot())).await.unwrap().unwrap();

    let false_one = process(&fleet.fixture, "false").await;
    assert_eq!(false_one.log.snapshots().borrow().opened_from, fleet.size);
    let (mut head, mut failure) = (false_one.log.head(), false_one.log.failure());
    let reason = within("the proof's end", async {
        tokio::select! {
            biased;
            _ = head.wait_for(|head| head.caught_up) => panic!("a false state may be led from"),
            reason = failure.wait_for(Option::is_some) => reason.unwrap().clone().unwrap(),
        }
    })
    .await;
    assert!(reason.starts_with("AST-R023"), "{reason}");
    let folder = fleet.fixture.dir.path().join("log").join("false");
    assert_eq!(snapshot::list(&folder).unwrap(), []);
}
