//! One signed request. Redirects are not followed, a reply is read no further than it has to be, and all of it has a deadline.

use std::sync::Arc;
use std::time::Duration;

use asterism_nats::Secret;
use asterism_runtime::config::WebhookConfig;
use asterism_runtime::web::{self, SECRET_MIN_BYTES, SIGNATURE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Most that is read of a reply's body, to end the connection in peace; nothing of it is kept.
const REPLY_MAX_BYTES: usize = 16 * 1024;
/// Most that is read of a reply's head.
const HEAD_MAX_BYTES: usize = 32 * 1024;

/// Why notices cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The secret cannot be used.
    #[error("AST-D140: the secret of [webhook], {place}: {why}")]
    Secret {
        /// The file or the variable.
        place: String,
        /// What is wrong; never the secret.
        why: String,
    },
    /// The certificates cannot be used.
    #[error("AST-D141: webhook.ca_file {0}")]
    Certificates(#[from] web::TrustError),
    /// The url cannot be used.
    #[error("AST-D142: webhook.url: {0}")]
    Url(String),
}

/// Whom notices go to.
pub(super) struct Receiver {
    uri: Uri,
    shown: String,
    secret: Secret,
    tls: Option<Arc<ClientConfig>>,
    deadline: Duration,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Receiver").field(&self.shown).finish()
    }
}

impl Receiver {
    /// None where the configuration names none.
    pub(super) fn new(config: &WebhookConfig) -> Result<Option<Self>, WebhookError> {
        let Some((uri, shown)) = config.target().map_err(WebhookError::Url)? else { return Ok(None) };
        let tls = match uri.scheme_str() {
            Some("https") => Some(web::trust(config.ca_file.as_deref())?),
            _ => None,
        };
        let deadline = Duration::from_millis(config.timeout_ms);
        Ok(Some(Self { uri, shown, secret: secret(config)?, tls, deadline }))
    }

    /// Scheme, host and port: what of its url may be shown.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Posts a body. `Ok` only if the receiver said 2xx; else why not, without anything of its words.
    pub(super) async fn post(&self, body: Vec<u8>, at_s: u64) -> Result<(), String> {
        let late = |_| format!("no answer within {} ms", self.deadline.as_millis());
        let reply = timeout(self.deadline, async {
            let reply = self.ask(body, at_s).await?;
            let status = reply.status();
            // However long or slow it is, its status is said.
            let rest = Limited::new(reply.into_body(), REPLY_MAX_BYTES).collect();
            let _ = timeout(self.deadline / 4, rest).await;
            Ok::<_, String>(status)
        });
        let status = reply.await.map_err(late)??;
        match status.as_u16() {
            200..=299 => Ok(()),
            code @ 300..=399 => Err(format!("it said {code}: redirects are not followed")),
            code => Err(format!("it said {code}")),
        }
    }

    async fn ask(&self, body: Vec<u8>, at_s: u64) -> Result<Response<Incoming>, String> {
        let authority = self.uri.authority().ok_or("the url names no server")?;
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::post(target)
            .header(HOST, authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("asterism/", env!("CARGO_PKG_VERSION")))
            .header(SIGNATURE, web::signature(&self.secret, at_s, &body))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let stream = TcpStream::connect((host, port)).await.map_err(|e| format!("no connection: {e}"))?;
        let Some(tls) = &self.tls else { return exchange(stream, request).await };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| "the url names no server tls can check")?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
        exchange(stream.map_err(|error| format!("no tls: {error}"))?, request).await
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| format!("the connection broke: {error}");
    let handshake = http1::Builder::new().max_buf_size(HEAD_MAX_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    // It ends with the answer's body, or when that is dropped.
    tokio::spawn(async move { drop(connection.await) });
    sender.send_request(request).await.map_err(broken)
}

fn secret(config: &WebhookConfig) -> Result<Secret, WebhookError> {
    let (place, read) = match (&config.secret_file, &config.secret_env) {
        (Some(path), _) => {
            (path.display().to_string(), Secret::from_file(path).map_err(|error| error.to_string()))
        }
        (None, Some(name)) => {
            let value = std::env::var(name).map_err(|_| "it is not set, or is not UTF-8".to_owned());
            (format!("the variable {name}"), value.map(|value| Secret::new(value.trim())))
        }
        (None, None) => (String::from("secret_file"), Err("there is none".to_owned())),
    };
    let bad = |why: String| WebhookError::Secret { place: place.clone(), why };
    let secret = read.map_err(bad)?;
    if secret.reveal().len() < SECRET_MIN_BYTES {
        return Err(bad(format!("a secret has at least {SECRET_MIN_BYTES} characters")));
    }
    Ok(secret)
}

#[cfg(test)]
#[path = "post_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tls_tests;
