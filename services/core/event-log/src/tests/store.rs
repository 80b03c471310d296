//! One suite for every segment store.

use std::path::Path;

use crate::block::pack;
use crate::error::Error;
use crate::segment::{Backend, OpenStore, SegmentStore};
use crate::testkit::Script;

fn content(store: &mut dyn SegmentStore) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .scan(&mut |first, bytes| {
            found.push((first, bytes.to_vec()));
            Ok(())
        })
        .unwrap();
    found
}

fn blocks() -> Vec<(u64, Vec<u8>)> {
    let script = Script::with_frames(60);
    pack([0; 32], &script.accepted).into_iter().map(|block| (block.first, block.bytes)).collect()
}

fn filled(backend: Backend, folder: &Path, blocks: &[(u64, Vec<u8>)]) -> Box<dyn SegmentStore> {
    let mut store = backend.open(folder).unwrap();
    for (first, bytes) in blocks {
        store.append(*first, bytes).unwrap();
    }
    store.sync().unwrap();
    store
}

fn suite(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let all = blocks();
    assert!(all.len() > 20);

    let mut store = backend.open(&path).unwrap();
    assert_eq!(store.last().unwrap(), None);
    assert!(content(store.as_mut()).is_empty());
    drop(store);

    let mut store = filled(backend, &path, &all);
    assert_eq!(content(store.as_mut()), all);
    assert_eq!(store.last().unwrap(), all.last().map(|(first, _)| *first));
    drop(store);

    // Reopened: all of it, in order.
    let mut store = backend.open(&path).unwrap();
    assert_eq!(content(store.as_mut()), all);

    // An error of the visitor ends the scan and comes back.
    let mut seen = 0;
    let ended = store.scan(&mut |_, _| {
        seen += 1;
        if seen == 3 { Err(Error::Failed) } else { Ok(()) }
    });
    assert!(matches!(ended, Err(Error::Failed)));
    assert_eq!(seen, 3);

    // Cut, then extended again.
    let keep = all.len() / 2;
    store.truncate(all[keep].0).unwrap();
    assert_eq!(content(store.as_mut()), all[..keep]);
    assert_eq!(store.last().unwrap(), Some(all[keep - 1].0));
    for (first, bytes) in &all[keep..] {
        store.append(*first, bytes).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    assert_eq!(content(backend.open(&path).unwrap().as_mut()), all);
    backend.open(&path).unwrap().truncate(0).unwrap();
    assert!(content(backend.open(&path).unwrap().as_mut()).is_empty());
}

#[test]
fn the_sled_store_passes_the_suite() {
    suite(Backend::Sled);
}

#[test]
fn the_file_store_passes_the_suite() {
    suite(Backend::File);
}

#[test]
fn an_unfinished_sled_snapshot_does_not_stop_the_store_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    let all = blocks();
    drop(filled(Backend::Sled, folder.path(), &all));
    let left_over = folder.path().join("snap.0000000000000001.generating");
    std::fs::write(&left_over, b"half").unwrap();
    // The control: raw sled does not open such a folder.
    assert!(sled::open(folder.path()).is_err());
    let mut store = Backend::Sled.open(folder.path()).unwrap();
    assert_eq!(content(store.as_mut()), all);
    assert!(!left_over.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    for backend in [Backend::Sled, Backend::File] {
        let error = backend.open(&file.join("segment")).err().unwrap();
        assert_eq!(error.code(), "AST-L005");
        assert!(error.to_string().contains("file"), "{error}");
    }
}
