//! A server that speaks TLS: trusted with its authority's certificate, refused without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use asterism_nats::server::{find_binary, free_port};
use asterism_nats::{Bus, BusConfig, Error, Secret};
use support::within;

/// A server with a certificate of its own, gone when dropped.
struct TlsServer {
    child: Child,
    port: u16,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(dir: &Path, certificate: &Path, key: &Path) -> TlsServer {
    let port = free_port().unwrap();
    let text = format!(
        "listen: \"127.0.0.1:{port}\"\ntls {{ cert_file: \"{}\", key_file: \"{}\" }}\n\
         authorization {{ user: \"service\", password: \"pw\" }}\n",
        certificate.display(),
        key.display(),
    );
    let file = dir.join("tls.conf");
    std::fs::write(&file, text).unwrap();
    let child = Command::new(find_binary().expect("a nats-server"))
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    TlsServer { child, port }
}

/// An authority and a certificate for loopback signed by it, written as PEM files.
fn authority(dir: &Path, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |kind: &str, text: String| {
        let path = dir.join(format!("{name}-{kind}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    (write("ca", authority.pem()), write("cert", certificate.pem()), write("key", key.serialize_pem()))
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_trusted_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = authority(dir.path(), "ours");
    let (other, _, _) = authority(dir.path(), "other");
    let server = start(dir.path(), &certificate, &key);
    let config = BusConfig {
        url: format!("tls://127.0.0.1:{}", server.port),
        user: Some("service".into()),
        password: Some(Secret::new("pw")),
        ca_file: Some(ca),
        ..BusConfig::loopback("tls", "_IN.svc.tls")
    };
    let bus = within("the server", Bus::connect_waiting(&config, |_, _| {})).await.unwrap();
    assert!(bus.wait_connected(Duration::from_secs(1)).await);

    let wrong = BusConfig { ca_file: Some(other), ..config.clone() };
    let error = Bus::connect(&wrong).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    let system = BusConfig { ca_file: None, ..config.clone() };
    let error = Bus::connect(&system).await.unwrap_err();
    assert_eq!(error.code(), "AST-N005", "{error}");
    let missing = BusConfig { ca_file: Some(dir.path().join("none.pem")), ..config };
    let error = Bus::connect(&missing).await.unwrap_err();
    assert_eq!(error.code(), "AST-N005", "{error}");
}
