//! POST over HTTP/1.1 with connections that stay: bounded, signed, no redirects.

use std::sync::{Arc, Mutex, PoisonError};

use asterism_nats::Secret;
use asterism_runtime::web::{self, SIGNATURE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Failure;

/// Connections kept for later.
const MAX_IDLE: usize = 64;
/// Longest answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// One address, and the connections to it.
pub struct Http {
    uri: Uri,
    secret: Option<Secret>,
    tls: Option<Arc<ClientConfig>>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Http").field(&self.uri.authority()).finish()
    }
}

impl Http {
    /// For an address that the flow's check has passed.
    pub fn new(url: &str, secret: Option<Secret>, tls: Arc<ClientConfig>) -> Result<Self, Failure> {
        let uri: Uri = url.parse().map_err(|error| Failure::away(format!("the address is none: {error}")))?;
        let tls = (uri.scheme_str() == Some("https")).then_some(tls);
        Ok(Self { uri, secret, tls, idle: Mutex::default() })
    }

    /// Posts a body. A connection that was kept and turns out to be closed costs one more try: nothing was answered on it.
    pub async fn post(&self, body: Bytes, kind: &str, at_s: u64) -> Result<Bytes, Failure> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            match self.exchange(&mut sender, body.clone(), kind, at_s).await {
                Err(failure) if failure.is_unsent => {}
                other => return self.keep(sender, other),
            }
        }
        let mut sender = self.connect().await?;
        let answer = self.exchange(&mut sender, body, kind, at_s).await;
        self.keep(sender, answer)
    }

    fn keep(
        &self,
        sender: SendRequest<Full<Bytes>>,
        answer: Result<Bytes, Failure>,
    ) -> Result<Bytes, Failure> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.is_ok() && !sender.is_closed() && idle.len() < MAX_IDLE {
            idle.push(sender);
        }
        answer
    }

    async fn exchange(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        body: Bytes,
        kind: &str,
        at_s: u64,
    ) -> Result<Bytes, Failure> {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::post(target)
            .header(HOST, authority)
            .header(CONTENT_TYPE, kind)
            .header(USER_AGENT, concat!("asterism/", env!("CARGO_PKG_VERSION")));
        if let Some(secret) = &self.secret {
            request = request.header(SIGNATURE, web::signature(secret, at_s, &body));
        }
        let request = request.body(Full::new(body)).map_err(|error| Failure::away(error.to_string()))?;
        let answer = sender.try_send_request(request).await.map_err(|mut error| {
            let is_unsent = error.take_message().is_some();
            Failure { is_unsent, ..Failure::away(format!("the connection broke: {}", error.error())) }
        })?;
        if answer.status() != StatusCode::OK {
            let redirect = if answer.status().is_redirection() { "; redirects are not followed" } else { "" };
            return Err(Failure::away(format!("it said {}{redirect}", answer.status().as_u16())));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|_| {
            Failure::away(format!("its answer broke off, or is longer than {MAX_ANSWER_BYTES} bytes"))
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let authority = self.uri.authority().ok_or_else(|| Failure::away("the address names no server"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| Failure::away(format!("no connection: {error}")))?;
        stream.set_nodelay(true).map_err(|error| Failure::away(error.to_string()))?;
        let Some(tls) = &self.tls else { return handshake(stream).await };
        let name = ServerName::try_from(host)
            .map_err(|_| Failure::away("the address names no server tls can check"))?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
        handshake(stream.map_err(|error| Failure::away(format!("no tls: {error}")))?).await
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::away(format!("the connection broke: {error}")))?;
    tokio::spawn(async move { drop(connection.await) }); // ends with the last sender
    Ok(sender)
}
