//! The promises of `ObjectStore`, checked on every back end by the same code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "aws")]
#[allow(dead_code)]
mod moto;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use asterism_object_store::{
    Entry, MAX_PAGE_ENTRIES, ObjectName, ObjectStore, PutResult, list_all, open, sha256_name,
};
use bytes::Bytes;

const MIB: u64 = 1024 * 1024;

fn name(s: &str) -> ObjectName {
    ObjectName::new(s).unwrap()
}

/// Every promise in turn; the store must be empty at the start.
async fn conforms(store: Arc<dyn ObjectStore>) {
    absent_objects(&*store).await;
    round_trips(&*store).await;
    one_winner(&store).await;
    replaced_whole(&store).await;
    limits(&*store).await;
    content_names(&*store).await;
    listing(&*store).await;
}

async fn absent_objects(store: &dyn ObjectStore) {
    let nobody = name("absent/nobody");
    assert_eq!(store.get(&nobody, MIB).await.unwrap_err().code(), "AST-B003");
    assert_eq!(store.head(&nobody).await.unwrap(), None);
    store.delete(&nobody).await.unwrap();
    let page = store.list("", None, 10).await.unwrap();
    assert!(page.entries.is_empty() && page.next.is_none());
}

async fn round_trips(store: &dyn ObjectStore) {
    let big: Bytes = (0..3 * MIB).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().into();
    for (at, bytes) in
        [("trip/empty", Bytes::new()), ("trip/small", Bytes::from_static(b"hi")), ("trip/big", big)]
    {
        let at = name(at);
        store.put(&at, bytes.clone()).await.unwrap();
        assert!(store.get(&at, 4 * MIB).await.unwrap() == bytes, "{at} came back different");
        let meta = store.head(&at).await.unwrap().unwrap();
        assert_eq!(meta.size_bytes, bytes.len() as u64);
        assert!(meta.modified_at_ms > 1_500_000_000_000);
        // What an object's name begins with is no object, also where names are folders.
        let above = name("trip");
        assert_eq!(store.head(&above).await.unwrap(), None);
        assert_eq!(store.get(&above, MIB).await.unwrap_err().code(), "AST-B003");
        store.delete(&at).await.unwrap();
        assert_eq!(store.head(&at).await.unwrap(), None);
    }
}

async fn one_winner(store: &Arc<dyn ObjectStore>) {
    for round in 0..5 {
        let at = name(&format!("race/{round}"));
        let writers: Vec<_> = (0..8u8)
            .map(|i| {
                let (store, at) = (Arc::clone(store), at.clone());
                tokio::spawn(
                    async move { (i, store.put_if_absent(&at, vec![i; 1000].into()).await.unwrap()) },
                )
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            let (i, result) = writer.await.unwrap();
            if result == PutResult::Created {
                winners.push(i);
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: winners {winners:?}");
        assert_eq!(store.get(&at, MIB).await.unwrap(), vec![winners[0]; 1000]);
        store.delete(&at).await.unwrap();
        assert_eq!(store.put_if_absent(&at, Bytes::from_static(b"again")).await.unwrap(), PutResult::Created);
        store.delete(&at).await.unwrap();
    }
}

async fn replaced_whole(store: &Arc<dyn ObjectStore>) {
    let at = name("replace/me");
    store.put(&at, vec![0; 100_000].into()).await.unwrap();
    let reader = {
        let (store, at) = (Arc::clone(store), at.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                let seen = store.get(&at, MIB).await.unwrap();
                let kinds: BTreeSet<u8> = seen.iter().copied().collect();
                assert_eq!(kinds.len(), 1, "a mixture of two writes");
                assert_eq!(seen.len(), 100_000 + usize::from(seen[0]));
            }
        })
    };
    for i in 1..=20u8 {
        store.put(&at, vec![i; 100_000 + usize::from(i)].into()).await.unwrap();
    }
    reader.await.unwrap();
    assert_eq!(store.get(&at, MIB).await.unwrap()[0], 20);
    store.delete(&at).await.unwrap();
}

async fn limits(store: &dyn ObjectStore) {
    let at = name("limits/ten");
    store.put(&at, Bytes::from_static(b"0123456789")).await.unwrap();
    assert_eq!(store.get(&at, 10).await.unwrap().len(), 10);
    assert_eq!(store.get(&at, 9).await.unwrap_err().code(), "AST-B004");
    assert_eq!(store.list("../x", None, 1).await.unwrap_err().code(), "AST-B001");
    assert_eq!(list_all(store, "", 0).await.unwrap_err().code(), "AST-B013");
    store.delete(&at).await.unwrap();
}

async fn content_names(store: &dyn ObjectStore) {
    let at = sha256_name(b"prompt");
    assert_eq!(store.put(&at, Bytes::from_static(b"other")).await.unwrap_err().code(), "AST-B005");
    assert_eq!(store.put_if_absent(&at, Bytes::from_static(b"other")).await.unwrap_err().code(), "AST-B005");
    assert_eq!(store.head(&at).await.unwrap(), None);
    assert_eq!(store.put_if_absent(&at, Bytes::from_static(b"prompt")).await.unwrap(), PutResult::Created);
    assert_eq!(store.put_if_absent(&at, Bytes::from_static(b"prompt")).await.unwrap(), PutResult::Exists);
    assert_eq!(store.get(&at, MIB).await.unwrap(), Bytes::from_static(b"prompt"));
    store.delete(&at).await.unwrap();
}

/// Names chosen so that `-` and `.` (before `/`) and letters (after it) meet a folder of the same beginning.
async fn listing(store: &dyn ObjectStore) {
    let mut names =
        ["l/a-b", "l/a.b", "l/a/1", "l/a/2/x", "l/a/2/y", "l/a0", "l/ab/c", "l/b", "m/z"].map(name).to_vec();
    for at in names.iter().rev() {
        store.put(at, Bytes::copy_from_slice(at.as_str().as_bytes())).await.unwrap();
    }
    names.sort();
    let under =
        |prefix: &str| names.iter().filter(|n| n.as_str().starts_with(prefix)).cloned().collect::<Vec<_>>();
    let plain = |entries: Vec<Entry>| entries.into_iter().map(|e| e.name).collect::<Vec<_>>();
    for prefix in ["", "l", "l/", "l/a", "l/a/", "l/a/2", "m/z", "n"] {
        for limit in [1, 2, 3, 5, MAX_PAGE_ENTRIES] {
            let (mut got, mut after) = (Vec::new(), None);
            loop {
                let page = store.list(prefix, after.as_ref(), limit).await.unwrap();
                assert!(page.entries.len() <= limit);
                assert!(page.entries.iter().all(|e| e.size_bytes == e.name.as_str().len() as u64));
                got.extend(plain(page.entries));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(got, under(prefix), "prefix {prefix:?}, pages of {limit}");
        }
    }
    for start in ["l/a/2/xx", "l/a/2/z", "l/a/1/q", "zzz", "a"].map(name) {
        let got = plain(store.list("", Some(&start), 100).await.unwrap().entries);
        let want: Vec<_> = names.iter().filter(|n| **n > start).cloned().collect();
        assert_eq!(got, want, "after {start}");
    }
    assert_eq!(plain(list_all(store, "l/", 100).await.unwrap()), under("l/"));
    for at in &names {
        store.delete(at).await.unwrap();
    }
    assert!(list_all(store, "", 100).await.unwrap().is_empty());
}

async fn open_folder(root: &Path) -> Arc<dyn ObjectStore> {
    open(&format!("file://{}", root.display())).await.unwrap()
}

#[tokio::test]
async fn a_folder_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conforms(open_folder(&dir.path().join("new/media")).await).await;
    let left = std::fs::read_dir(dir.path().join("new/media/.tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary files left behind");
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn a_bucket_conforms() {
    use asterism_object_store::{Location, S3Store};
    let Some(moto) = moto::Moto::start("a_bucket_conforms") else { return };
    moto.make_bucket("conform");
    for prefix in ["", "/deep/er"] {
        let url = format!("s3://conform{prefix}?region=eu-west-1&endpoint=http://127.0.0.1:{}", moto.port);
        let Location::S3(at) = Location::parse(&url).unwrap() else { panic!("{url} is not s3") };
        conforms(Arc::new(S3Store::open_with_key(at, "test", "test").await.unwrap())).await;
    }
}

#[cfg(all(feature = "aws", feature = "server"))]
#[tokio::test]
async fn the_server_on_a_folder_conforms_and_knows_one_key() {
    use std::os::unix::fs::PermissionsExt as _;

    use asterism_object_store::{Error, FolderServer};
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new/s3");
    let server = FolderServer::start(&root, "conform", "an-id", "a-secret").await.unwrap();
    let key_file = dir.path().join("key");
    let mut conformed = 0;
    for (secret, prefix) in [("a-secret", ""), ("a-secret", "/deep/er"), ("another", "")] {
        std::fs::write(&key_file, format!("an-id {secret}\n")).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let url = server.url().replacen("conform", &format!("conform{prefix}"), 1);
        let store = open(&format!("{url}&key_file={}", key_file.display())).await.unwrap();
        if secret == "another" {
            let error = store.put(&name("a"), Bytes::new()).await.unwrap_err();
            assert!(matches!(error, Error::Denied { .. }), "{error}");
            continue;
        }
        conforms(store).await;
        conformed += 1;
    }
    assert_eq!(conformed, 2);
    // What stood there is there for the next server, under the same name in the folder.
    let store = open(&format!("{}&key_file={}", server.url(), key_file.display())).await;
    drop((store, server));
    let server = FolderServer::start(&root, "conform", "an-id", "another").await.unwrap();
    let store = open(&format!("{}&key_file={}", server.url(), key_file.display())).await.unwrap();
    store.put(&name("kept/here"), Bytes::from_static(b"kept")).await.unwrap();
    // In parts, too, one of many is the first.
    let writers: Vec<_> = (0..4u8)
        .map(|i| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.put_if_absent(&name("large"), vec![i; 33 << 20].into()).await.unwrap()
            })
        })
        .collect();
    let mut created = 0;
    for writer in writers {
        created += u32::from(writer.await.unwrap() == PutResult::Created);
    }
    assert_eq!((created, store.get(&name("large"), 64 * MIB).await.unwrap().len()), (1, 33 << 20));
    assert_eq!(std::fs::read(root.join("conform/kept/here")).unwrap(), b"kept");
    drop(server);
    assert!(store.get(&name("kept/here"), MIB).await.unwrap_err().is_transient());
    for bad in ["../up", "UP", "ab"] {
        let error = FolderServer::start(&root, bad, "an-id", "a-secret").await.unwrap_err();
        assert_eq!(error.code(), "AST-B002", "{bad}");
    }
}

#[cfg(not(feature = "aws"))]
#[tokio::test]
async fn a_bucket_needs_the_feature() {
    assert_eq!(open("s3://bucket?region=eu-west-1").await.unwrap_err().code(), "AST-B011");
}

#[tokio::test]
async fn a_folder_reports_rot_clashes_and_a_url() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("with space");
    let store = open(&format!("file://{}/with%20space", dir.path().display())).await.unwrap();
    let at = sha256_name(b"good");
    store.put(&at, Bytes::from_static(b"good")).await.unwrap();
    let url = store.fetch_url(&at, 60).await.unwrap();
    let path = url.strip_prefix("file://").unwrap().replace("%20", " ");
    assert_eq!(std::fs::read(path).unwrap(), b"good");

    std::fs::write(root.join(at.as_str()), b"evil").unwrap();
    assert_eq!(store.get(&at, MIB).await.unwrap_err().code(), "AST-B005");

    store.put(&name("a"), Bytes::new()).await.unwrap();
    assert_eq!(store.put(&name("a/b"), Bytes::new()).await.unwrap_err().code(), "AST-B012");
    assert_eq!(store.put(&name("blobs"), Bytes::new()).await.unwrap_err().code(), "AST-B012");
    assert_eq!(store.put_if_absent(&name("blobs"), Bytes::new()).await.unwrap_err().code(), "AST-B012");
    assert_eq!(store.get(&name("blobs"), MIB).await.unwrap_err().code(), "AST-B003");
    assert_eq!(store.get(&name("a/b"), MIB).await.unwrap_err().code(), "AST-B003");
}

const CHILD_DIR: &str = "ASTERISM_TEST_CHILD_DIR";

/// Kills the child when the test ends, however it ends.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The parent starts this very test again as a writer, kills it at a random moment, and reads what it left.
#[tokio::test]
async fn a_killed_writer_leaves_no_half_object() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let store = open_folder(Path::new(&dir)).await;
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        for i in start.. {
            let bytes = Bytes::from(i.to_le_bytes().repeat(20_000));
            store.put_if_absent(&sha256_name(&bytes), bytes.clone()).await.unwrap();
            store.put(&name("latest"), bytes).await.unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut objects = 0;
    for round in 0..8 {
        let mut child = KillOnDrop(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_killed_writer_leaves_no_half_object"])
                .env(CHILD_DIR, dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let store = open_folder(dir.path()).await;
        let deadline = Instant::now() + Duration::from_secs(30);
        // Progress is seen in the folder; the kill then falls into some step of a later write.
        let before = std::fs::metadata(dir.path().join("latest")).and_then(|m| m.modified()).ok();
        while std::fs::metadata(dir.path().join("latest")).and_then(|m| m.modified()).ok() == before {
            assert!(Instant::now() < deadline, "the writer does not write");
            assert!(child.0.try_wait().unwrap().is_none(), "the writer ended by itself");
            tokio::time::sleep(Duration::from_millis(1 + round)).await;
        }
        drop(child);
        let names = list_all(&*store, "", 100_000).await.unwrap();
        for entry in &names {
            assert_eq!(entry.size_bytes, 160_000, "{} is cut", entry.name);
            store.get(&entry.name, MIB).await.unwrap();
        }
        let latest = store.get(&name("latest"), MIB).await.unwrap();
        assert!(latest.chunks(8).all(|c| c == &latest[..8]), "a mixture of two writes");
        objects = names.len();
    }
    assert!(objects >= 8, "only {objects} objects were written");
}
