//! An archive in a folder: what is stored once, what is refused, what is missing.
#![allow(clippy::unwrap_used, clippy::panic)]

use asterism_event_log::testkit::{FLEET, Script, key_of};
use asterism_event_log::{Copy, LogFolder};
use asterism_proto::{Origin, OriginKey, Role};

use super::*;

/// A log of sealed segments, and an empty archive for it.
struct Fixture {
    dir: tempfile::TempDir,
    script: Script,
    files: Vec<PathBuf>,
    archive: Archive,
}

fn key() -> OriginKey {
    key_of(&Origin::Role(Role::Ledger))
}

/// Seals the script's log after each of these frames; a file for each.
fn seal(folder: &Path, script: &Script, cuts: &[usize]) -> Vec<PathBuf> {
    let mut copy = Copy::open(folder, FLEET, None, |_| {}).unwrap().copy;
    let mut files = Vec::new();
    for (index, frame) in script.accepted.iter().enumerate() {
        copy.append(frame).unwrap();
        if cuts.contains(&(index + 1)) {
            files.push(copy.seal().unwrap().unwrap().path);
        }
    }
    files
}

fn of(store: &Arc<dyn ObjectStore>, script: &Script) -> Archive {
    Archive::new(store.clone(), FLEET, script.sequencer.anchor().unwrap(), key().public())
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::with_frames(60);
    let files = seal(&dir.path().join("log"), &script, &[20, 40, 60]);
    let url = format!("file://{}", dir.path().join("objects").display());
    let store = asterism_object_store::open(&url).await.unwrap();
    Fixture { archive: of(&store, &script), dir, script, files }
}

async fn store_all(fixture: &Fixture) -> Vec<Segment> {
    let mut segments = Vec::new();
    for file in &fixture.files {
        let Stored::Here(segment) = fixture.archive.put_segment(file).await.unwrap() else { panic!("taken") };
        let root = hex::decode(&segment.root).unwrap().try_into().unwrap();
        fixture.archive.put_note(&key(), &TreeHead { size: segment.end, root }).await.unwrap();
        segments.push(segment);
    }
    segments
}

fn object(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.dir.path().join("objects").join(name)
}

#[tokio::test]
async fn what_was_stored_is_fetched_as_a_log_whose_root_is_the_notes() {
    let fixture = fixture().await;
    let stored = store_all(&fixture).await;
    assert_eq!(store_all(&fixture).await, stored, "again does no harm");
    assert_eq!(fixture.archive.segments().await.unwrap(), stored);
    assert_eq!(fixture.archive.chain_from(0).await.unwrap(), stored);
    assert_eq!(fixture.archive.chain_from(stored[0].end).await.unwrap(), stored[1..]);
    let fetched = fixture.dir.path().join("fetched");
    std::fs::create_dir(&fetched).unwrap();
    for segment in &stored {
        fixture.archive.check_note(segment).await.unwrap();
        fixture.archive.fetch(segment, &fetched).await.unwrap();
    }
    let mut frames = LogFolder::open(&fetched, Some(fixture.archive.anchor())).unwrap().frames();
    assert_eq!(frames.by_ref().map(Result::unwrap).count(), 60);
    let (head, _) = fixture.archive.note_at(frames.sequencer().size()).await.unwrap().unwrap();
    assert_eq!(head.root, frames.sequencer().root());
    assert_eq!(
        head.root,
        fixture
            .script
            .accepted
            .iter()
            .take(60)
            .fold(asterism_event_log::merkle::Frontier::new(), |mut tree, frame| {
                frame.leaves.iter().for_each(|leaf| tree.push(*leaf));
                tree
            },)
            .root()
    );
}

#[tokio::test]
async fn a_second_writer_is_told_and_overwrites_nothing() {
    let fixture = fixture().await;
    let stored = store_all(&fixture).await;
    // Another cut of the same log: who came first counts.
    let cut = seal(&fixture.dir.path().join("cut"), &fixture.script, &[30]);
    assert_eq!(fixture.archive.put_segment(&cut[0]).await.unwrap(), Stored::Other(stored[0].clone()));
    assert_eq!(fixture.archive.segments().await.unwrap(), stored);
    // Other bytes under the same name.
    let path = object(&fixture, &stored[1].object);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = fixture.archive.put_segment(&fixture.files[1]).await.unwrap_err();
    assert!(matches!(error, ArchiveError::SecondWriter { .. }) && !error.is_transient(), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(matches!(fixture.archive.bytes(&stored[1]).await, Err(ArchiveError::Damaged { .. })));
    // A signer with two histories.
    let error = fixture.archive.put_note(&key(), &TreeHead { size: stored[0].end, root: [1; 32] }).await;
    assert!(matches!(error, Err(ArchiveError::SecondWriter { .. })), "{error:?}");
    fixture.archive.check_note(&stored[0]).await.unwrap();
}

#[tokio::test]
async fn a_segment_counts_once_its_index_entry_is_there() {
    let fixture = fixture().await;
    let stored = store_all(&fixture).await;
    // As a writer leaves it that was killed between the two.
    std::fs::remove_file(object(&fixture, fixture.archive.index_name(stored[2].first).unwrap().as_str()))
        .unwrap();
    assert_eq!(fixture.archive.chain_from(0).await.unwrap(), stored[..2]);
    assert_eq!(store_all(&fixture).await, stored);
    assert_eq!(fixture.archive.chain_from(0).await.unwrap(), stored);
}

#[tokio::test]
async fn what_is_missing_or_of_another_log_has_a_name() {
    let fixture = fixture().await;
    let code = |error: ArchiveError| error.to_string().split(':').next().unwrap().to_owned();
    assert_eq!(code(fixture.archive.segments().await.unwrap_err()), "AST-R071");
    assert_eq!(fixture.archive.chain_from(0).await.unwrap(), []);
    let stored = store_all(&fixture).await;
    let other = Archive::new(fixture.archive.store.clone(), FLEET, [9; 32], key().public());
    assert_eq!(code(other.segments().await.unwrap_err()), "AST-R073");
    let other = Archive::new(fixture.archive.store.clone(), "elsewhere", [9; 32], key().public());
    assert_eq!(code(other.segments().await.unwrap_err()), "AST-R073");
    let stranger = OriginKey::from_entropy([5; 32]).public();
    let other = Archive::new(fixture.archive.store.clone(), FLEET, fixture.archive.anchor(), stranger);
    assert_eq!(code(other.check_note(&stored[0]).await.unwrap_err()), "AST-R075");

    let note = object(&fixture, fixture.archive.note_name(stored[0].end).unwrap().as_str());
    std::fs::rename(&note, note.with_extension("away")).unwrap();
    assert_eq!(code(fixture.archive.check_note(&stored[0]).await.unwrap_err()), "AST-R075");
    let index = object(&fixture, fixture.archive.index_name(stored[1].first).unwrap().as_str());
    let entry = std::fs::read(&index).unwrap();
    std::fs::remove_file(&index).unwrap();
    assert_eq!(code(fixture.archive.chain_from(0).await.unwrap_err()), "AST-R074");
    let hole = Hole { first: stored[1].first, end: stored[1].end };
    assert_eq!(holes(&fixture.archive.segments().await.unwrap()), [hole]);
    std::fs::write(&index, String::from_utf8(entry).unwrap().replace("\"end\": ", "\"end\": 1")).unwrap();
    assert_eq!(code(fixture.archive.segments().await.unwrap_err()), "AST-R072");
}
