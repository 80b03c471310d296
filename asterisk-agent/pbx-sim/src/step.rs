//! The dialplan's `CURL()`: questions posted to the agent on loopback, one keep-alive connection per call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use asterism_agent::dialplan::SECRET_HEADER;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Error;

/// The dialplan's `conntimeout`. Network deadlines are not scaled: the agent's are not either.
const CONNECT_DEADLINE: Duration = Duration::from_millis(250);
/// Longest answer read, in bytes; the longest usable one is far shorter.
const MAX_ANSWER_BYTES: usize = 4096;
/// Buffer of one connection, in bytes; hyper's least is 8 KiB.
const BUFFER_BYTES: usize = 8 * 1024;
/// The dialplan's `failurecodes`.
const FAILURES: [u16; 14] = [400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504];

/// Where questions go.
#[derive(Clone)]
pub(crate) struct StepServer {
    pub(crate) addr: SocketAddr,
    pub(crate) secret: Arc<str>,
}

impl StepServer {
    /// Reads `http://ADDRESS:PORT`.
    pub(crate) fn parse(url: &str, secret: &str) -> Result<Self, Error> {
        let rest = url.strip_prefix("http://").ok_or(Error::StepUrl)?;
        let addr = rest.strip_suffix('/').unwrap_or(rest).parse().map_err(|_| Error::StepUrl)?;
        Ok(Self { addr, secret: secret.into() })
    }
}

/// One call's connection.
pub(crate) struct StepClient {
    server: StepServer,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl StepClient {
    pub(crate) fn new(server: StepServer) -> Self {
        Self { server, connection: None }
    }

    /// Posts a form and returns the answer's text. A kept connection that turned out dead is replaced once.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: String,
        deadline: Duration,
    ) -> Result<String, Error> {
        let body = Bytes::from(body);
        let exchange = async {
            if let Some(kept) = self.connection.take()
                && let Ok(answer) = self.exchange(kept, path, body.clone()).await
            {
                return Ok(answer);
            }
            let fresh = self.connect().await?;
            self.exchange(fresh, path, body).await
        };
        let (status, text) =
            tokio::time::timeout(deadline, exchange).await.map_err(|_| Error::Step("too late"))??;
        if FAILURES.contains(&status.as_u16()) { Err(Error::Step("refused")) } else { Ok(text) }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(self.server.addr))
            .await
            .map_err(|_| Error::Step("connect too late"))?
            .map_err(|_| Error::Step("not reachable"))?;
        stream.set_nodelay(true).map_err(Error::Socket)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Error::Step("not http"))?;
        tokio::spawn(connection); // ends when the sender is dropped
        Ok(sender)
    }

    async fn exchange(
        &mut self,
        mut connection: SendRequest<Full<Bytes>>,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, String), Error> {
        let request = Request::post(path)
            .header(HOST, self.server.addr.to_string())
            .header(USER_AGENT, "asterisk-libcurl-agent/1.0")
            .header(ACCEPT, "*/*")
            .header(SECRET_HEADER, &*self.server.secret)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(body))
            .map_err(|_| Error::Step("not a request"))?;
        connection.ready().await.map_err(|_| Error::Step("connection closed"))?;
        let response = connection.send_request(request).await.map_err(|_| Error::Step("connection lost"))?;
        let (status, body) = (response.status(), response.into_body());
        let bytes = Limited::new(body, MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|_| Error::Step("answer cut or too long"))?;
        let text = String::from_utf8(bytes.to_bytes().into()).map_err(|_| Error::Step("answer not text"))?;
        self.connection = Some(connection);
        Ok((status, text))
    }
}
