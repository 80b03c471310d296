//! Files in, objects out: what is stored, what is refused and why.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use asterism_audio::{NARROW_HZ, wav};
use asterism_domain::media::PromptEntry;
use asterism_object_store::{FolderStore, ObjectMeta, Page, Upload, list_all};
use async_trait::async_trait;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const DEMO: Set<'_> = Set { name: "demo", formats: &DEFAULT_FORMATS };

fn source(file_name: &str, bytes: impl Into<Bytes>) -> Source {
    Source { file_name: file_name.to_owned(), language: "en".to_owned(), bytes: bytes.into() }
}

fn tone(samples: usize) -> Vec<i16> {
    (0..samples).map(|n| if n % 8 < 4 { 8_000 } else { -8_000 }).collect()
}

#[test]
fn what_is_no_prompt_is_refused_with_the_way_out() {
    let good = wav::write(&tone(80), NARROW_HZ);
    assert_eq!(convert(&source("tone.wav", good.clone()), &Format::ALL).unwrap().measured.duration_ms, 10);
    for name in ["A.wav", "a b.wav", "ü.wav", ".wav", "../a.wav", "a.b.wav"] {
        assert_eq!(convert(&source(name, good.clone()), &Format::ALL), Err(PromptError::Name), "{name}");
    }
    for name in ["a", "a.gsm", "a.pcm", "a.raw"] {
        assert_eq!(convert(&source(name, vec![0; 8]), &Format::ALL), Err(PromptError::Extension), "{name}");
    }
    let refused = convert(&source("a.flac", good), &Format::ALL).unwrap_err();
    assert_eq!(refused.code(), "AST-M022");
}

#[tokio::test]
async fn publishing_makes_blobs_and_a_manifest_and_repeating_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).await.unwrap();
    let sources =
        [source("welcome.wav", wav::write(&tone(80), NARROW_HZ)), source("bye.ulaw", vec![0xff; 160])];
    let first = publish(&store, DEMO, &sources, &untold).await.unwrap();
    assert_eq!(first.unchanged, 0);
    let Event::ManifestPublished { manifest, object, sha256, prompts, size_bytes, .. } = &first.event else {
        panic!("{:?}", first.event)
    };
    assert_eq!((*prompts, *size_bytes), (2, 240));
    let document = store.get(&ObjectName::new(object.clone()).unwrap(), 10_000).await.unwrap();
    assert_eq!(Sha256::digest(&document).to_vec(), *sha256);
    assert_eq!(ManifestDoc::parse(&document).unwrap().id().as_ref(), Ok(manifest));
    for entry in &first.manifest.entries {
        let hash = &entry.sha256;
        let blob = ObjectName::new(format!("blobs/sha256/{}/{hash}", &hash[..2])).unwrap();
        assert_eq!(store.get(&blob, 10_000).await.unwrap().len() as u64, entry.size_bytes);
    }
    let reversed: Vec<Source> = sources.iter().rev().cloned().collect();
    let second = publish(&store, DEMO, &reversed, &untold).await.unwrap();
    assert_eq!((second.manifest_id, second.unchanged), (first.manifest_id, 2));
    assert_eq!(list_all(&store, "", 100).await.unwrap().len(), 4);
    let bundle = store.get(&bundle_object(manifest).unwrap(), 10_000).await.unwrap();
    let [bye, welcome] = [&second.sounds[0].files[0].1, &second.sounds[1].files[0].1];
    assert_eq!(bundle, [bye.as_ref(), welcome.as_ref()].concat(), "in the manifest's order");
}

/// A folder that counts the sounds and documents it is sent.
#[derive(Debug)]
struct Counting(FolderStore, AtomicUsize);

#[async_trait]
impl ObjectStore for Counting {
    async fn put_if_absent(&self, name: &ObjectName, bytes: Bytes) -> Result<PutResult, object_store::Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.put_if_absent(name, bytes).await
    }
    async fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), object_store::Error> {
        self.0.put(name, bytes).await
    }
    async fn get(&self, name: &ObjectName, max_bytes: u64) -> Result<Bytes, object_store::Error> {
        self.0.get(name, max_bytes).await
    }
    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectMeta>, object_store::Error> {
        self.0.head(name).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectName>,
        limit: usize,
    ) -> Result<Page, object_store::Error> {
        self.0.list(prefix, after, limit).await
    }
    async fn delete(&self, name: &ObjectName) -> Result<(), object_store::Error> {
        self.0.delete(name).await
    }
    async fn fetch_url(&self, name: &ObjectName, valid_for_s: u32) -> Result<String, object_store::Error> {
        self.0.fetch_url(name, valid_for_s).await
    }
    async fn upload_url(
        &self,
        name: &ObjectName,
        sha256: &[u8; 32],
        valid_for_s: u32,
    ) -> Result<Upload, object_store::Error> {
        self.0.upload_url(name, sha256, valid_for_s).await
    }
}

#[tokio::test]
async fn each_format_is_a_file_of_its_own_and_what_was_sent_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Counting(FolderStore::open(folder.path()).await.unwrap(), AtomicUsize::new(0));
    let sources: Vec<Source> =
        (1..=20).map(|n| source(&format!("p{n}.wav"), wav::write(&tone(80 * n), 16_000))).collect();
    let all = Set { formats: &Format::ALL, ..DEMO };
    // It broke off after the first five.
    publish(&store, Set { name: "part", ..all }, &sources[..5], &untold).await.unwrap();
    let published = publish(&store, all, &sources, &untold).await.unwrap();
    assert_eq!((published.manifest.entries.len(), published.unchanged), (60, 15));
    assert_eq!(store.1.load(Ordering::Relaxed), 60 + 2, "each sound once, and two manifests");
    for sound in &published.sounds {
        let ms = sound.measured.duration_ms;
        let sizes: Vec<(&str, u64)> =
            sound.files.iter().map(|(format, bytes)| (format.extension(), bytes.len() as u64)).collect();
        assert_eq!(sizes, [("ulaw", ms * 8), ("alaw", ms * 8), ("sln16", ms * 32)], "{}", sound.name);
    }
    let names: Vec<&str> = published.sounds.iter().map(|sound| sound.name.as_str()).collect();
    let wanted: Vec<String> = (1..=20).map(|n| format!("p{n}")).collect();
    assert_eq!(names, wanted, "in the order of the files, whichever was ready first");
    assert_eq!(publish(&store, all, &sources, &untold).await.unwrap().unchanged, 60);
}

#[test]
fn every_trick_of_a_name_is_told_at_once() {
    let good = wav::write(&tone(80), NARROW_HZ);
    let long = "x".repeat(65) + ".wav";
    let names = [
        "../up.wav",
        "/etc/passwd.wav",
        "a/b.wav",
        "a\\b.wav",
        "a\0b.wav",
        "..wav",
        ".wav",
        " a.wav",
        "a .wav",
        "a\u{430}.wav",
        "\u{202e}a.wav",
        "caf\u{e9}.wav",
        "A.wav",
        "a\n.wav",
        "%2e%2e.wav",
        long.as_str(),
    ];
    let mut sources: Vec<Source> = names.iter().map(|name| source(name, good.clone())).collect();
    sources.extend(["twice.wav", "twice.mp3", "twice.ulaw"].map(|name| source(name, good.clone())));
    let Err(Error::Prompts(problems)) = prepare(DEMO, &sources, &untold) else {
        panic!("all of it is published")
    };
    for name in names {
        let found: Vec<&str> =
            problems.iter().filter(|(file, _)| file == name).map(|(_, problem)| problem.code()).collect();
        assert_eq!(found, ["AST-M020"], "{name:?}");
    }
    let rest: Vec<(&str, &str)> =
        problems[names.len()..].iter().map(|(file, problem)| (file.as_str(), problem.code())).collect();
    let twice = [("twice.mp3", "AST-M028"), ("twice.mp3", "AST-M022"), ("twice.ulaw", "AST-M028")];
    assert_eq!(rest, twice);
    let shown = Error::Prompts(problems).to_string();
    assert!(!shown.contains('\0') && !shown.contains('\u{202e}'), "a terminal is safe: {shown:?}");
}

#[tokio::test]
async fn one_bad_file_publishes_nothing_and_every_bad_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).await.unwrap();
    let sources = [
        source("welcome.wav", wav::write(&tone(80), NARROW_HZ)),
        source("welcome.ulaw", vec![0xff; 160]),
        source("Bad Name.wav", wav::write(&tone(80), NARROW_HZ)),
        source("song.gsm", vec![0; 80]),
    ];
    let error = publish(&store, DEMO, &sources, &untold).await.unwrap_err();
    assert_eq!(error.code(), "AST-M028");
    assert_eq!(error.to_string().lines().count(), 3);
    assert!(error.to_string().contains("\"song.gsm\": AST-M021"), "{error}");
    let good = [source("welcome.wav", wav::write(&tone(80), NARROW_HZ))];
    assert_eq!(
        publish(&store, Set { name: "Demo", ..DEMO }, &good, &untold).await.unwrap_err().code(),
        "AST-M005"
    );
    let english = [Source { language: "english".to_owned(), ..good[0].clone() }];
    assert_eq!(publish(&store, DEMO, &english, &untold).await.unwrap_err().code(), "AST-M006");
    assert!(list_all(&store, "", 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_flow_is_published_once_and_only_if_it_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).await.unwrap();
    let text = include_bytes!("../../../../compose/demo/flow.toml");
    let (flow, event) = publish_flow(&store, text).await.unwrap();
    assert_eq!(publish_flow(&store, text).await.unwrap().1, event);
    let object = flow_object(flow.id()).unwrap();
    assert_eq!(store.get(&object, 10_000).await.unwrap(), &text[..]);
    assert_eq!(publish_flow(&store, b"name = 1").await.unwrap_err().code(), "AST-F005");
    store.put(&object, Bytes::from_static(b"somebody wrote over it")).await.unwrap();
    assert_eq!(publish_flow(&store, text).await.unwrap_err().code(), "AST-B005");
}

#[tokio::test]
async fn the_prompts_of_the_demo_are_all_its_flow_plays() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compose/demo");
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).await.unwrap();
    let sources = read_folder(&demo.join("prompts"), "en").unwrap();
    let size_bytes: usize = sources.iter().map(|source| source.bytes.len()).sum();
    assert!(size_bytes < 200_000, "{size_bytes} bytes are too many for a repository");
    let published = publish(&store, DEMO, &sources, &untold).await.unwrap();
    let flow = Flow::parse_bytes(&fs::read(demo.join("flow.toml")).unwrap()).unwrap();
    assert_eq!(published.manifest.missing(flow.prompts()), Vec::<&str>::new());
    assert_eq!(published.manifest.prompts().len(), flow.prompts().len(), "a prompt nobody hears");
    for sound in &published.sounds {
        assert!(
            (500..6_000).contains(&sound.measured.duration_ms),
            "{} lasts {} ms",
            sound.name,
            sound.measured.duration_ms
        );
        assert!(
            (8_000..32_000).contains(&sound.measured.peak),
            "{} peaks at {}",
            sound.name,
            sound.measured.peak
        );
    }
}

#[test]
fn a_folder_is_read_in_order_and_refused_when_there_is_nothing_in_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read_folder(folder.path(), "en").unwrap_err().code(), "AST-M031");
    assert_eq!(read_folder(&folder.path().join("no"), "en").unwrap_err().code(), "AST-M030");
    for name in ["b.wav", "a.ulaw", ".hidden"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let names: Vec<String> =
        read_folder(folder.path(), "en").unwrap().into_iter().map(|s| s.file_name).collect();
    assert_eq!(names, ["a.ulaw", "b.wav"]);
}

#[tokio::test]
async fn folders_of_a_folder_are_languages_of_one_set() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = FolderStore::open(objects.path()).await.unwrap();
    for (path, code) in
        [("hello.ulaw", 1_u8), ("de/hello.ulaw", 2), ("en_GB/hello.ulaw", 1), ("de/bye.ulaw", 4)]
    {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![code; 800]).unwrap();
    }
    let sources = read_folder(folder.path(), "en").unwrap();
    let steps = std::sync::Mutex::new(Vec::new());
    let published = publish(&store, DEMO, &sources, &|step| steps.lock().unwrap().push(step)).await.unwrap();
    let paths: Vec<String> = published.manifest.entries.iter().map(PromptEntry::path).collect();
    assert_eq!(paths, ["de/bye.ulaw", "de/hello.ulaw", "en/hello.ulaw", "en_GB/hello.ulaw"]);
    assert_eq!(published.manifest.size_bytes(), 2_400, "what two languages share is there once");
    let steps = steps.into_inner().unwrap();
    assert_eq!(steps.len(), 8, "each file converted, each sound sent");
    assert_eq!(steps.last(), Some(&Step::Sent { sounds: 4, of: 4 }));

    fs::write(folder.path().join("de/hello.wav"), "x").unwrap();
    let refused = prepare(DEMO, &read_folder(folder.path(), "en").unwrap(), &untold).unwrap_err();
    assert!(refused.to_string().contains("\"de/hello.wav\": AST-M028: hello.ulaw"), "{refused}");
    fs::create_dir(folder.path().join("drafts")).unwrap();
    assert_eq!(read_folder(folder.path(), "en").unwrap_err().code(), "AST-M032");
}
