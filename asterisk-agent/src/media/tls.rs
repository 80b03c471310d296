//! Whom prompts are taken from over `https://`: whoever the system's certificates vouch for, and those named besides.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::download::Failure;
use crate::Error;

/// Of this process: what `--media-ca-file` named.
static NAMED: OnceLock<PathBuf> = OnceLock::new();

/// Trusts the certificates (PEM) of a file too, from now on, in all of this process. Refuses a file without any.
pub fn trust_file(path: &Path) -> Result<(), Error> {
    let usable = |why| Error::Config { what: "--media-ca-file", why };
    let mut roots = RootCertStore::empty();
    add_file(&mut roots, path).map_err(usable)?;
    NAMED.set(path.to_owned()).map_err(|_| usable("named twice".to_owned()))
}

/// The certificates that vouch for a server, read when the first server is met.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    named: Option<PathBuf>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// What this process was told to trust.
    pub(crate) fn of_process() -> Self {
        Self { named: NAMED.get().cloned(), config: OnceLock::new() }
    }

    /// The system's and those of a file.
    #[cfg(test)]
    pub(super) fn with(path: &Path) -> Self {
        Self { named: Some(path.to_owned()), config: OnceLock::new() }
    }

    /// TLS with a server of this name.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let config = if let Some(config) = self.config.get() {
            Arc::clone(config)
        } else {
            let config = self.read()?;
            Arc::clone(self.config.get_or_init(|| config))
        };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| "its url names no server tls can check")?;
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => Failure::Untrusted(format!("{host}: {why}")),
                _ => Failure::Other(format!("no tls with its server: {error}")),
            }
        })
    }

    fn read(&self) -> Result<Arc<ClientConfig>, Failure> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs); // one that cannot be read vouches for nobody
        if let Some(path) = &self.named {
            add_file(&mut roots, path)?;
        }
        if roots.is_empty() {
            let why = "this machine has no certificates to check it with: install ca-certificates";
            return Err(Failure::Untrusted(why.to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let bad = |why: String| format!("{}: {why}", path.display());
    let mut count = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        count += 1;
    }
    if count == 0 { Err(bad("no certificate (PEM) in it".to_owned())) } else { Ok(()) }
}
