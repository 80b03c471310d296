//! What the cloud tells an instance of itself: that a spot instance will be taken away. Its metadata service is asked
//! every few seconds, with a token (its version 2).
//!
//! From the notice on the node takes no new calls; those that are up go on until the instance ends, two minutes later as
//! a rule. A service that does not answer says nothing. A rebalance recommendation is written down and nothing more: it
//! may come long before the notice, or never be followed by one.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::input::{Input, Inputs};

/// How often it is asked; EC2 says every five seconds.
const EVERY: Duration = Duration::from_secs(2);
/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Longest answer.
const ANSWER_BYTES: usize = 1_024;
/// How long a token is good for, seconds: the longest there is.
pub(crate) const TOKEN_SECONDS: &str = "21600";
pub(crate) const TOKEN: &str = "/latest/api/token";
const INTERRUPTION: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

/// Asks until the instance is to be taken away. `server` is `http://host:port`.
pub async fn watch(server: Uri, inputs: Inputs) {
    let (mut token, mut is_told) = (None, false);
    loop {
        if token.is_none() {
            token = ask(&server, Method::PUT, TOKEN, ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS))
                .await
                .and_then(|(status, text)| (status == StatusCode::OK).then_some(text));
        }
        if let Some(known) = &token {
            let get = |path| ask(&server, Method::GET, path, ("x-aws-ec2-metadata-token", known));
            match get(INTERRUPTION).await {
                Some((StatusCode::OK, notice)) => {
                    tracing::warn!(notice, "the cloud takes this instance away: no new calls");
                    let _ = inputs.send(Input::Leaving).await; // the loop is gone already
                    return;
                }
                Some((StatusCode::UNAUTHORIZED, _)) => token = None,
                Some(_) if !is_told => {
                    if let Some((StatusCode::OK, notice)) = get(REBALANCE).await {
                        tracing::warn!(
                            notice,
                            "the cloud recommends to leave this instance; nothing is done"
                        );
                        is_told = true;
                    }
                }
                _ => {}
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// One question; `None` without an answer in time.
pub(crate) async fn ask(
    server: &Uri,
    method: Method,
    path: &str,
    header: (&str, &str),
) -> Option<(StatusCode, String)> {
    timeout(ANSWER_MAX, answer(server, method, path, header)).await.ok()?
}

async fn answer(
    server: &Uri,
    method: Method,
    path: &str,
    header: (&str, &str),
) -> Option<(StatusCode, String)> {
    let host = server.host()?;
    let stream = TcpStream::connect((host, server.port_u16().unwrap_or(80))).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, host).header(header.0, header.1);
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?).await.ok()?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.ok()?.to_bytes();
    driver.abort();
    let text: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).collect();
    Some((status, text))
}
