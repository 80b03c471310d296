//! Files in, objects out: what is stored, what is refused and why.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use asterism_object_store::{FolderStore, list_all};
use proptest::prelude::*;

use super::*;

fn source(file_name: &str, bytes: impl Into<Bytes>) -> Source {
    Source { file_name: file_name.to_owned(), bytes: bytes.into() }
}

fn tone(samples: usize) -> Vec<i16> {
    (0..samples).map(|n| if n % 8 < 4 { 8_000 } else { -8_000 }).collect()
}

/// A WAV file with any format chunk and size field.
fn wav_with(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8], claimed: u32) -> Vec<u8> {
    let mut out = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0odd\0fmt \x10\0\0\0".to_vec();
    out.extend(tag.to_le_bytes().into_iter().chain(channels.to_le_bytes()));
    out.extend(rate_hz.to_le_bytes().into_iter().chain([0; 6]).chain(bits.to_le_bytes()));
    out.extend_from_slice(b"data");
    out.extend_from_slice(&claimed.to_le_bytes());
    out.extend_from_slice(data);
    out
}

fn refused(bytes: &[u8]) -> &'static str {
    convert(&source("a.wav", bytes.to_vec())).expect_err("the file is refused").code()
}

#[test]
fn what_is_written_reads_back() {
    let samples = tone(800);
    assert_eq!(wav::read(&wav::write(&samples)), Ok(Wav::Pcm(samples.clone())));
    let sound = convert(&source("tone.wav", wav::write(&samples))).unwrap();
    assert_eq!((sound.name.as_str(), sound.duration_ms, sound.ulaw.len()), ("tone", 100, 800));
    assert_eq!(sound.peak, g711::decode(g711::encode(8_000)).unsigned_abs());
    assert_eq!(convert(&source("tone.ulaw", sound.ulaw.clone())).unwrap(), sound);
}

#[test]
fn the_kinds_of_wav_a_prompt_may_be() {
    let data: Vec<u8> = [100i16, 300, -100, -300].iter().flat_map(|s| s.to_le_bytes()).collect();
    let read =
        |tag, channels, bits, claimed| wav::read(&wav_with(tag, channels, 8_000, bits, &data, claimed));
    assert_eq!(read(1, 1, 16, 8), Ok(Wav::Pcm(vec![100, 300, -100, -300])));
    assert_eq!(read(1, 2, 16, 8), Ok(Wav::Pcm(vec![200, -200])), "two channels are mixed");
    assert_eq!(read(7, 1, 8, 8), Ok(Wav::Ulaw(data.clone())));
    assert_eq!(read(1, 1, 16, 4), Ok(Wav::Pcm(vec![100, 300])), "what follows the sound is not played");
    for unknown in [0, 0x7fff_f000, 0xffff_ffff] {
        assert_eq!(read(1, 1, 16, unknown), Ok(Wav::Pcm(vec![100, 300, -100, -300])), "written to a pipe");
    }
}

#[test]
fn other_sounds_are_refused_with_the_way_out() {
    let data = [0u8; 8];
    for (bytes, code) in [
        (wav_with(1, 1, 44_100, 16, &data, 8), "AST-M024"),
        (wav_with(1, 1, 16_000, 16, &data, 8), "AST-M024"),
        (wav_with(1, 1, 8_000, 24, &data, 8), "AST-M025"),
        (wav_with(1, 6, 8_000, 16, &data, 8), "AST-M025"),
        (wav_with(6, 1, 8_000, 8, &data, 8), "AST-M025"),
        (wav_with(0x31, 1, 8_000, 0, &data, 8), "AST-M025"),
        (wav_with(1, 1, 8_000, 16, &data, 100), "AST-M023"),
        (wav_with(1, 1, 8_000, 16, &data[..7], 7), "AST-M023"),
        (wav_with(1, 2, 8_000, 16, &data[..6], 6), "AST-M023"),
        (wav_with(1, 1, 8_000, 16, &[], 0), "AST-M026"),
        (wav::write(&tone(8))[..30].to_vec(), "AST-M023"),
        (b"RIFF\0\0\0\0WAVE".to_vec(), "AST-M023"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0".to_vec(), "AST-M022"),
        (b"ID3 an mp3 in disguise".to_vec(), "AST-M022"),
        (Vec::new(), "AST-M022"),
    ] {
        assert_eq!(refused(&bytes), code);
    }
    let message = convert(&source("a.wav", wav_with(1, 1, 44_100, 16, &data, 8))).unwrap_err().to_string();
    assert!(message.contains("44100 Hz") && message.contains("sox"), "{message}");
    for name in ["A.wav", "a b.wav", "ü.wav", ".wav", "../a.wav", "a.b.wav"] {
        let sound = wav::write(&tone(8));
        assert_eq!(convert(&source(name, sound)), Err(PromptError::Name), "{name}");
    }
    for name in ["a", "a.mp3", "a.WAV", "a.pcm"] {
        assert_eq!(convert(&source(name, vec![0; 8])), Err(PromptError::Extension), "{name}");
    }
}

#[tokio::test]
async fn publishing_makes_blobs_and_a_manifest_and_repeating_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path()).await.unwrap();
    let sources = [source("welcome.wav", wav::write(&tone(80))), source("bye.ulaw", vec![0xff; 160])];
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
        source("welcome.wav", wav::write(&tone(80))),
        source("welcome.ulaw", vec![0xff; 160]),
        source("Bad Name.wav", wav::write(&tone(80))),
        source("song.mp3", vec![0; 80]),
    ];
    let error = publish(&store, "demo", "en", &sources).await.unwrap_err();
    assert_eq!(error.code(), "AST-M028");
    assert_eq!(error.to_string().lines().count(), 3);
    assert!(error.to_string().contains("\"song.mp3\": AST-M021"), "{error}");
    let good = [source("welcome.wav", wav::write(&tone(80)))];
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
        assert!((500..6_000).contains(&sound.duration_ms), "{} lasts {} ms", sound.name, sound.duration_ms);
        assert!((8_000..32_000).contains(&sound.peak), "{} peaks at {}", sound.name, sound.peak);
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

proptest! {
    #[test]
    fn any_bytes_are_a_sound_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = convert(&source("a.wav", bytes));
    }

    #[test]
    fn a_damaged_wav_is_a_sound_or_refused_without_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), keep in any::<prop::sample::Index>()) {
        let mut bytes = wav_with(1, 2, 8_000, 16, &[7; 64], 64);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(keep.index(bytes.len() + 1));
        let _ = convert(&source("a.wav", bytes));
    }

    #[test]
    fn samples_survive_the_file(samples in proptest::collection::vec(any::<i16>(), 1..300)) {
        prop_assert_eq!(wav::read(&wav::write(&samples)), Ok(Wav::Pcm(samples)));
    }
}
