//! The spool over its files: what is written comes back, a torn tail ends a file and nothing else, what is covered goes.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use asterism_proto::v1::{self, Mark};
use asterism_proto::{FrameDraft, Origin, OriginKey, Role};
use proptest::prelude::*;

use super::*;

fn dialer() -> Origin {
    Origin::Role(Role::Dialer)
}

fn frame(epoch: u8, number: u64, size: usize) -> Vec<u8> {
    let draft =
        FrameDraft { fleet: "f", origin: &dialer(), epoch: [epoch; 16], number, term: 1, based_on: 0 };
    draft.sign(&OriginKey::from_entropy([3; 32]), vec![vec![number as u8; size]]).unwrap()
}

fn push(spool: &Spool, number: u64, size: usize) {
    spool.push(&dialer(), [1; 16], number, &frame(1, number, size));
}

fn log_key() -> OriginKey {
    OriginKey::from_entropy([4; 32])
}

fn notice(number: u64) -> v1::NoticeBody {
    let mark = Mark { origin: dialer().to_string(), epoch: vec![1; 16], number };
    v1::NoticeBody { fleet: "f".to_owned(), size: number + 1, marks: vec![mark], ..Default::default() }
}

/// As the ledger says it: all up to this number is in the log.
fn cover(spool: &Spool, number: u64) {
    let signed = notice::sign(&log_key(), vec![], notice(number)).encode_to_vec();
    spool.hear(&signed, "f", log_key().public()).unwrap();
}

fn given(spool: &Spool, from: u64) -> Vec<Vec<u8>> {
    spool.held().resend(&(dialer(), [1; 16]), from).iter().map(|frame| frame.to_vec()).collect()
}

/// The files with frames, oldest first.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("0")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

#[test]
fn what_a_process_left_is_given_again_and_goes_when_covered() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    (1..=5).for_each(|number| push(&spool, number, 100));
    spool.flush();
    let other = Spool::open(dir.path()).unwrap();
    assert_eq!(other.status().borrow().frames, 0, "the folder of a living process is its own");
    drop((spool, other));

    let spool = Spool::open(dir.path()).unwrap();
    assert_eq!(given(&spool, 3), [3, 4, 5].map(|number| frame(1, number, 100)));
    cover(&spool, 4);
    assert_eq!((given(&spool, 4), given(&spool, 5)), (vec![], vec![frame(1, 5, 100)]));
    push(&spool, 6, 100);
    spool.flush();
    assert_eq!(files(dir.path()).len(), 2, "a file of an earlier life is not written to");
    cover(&spool, 6);
    spool.flush();
    assert_eq!((files(dir.path()), spool.status().borrow().frames), (vec![], 0));
    push(&spool, 7, 100);
    drop(spool);
    let spool = Spool::open(dir.path()).unwrap();
    assert_eq!(given(&spool, 7), [frame(1, 7, 100)], "the last one out syncs what waits");
}

#[test]
fn files_are_closed_at_checkpoints_so_that_a_busy_origin_frees_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    for number in 1..=400 {
        push(&spool, number, 5_000);
        if number % 100 == 0 {
            cover(&spool, number - 3);
            spool.flush();
            let bytes: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
            assert!(bytes < 200 * 5_200, "{bytes} bytes on disk at frame {number}");
        }
    }
    assert_eq!(given(&spool, 398).len(), 3);
}

#[tokio::test]
async fn a_full_spool_says_so_and_a_checkpoint_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open_with(dir.path(), 1_000).unwrap();
    let health = Health::new("dialer", &[]);
    tokio::spawn(spool.clone().report(health.clone()));
    (1..=5).for_each(|number| push(&spool, number, 200));
    let says = async |text: &str| {
        let wait = async {
            while !health.readiness().checks.get("spool").is_some_and(|says| says.contains(text)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    };
    says("AST-R062").await;
    assert_eq!(given(&spool, 1).len(), 2);
    cover(&spool, 2);
    says("ok").await;
    push(&spool, 3, 200);
    assert_eq!(given(&spool, 3).len(), 1);
}

#[tokio::test]
async fn a_notice_that_the_log_key_did_not_sign_drops_nothing_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    (1..=5).for_each(|number| push(&spool, number, 100));
    let signed = notice::sign(&log_key(), vec![], notice(5));
    let elsewhere = v1::NoticeBody { fleet: "g".to_owned(), ..notice(5) };
    let mut bent = signed.clone();
    *bent.body.last_mut().unwrap() ^= 1;
    let refused = [
        (v1::CheckpointNotice { body: vec![], signature: vec![], ..signed.clone() }, NoticeError::Unsigned),
        (notice::sign(&OriginKey::from_entropy([5; 32]), vec![], notice(5)), NoticeError::Signature),
        (bent, NoticeError::Signature),
        (notice::sign(&log_key(), vec![], elsewhere), NoticeError::Fleet),
    ];
    for (number, (notice, error)) in (1..).zip(refused) {
        let heard = spool.hear(&notice.encode_to_vec(), "f", log_key().public());
        assert_eq!((heard, spool.status().borrow().refused), (Err(error), number));
        assert_eq!(given(&spool, 1).len(), 5);
    }
    cover(&spool, 3);
    cover(&spool, 2);
    assert_eq!((given(&spool, 3).len(), given(&spool, 4).len()), (0, 2), "an old one changes nothing");
    let health = Health::new("dialer", &[]);
    let reporting = tokio::spawn(spool.clone().report(health.clone()));
    tokio::time::timeout(Duration::from_secs(10), async {
        while !health.metrics().text().contains("asterism_spool_notices_refused 4") {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    reporting.abort();
}

#[test]
fn the_next_life_knows_how_new_a_checkpoint_must_be() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    push(&spool, 1, 100);
    cover(&spool, 6);
    (7..=9).for_each(|number| push(&spool, number, 100));
    drop(spool);
    let spool = Spool::open(dir.path()).unwrap();
    // Before this term there was another, and its last checkpoint is told again.
    let former = Mark { origin: dialer().to_string(), epoch: vec![0; 16], number: 9 };
    let old = v1::NoticeBody { size: 5, marks: vec![former], ..notice(0) };
    let old = notice::sign(&log_key(), vec![], old).encode_to_vec();
    spool.hear(&old, "f", log_key().public()).unwrap();
    assert_eq!(given(&spool, 7).len(), 3);
    cover(&spool, 8);
    assert_eq!(given(&spool, 9).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_torn_tail_costs_the_frames_it_tore_and_no_more(
        sizes in proptest::collection::vec(1usize..2_000, 1..20), covered in 0u64..20, cut in any::<u16>(), flip: bool
    ) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        let frames: Vec<_> = (1..).zip(&sizes).map(|(number, size)| frame(1, number, *size)).collect();
        (1..).zip(&sizes).for_each(|(number, size)| push(&spool, number, *size));
        let covered = covered.min(frames.len() as u64);
        cover(&spool, covered);
        drop(spool);
        let Some(path) = files(dir.path()).pop() else {
            prop_assert_eq!(covered, frames.len() as u64);
            return Ok(());
        };
        let mut bytes = std::fs::read(&path).unwrap();
        let at = usize::from(cut) % bytes.len();
        if flip { bytes[at] ^= 1 } else { bytes.truncate(at) }
        std::fs::write(&path, &bytes).unwrap();
        let mut end = 0;
        let whole = frames.iter().take_while(|frame| { end += frame.len() + 8; end <= at }).count();
        let spool = Spool::open(dir.path()).unwrap();
        prop_assert_eq!(given(&spool, 1), &frames[..whole]);
        let next = frames.len() as u64 + 1;
        push(&spool, next, 10);
        drop(spool);
        let spool = Spool::open(dir.path()).unwrap();
        prop_assert_eq!(given(&spool, next), vec![frame(1, next, 10)]);
    }

    #[test]
    fn any_file_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for record in files::records(&bytes) {
            let _ = asterism_proto::OpenFrame::read(record);
        }
    }
}
