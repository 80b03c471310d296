//! Receivers that speak TLS: one that the webhook's own authority vouches for, one that another does, one of another name.
#![allow(clippy::unwrap_used)]
use super::*;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// An authority as a PEM file, and the receiver it vouches for under this name.
fn authority(dir: &Path, called: &str, name: &str) -> (PathBuf, ServerConfig) {
    let own = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, called);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let path = dir.join(format!("{called}.pem"));
    fs::write(&path, params.self_signed(&own).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &own);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf =
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (path, config)
}

/// Takes one connection and what comes over it; none where no TLS came about.
async fn serve(config: ServerConfig) -> (u16, JoinHandle<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (peer, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(peer).await.ok()?;
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while !seen.ends_with(b"}") {
            let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            seen.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8(seen).ok()
    });
    (port, task)
}

async fn posted(
    config: ServerConfig,
    ca_file: Option<PathBuf>,
    dir: &Path,
) -> (Result<(), String>, Option<String>) {
    let (port, task) = serve(config).await;
    let file = dir.join("secret");
    fs::write(&file, "correct-horse-battery").unwrap();
    let config = WebhookConfig {
        url: Some(format!("https://localhost:{port}/hook")),
        secret_file: Some(file),
        ca_file,
        timeout_ms: 30_000,
        ..WebhookConfig::default()
    };
    let done = Receiver::new(&config).unwrap().unwrap().post(b"{}".to_vec(), 1_700_000_000).await;
    (done, task.await.unwrap())
}

#[tokio::test]
async fn a_receiver_is_believed_by_the_authority_of_the_configuration_and_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (ours, config) = authority(dir, "ours", "localhost");
    let (done, seen) = posted(config, Some(ours.clone()), dir).await;
    let seen = seen.unwrap();
    assert_eq!(done, Ok(()));
    assert!(
        seen.starts_with("POST /hook HTTP/1.1\r\n") && seen.contains("asterism-signature: t=1700000000,v1=")
    );
    let (_, of_others) = authority(dir, "others", "localhost");
    let (_, unvouched) = authority(dir, "nobody", "localhost");
    let (same, elsewhere) = authority(dir, "same", "example.com");
    for (what, config, ca_file) in [
        ("another authority", of_others, Some(ours)),
        ("no authority of ours", unvouched, None),
        ("another name", elsewhere, Some(same)),
    ] {
        let (done, seen) = posted(config, ca_file, dir).await;
        let why = done.unwrap_err();
        assert!(why.starts_with("no tls: invalid peer certificate"), "{what}: {why}");
        assert_eq!(seen, None, "{what}: nothing of a notice left");
    }
}
