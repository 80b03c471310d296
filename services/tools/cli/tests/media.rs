//! `asterism media publish` as people run it: what it says of each file, and what it refuses.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn publish(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asterism"))
        .current_dir(dir)
        .env_clear()
        .args(["media", "publish", "--dry-run"])
        .args(args)
        .output()
        .unwrap()
}

/// A folder with three sounds: a good one, a clipped one and a silent one.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let prompts = dir.path().join("prompts");
    std::fs::create_dir(&prompts).unwrap();
    let square = |low: u8, high: u8| -> Vec<u8> {
        (0..8_000u32).map(|n| if n % 16 < 8 { low } else { high }).collect()
    };
    std::fs::write(prompts.join("good.ulaw"), square(0xb0, 0x30)).unwrap();
    std::fs::write(prompts.join("silent.alaw"), vec![0xd5; 4_000]).unwrap();
    std::fs::write(prompts.join("clipped.wav"), wav(&square(0x7f, 0x80))).unwrap();
    dir
}

/// A WAV of 16 kHz at full scale where a byte has its highest bit, else at its opposite.
fn wav(bytes: &[u8]) -> Vec<u8> {
    let mut out =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0".to_vec();
    out.extend(
        bytes.iter().flat_map(|byte| if byte & 0x80 == 0 { i16::MAX } else { i16::MIN }.to_le_bytes()),
    );
    out
}

#[test]
fn each_file_is_measured_and_made_in_every_format_asked_for() {
    let dir = folder();
    let formats = ["--format", "sln16", "--format", "ulaw", "--format", "ulaw"];
    let args = [&["prompts", "--json", "--language", "de"][..], &formats].concat();
    let ran = publish(dir.path(), &args);
    assert!(ran.status.success(), "{ran:?}");
    let value: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let files: Vec<String> = value["prompts"].as_array().unwrap().iter().map(path).collect();
    let wanted = ["clipped.sln16", "clipped.ulaw", "good.sln16", "good.ulaw", "silent.sln16", "silent.ulaw"];
    assert_eq!(files, wanted.map(|file| format!("de/{file}")));
    let sounds = value["sounds"].as_array().unwrap();
    let told: Vec<(&str, u64, &Value)> = sounds
        .iter()
        .map(|s| (s["name"].as_str().unwrap(), s["duration_ms"].as_u64().unwrap(), &s["warnings"]))
        .collect();
    assert_eq!(told[0], ("clipped", 500, &serde_json::json!(["clipped", "loud"])));
    assert_eq!(told[1], ("good", 1_000, &serde_json::json!([])));
    assert_eq!(told[2], ("silent", 500, &serde_json::json!(["silent"])));
    assert!(sounds[2]["loudness_lufs"].is_null(), "what cannot be measured is not zero");

    let text = publish(dir.path(), &["prompts"]);
    let (out, err) = (String::from_utf8(text.stdout).unwrap(), String::from_utf8(text.stderr).unwrap());
    assert!(out.contains("LUFS") && out.contains("prompts: 3 prompts would be published"), "{out}");
    assert!(err.contains("warning: clipped: clipped") && err.contains("warning: silent: silent"), "{err}");
}

fn path(entry: &Value) -> String {
    let field = |name: &str| entry[name].as_str().unwrap().to_owned();
    format!("{}/{}.{}", field("language"), field("name"), field("ext"))
}

#[test]
fn files_need_a_name_and_are_refused_all_at_once() {
    let dir = folder();
    let two = ["prompts/good.ulaw", "prompts/silent.alaw"];
    assert_eq!(publish(dir.path(), &two).status.code(), Some(2));
    let named = publish(dir.path(), &[&two[..], &["--name", "few"]].concat());
    assert!(named.status.success(), "{named:?}");
    for (args, code) in [
        (["prompts", "--language", "english"], "AST-U046"),
        (["prompts", "--name", "a b"], "AST-U044"),
        (["prompts", "--format", "g722"], "expected one of ulaw, alaw, sln16"),
    ] {
        let ran = publish(dir.path(), &args);
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert!(String::from_utf8_lossy(&ran.stderr).contains(code), "{ran:?}");
    }
    for name in ["good.wav", "Good.ulaw", "b\u{f6}se.flac"] {
        std::fs::write(dir.path().join("prompts").join(name), b"no sound").unwrap();
    }
    let ran = publish(dir.path(), &["prompts"]);
    assert_eq!(ran.status.code(), Some(1));
    let err = String::from_utf8(ran.stderr).unwrap();
    for problem in ["\"Good.ulaw\": AST-M020", "\"good.wav\": AST-M028", "\"good.wav\": AST-M022", "AST-M020"]
    {
        assert!(err.contains(problem), "{err}");
    }
    assert_eq!(err.matches("AST-M020").count(), 2, "{err}");
}
