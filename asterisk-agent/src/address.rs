//! The public address of this machine, as its metadata service tells it: it may come, or change, long after the start.
//!
//! A carrier that authenticates by address sends answers and media there, so it goes into every transport and trunk of
//! the PBX while it runs, and the node says in its heartbeats which one its PBX has. Silence of the service says nothing:
//! what is known stays.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode, Uri};
use tokio::sync::{mpsc, watch};

use crate::notice::{TOKEN, TOKEN_SECONDS, ask};
use crate::pbx::PbxCommand;
use crate::trunks::Trunks;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(2);
const PUBLIC: &str = "/latest/meta-data/public-ipv4";

/// Asks for as long as the agent runs. `shown` is what the PBX has; empty while nothing is known.
pub async fn watch(
    server: Uri,
    trunks: Arc<Trunks>,
    pbx: mpsc::UnboundedSender<PbxCommand>,
    shown: watch::Sender<String>,
) {
    let mut token = None;
    loop {
        if token.is_none() {
            token = ask(&server, Method::PUT, TOKEN, ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS))
                .await
                .and_then(|(status, text)| (status == StatusCode::OK).then_some(text));
        }
        if let Some(known) = &token {
            match ask(&server, Method::GET, PUBLIC, ("x-aws-ec2-metadata-token", known)).await {
                Some((StatusCode::OK, text)) => advertise(&text, &trunks, &pbx, &shown).await,
                Some((StatusCode::UNAUTHORIZED, _)) => token = None,
                // None yet, or it was taken back: carriers do not know this machine any more.
                Some((StatusCode::NOT_FOUND, _)) => {
                    shown.send_if_modified(|shown| !std::mem::take(shown).is_empty());
                }
                _ => {}
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The PBX gets a new address; it is shown once the PBX has it, and tried again until then.
async fn advertise(
    text: &str,
    trunks: &Trunks,
    pbx: &mpsc::UnboundedSender<PbxCommand>,
    shown: &watch::Sender<String>,
) {
    let Ok(address) = text.trim().parse::<Ipv4Addr>() else {
        tracing::warn!(text, "the metadata service names a public address that is none");
        return;
    };
    if *shown.borrow() == address.to_string() {
        return;
    }
    match trunks.advertise(address, pbx).await {
        Ok(()) => {
            tracing::info!(%address, "the PBX has the public address");
            shown.send_replace(address.to_string());
        }
        Err(why) => tracing::warn!(%address, why, "the PBX does not have the public address yet"),
    }
}
