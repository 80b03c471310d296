//! Tells nodes the fleet's time, which is the stream's: the clock their orders' windows are measured with. Any process may
//! answer, one does.

use asterism_nats::Subject;
use asterism_proto::v1::TimeReply;
use asterism_runtime::log::Log;
use asterism_runtime::shutdown::Shutdown;
use prost::Message as _;

/// The queue group: one of its members answers each question.
const GROUP: &str = "time";
/// Pause before a subscription that failed is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);

/// Answers until shutdown.
pub async fn serve(log: &Log, mut shutdown: Shutdown) {
    tokio::select! {
        () = answer(log) => {}
        () = shutdown.requested() => {}
    }
}

async fn answer(log: &Log) {
    let bus = log.bus();
    let subject = match Subject::time(log.fleet()) {
        Ok(subject) => subject,
        Err(error) => return tracing::error!(%error, "nobody is told the time"),
    };
    loop {
        match bus.subscribe(&subject, Some(GROUP)).await {
            Ok(mut questions) => {
                while let Some(question) = questions.next().await {
                    let Some(reply) = question.reply else { continue };
                    // The clock is read last: what waits in the queue must not age an answer.
                    let answer = TimeReply { now_ms: log.now_ms() }.encode_to_vec();
                    if let Err(error) = bus.respond(reply, answer).await {
                        tracing::debug!(%error, "the time could not be told");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot subscribe to questions about the time"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
