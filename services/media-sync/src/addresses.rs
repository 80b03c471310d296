//! What nodes ask: where sounds of a manifest may be had, and where a recording is to go. Every media-sync process answers, leading or not.

use std::sync::Arc;

use asterism_nats::{ServiceError, ServiceHandle, ServiceSpec, Subject, serve as serve_requests};
use asterism_proto::v1::{AddressReply, AddressRequest};
use asterism_runtime::log::Log;
use prost::Message as _;

use crate::recordings::Keeper;
use crate::shelf::Shelf;

/// Questions answered at the same time.
const CONCURRENCY: usize = 16;

/// Answers until the handle is dropped.
pub(crate) async fn serve(
    log: &Log,
    shelf: &Arc<Shelf>,
    keeper: &Arc<Keeper>,
) -> Result<ServiceHandle, asterism_nats::Error> {
    let spec = ServiceSpec {
        name: "asterism-media-sync-addresses".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "where sounds of a manifest may be had and recordings go, for nodes".to_owned(),
        subject: Subject::address_request(log.fleet())?,
        queue: "media-sync".to_owned(),
        concurrency: CONCURRENCY,
    };
    let (log, shelf, keeper) = (log.clone(), shelf.clone(), keeper.clone());
    let bus = log.bus().clone();
    serve_requests(&bus, spec, move |payload| {
        let (log, shelf, keeper) = (log.clone(), shelf.clone(), keeper.clone());
        async move {
            let refused = |code, reason| ServiceError { code, reason };
            let asked = AddressRequest::decode(payload)
                .map_err(|_| refused(400, "the question cannot be decoded".to_owned()))?;
            if let Some(offer) = asked.recording {
                let recording = Some(keeper.place(offer).await?);
                return Ok(AddressReply { recording, ..AddressReply::default() }.encode_to_vec());
            }
            let published = log.read(|state| state.catalogue.manifests.get(&asked.manifest).cloned());
            let published =
                published.ok_or_else(|| refused(404, "no such manifest is published".to_owned()))?;
            let urls = shelf.addresses(&asked.manifest, &published, &asked.sounds).await;
            let urls = urls.map_err(|error| refused(409, error.to_string()))?;
            Ok(AddressReply { urls, ..AddressReply::default() }.encode_to_vec())
        }
    })
    .await
}
