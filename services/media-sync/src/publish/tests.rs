//! Files in, objects out: what is stored, what is refused and why.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use asterism_audio::{NARROW_HZ, wav};
use asterism_object_store::{FolderStore, list_all};

use super::*;

fn source(file_name: &str, bytes: impl Into<Bytes>) -> Source {
    Source { file_name: file_name.to_owned(), bytes: bytes.into() }
}

fn tone(samples: usize) -> Vec<i16> {
    (0..samples).map(|n| if n % 8 < 4 { 8_000 } else { -8_000 }).collect()
}

#[test]
fn what_is_no_prompt_is_refused_with_the_way_out() {
    let good = wav::write(&tone(80), NARROW_HZ);
    assert_eq!(convert(&source("tone.wav", good.clone())).unwrap().measured.duration_ms, 10);
    for name in ["A.wav", "a b.wav", "ü.wav", ".wav", "../a.wav", "a.b.wav"] {
        assert_eq!(convert(&source(name, good.clone())), Err(PromptError::Name), "{name}");
    }
    for name in ["a", "a.gsm", "a.pcm", "a.raw"] {
        assert_eq!(convert(&source(name, vec![0; 8])), Err(PromptError::Extension), "{name}");
    }
    let refused = convert(&source("a.flac", good)).unwrap_err();
    assert_eq!(refused.code(), "AST-M022");
}

#[tokio::test]
async fn publishing_makes_blobs_and_a_manifest_and_repeating_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).await.unwrap();
    let sources =
        [source("welcome.wav", wav::write(&tone(80), NARROW_HZ)), source("bye.ulaw", vec![0xff; 160])];
    let first = publish(&store, "demo", "en", &sources).await.unwrap();
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
    let second = publish(&store, "demo", "en", &reversed).await.unwrap();
    assert_eq!((second.manifest_id, second.unchanged), (first.manifest_id, 2));
    assert_eq!(list_all(&store, "", 100).await.unwrap().len(), 3);
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
    let error = publish(&store, "demo", "en", &sources).await.unwrap_err();
    assert_eq!(error.code(), "AST-M028");
    assert_eq!(error.to_string().lines().count(), 3);
    assert!(error.to_string().contains("\"song.gsm\": AST-M021"), "{error}");
    let good = [source("welcome.wav", wav::write(&tone(80), NARROW_HZ))];
    assert_eq!(publish(&store, "Demo", "en", &good).await.unwrap_err().code(), "AST-M005");
    assert_eq!(publish(&store, "demo", "english", &good).await.unwrap_err().code(), "AST-M006");
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
    let sources = read_folder(&demo.join("prompts")).unwrap();
    let size_bytes: usize = sources.iter().map(|source| source.bytes.len()).sum();
    assert!(size_bytes < 200_000, "{size_bytes} bytes are too many for a repository");
    let published = publish(&store, "demo", "en", &sources).await.unwrap();
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
    assert_eq!(read_folder(folder.path()).unwrap_err().code(), "AST-M031");
    assert_eq!(read_folder(&folder.path().join("no")).unwrap_err().code(), "AST-M030");
    for name in ["b.wav", "a.ulaw", ".hidden"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let names: Vec<String> = read_folder(folder.path()).unwrap().into_iter().map(|s| s.file_name).collect();
    assert_eq!(names, ["a.ulaw", "b.wav"]);
}
