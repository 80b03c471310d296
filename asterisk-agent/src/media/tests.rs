//! Manifests come whole or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use asterism_proto::hash::sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

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
    v1::SyncOrder { term: 1, manifest: "m1".into(), prompts, ..v1::SyncOrder::default() }
}

/// Nobody is asked.
struct Nobody;

impl Addresses for Nobody {
    fn of<'a>(&'a self, _: &'a str, sounds: Vec<Hash>) -> BoxFuture<'a, Result<Vec<String>, String>> {
        panic!("{} sounds are asked for", sounds.len())
    }
}

async fn fetch_from(trust: Trust, sounds: &Path, order: v1::SyncOrder) -> Result<(), Error> {
    let fetcher = Fetcher { trust, ..Fetcher::new(sounds, 0) };
    fetcher.fetch(order, &Nobody).await.map(|fetched| assert_eq!(fetched, Fetched::Held))
}

async fn fetch(sounds: &Path, order: v1::SyncOrder) -> Result<(), Error> {
    fetch_from(Trust::of_process(), sounds, order).await
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

/// An authority and, signed by it, a certificate for these names; the authority as a PEM file.
fn authority(dir: &Path, name: &str, names: &[&str]) -> (PathBuf, ServerConfig) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let path = dir.join(format!("{name}.pem"));
    fs::write(&path, authority.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (path, config)
}

/// A store that speaks TLS. `/moved` points elsewhere, `/long` is longer than announced, all else is `hello`.
async fn store(config: ServerConfig) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            let count = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            assert!(request.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{request}");
            let (status, body) = match request.split(' ').nth(1).unwrap() {
                "/moved" => ("302 Found\r\nLocation: /x?signed=1", ""),
                "/long" => ("200 OK", "hellohello"),
                "/x?signed=1&key=a%2Fb" => ("200 OK", "hello"),
                other => panic!("{other}"),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (port, server)
}

#[test]
fn prompts_come_by_https_from_whom_a_trusted_authority_vouches_for() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (ours, config) = authority(dir.path(), "ours", &["localhost"]);
        let (other, elsewhere) = authority(dir.path(), "other", &["example.org"]);
        let (port, server) = store(config).await;
        let mut one = prompt(dir.path(), "hello", b"hello");
        let mut fetch = async |trust: Trust, port: u16, path: &str| {
            one.url = format!("https://localhost:{port}{path}");
            fetch_from(trust, dir.path(), order(vec![one.clone()])).await.map_err(|error| error.to_string())
        };
        let trust = || Trust::with(&ours);
        for (path, why) in [("/moved", "the server said 302"), ("/long", "longer than announced")] {
            let error = fetch(trust(), port, path).await.unwrap_err();
            assert!(error.starts_with("AST-A007") && error.contains(why), "{error}");
        }
        // Signed by another, and signed by ours but for another name.
        let error = fetch(Trust::with(&other), port, "/x").await.unwrap_err();
        assert!(error.starts_with("AST-A022") && error.contains("UnknownIssuer"), "{error}");
        let (elsewhere_port, second) = store(elsewhere).await;
        let error = fetch(Trust::with(&other), elsewhere_port, "/x").await.unwrap_err();
        assert!(error.starts_with("AST-A022") && error.contains("not valid for"), "{error}");
        assert!(!dir.path().join("en/m1").exists());

        fetch(trust(), port, "/x?signed=1&key=a%2Fb").await.unwrap();
        assert_eq!(fs::read(dir.path().join("en/m1/hello.ulaw")).unwrap(), b"hello");
        server.abort();
        second.abort();
    });
}

#[test]
fn a_file_named_to_be_trusted_holds_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "nothing").unwrap();
    for path in [empty, dir.path().join("none.pem")] {
        let error = trust_file(&path).unwrap_err().to_string();
        assert!(error.starts_with("AST-A001: --media-ca-file"), "{error}");
    }
}
