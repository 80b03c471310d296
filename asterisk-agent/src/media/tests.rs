//! Manifests come whole or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use asterism_proto::hash::sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn prompt(dir: &Path, name: &str, text: &[u8]) -> v1::Prompt {
    let source = dir.join(format!("source-{}", name.replace('/', "-")));
    fs::write(&source, text).unwrap();
    v1::Prompt {
        name: name.into(),
        ext: "ulaw".into(),
        language: "en".into(),
        sha256: sha256(text).to_vec(),
        size_bytes: text.len() as u64,
        url: format!("file://{}", source.display()),
    }
}

fn order(prompts: Vec<v1::Prompt>) -> v1::SyncOrder {
    v1::SyncOrder { term: 1, manifest: "m1".into(), prompts }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_manifest_is_installed_whole_held_after_a_restart_and_fetched_again_if_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let sounds = dir.path().join("sounds");
    assert!(held(&sounds).unwrap().is_empty());
    let wanted = order(vec![prompt(dir.path(), "hello", b"hi"), prompt(dir.path(), "menu/one", b"press 1")]);
    run(fetch(&sounds, wanted.clone())).unwrap();
    let file = sounds.join("en/m1/menu/one.ulaw");
    assert_eq!(fs::read(&file).unwrap(), b"press 1");
    assert_eq!(held(&sounds).unwrap(), ["m1"]);

    fs::remove_file(dir.path().join("source-hello")).unwrap();
    run(fetch(&sounds, wanted.clone())).expect("what is held is not fetched again");

    fs::write(&file, b"press 2").unwrap();
    assert!(held(&sounds).unwrap().is_empty(), "a changed file is no prompt");
    assert!(run(fetch(&sounds, wanted.clone())).is_err(), "its source is gone");
    fs::write(dir.path().join("source-hello"), b"hi").unwrap();
    run(fetch(&sounds, wanted)).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"press 1");
    assert_eq!(fs::read_dir(sounds.join("en")).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn what_is_not_as_announced_never_appears() {
    let dir = tempfile::tempdir().unwrap();
    let sounds = dir.path().join("sounds");
    let bends: [fn(&mut v1::Prompt); 8] = [
        |p| p.sha256[0] ^= 1,
        |p| p.size_bytes -= 1,
        |p| p.size_bytes += 1,
        |p| p.name = "../../etc/x".into(),
        |p| p.ext = "sh;".into(),
        |p| p.language = "../x".into(),
        |p| p.url = "ftp://x/y".into(),
        |p| p.url = "file:///nonexistent".into(),
    ];
    for bend in bends {
        let mut bad = prompt(dir.path(), "hello", b"hi there");
        bend(&mut bad);
        let error = run(fetch(&sounds, order(vec![prompt(dir.path(), "fine", b"ok"), bad]))).unwrap_err();
        assert!(error.to_string().starts_with("AST-A007"), "{error}");
        assert!(!sounds.join("en/m1").exists() && held(&sounds).unwrap().is_empty());
    }
    let twice = vec![prompt(dir.path(), "a", b"1"), prompt(dir.path(), "a", b"1")];
    assert!(run(fetch(&sounds, order(twice))).is_err());
}

#[test]
fn prompts_come_by_http_too_and_never_longer_than_announced() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let count = stream.read(&mut request).await.unwrap();
                let long = String::from_utf8_lossy(&request[..count]).contains("/long");
                let body = if long { "hellohello" } else { "hello" };
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
            }
        });
        let mut by_http = prompt(dir.path(), "hello", b"hello");
        by_http.url = format!("http://127.0.0.1:{port}/long");
        let error = fetch(dir.path(), order(vec![by_http.clone()])).await.unwrap_err();
        assert!(error.to_string().contains("longer than announced"), "{error}");
        by_http.url = format!("http://127.0.0.1:{port}/x");
        fetch(dir.path(), order(vec![by_http])).await.unwrap();
        assert_eq!(fs::read(dir.path().join("en/m1/hello.ulaw")).unwrap(), b"hello");
        server.abort();
    });
}
