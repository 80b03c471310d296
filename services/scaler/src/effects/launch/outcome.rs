//! What the cloud's answer to a launch means, and what the log is told of it.

use std::time::Duration;

use asterism_domain::fleet::{FleetCommand, IntentStatus, LaunchOutcome};
use asterism_domain::ids::IntentId;

use super::{Job, unanswered};
use crate::Shell;
use crate::cloud::{CloudError, ErrorKind, Instance, LaunchRequest, code};
use crate::places;
use crate::troubles::Call;

/// How long the cloud may take for one call. It may have happened after that: the call is repeated.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// The code of an intent nobody wants any more.
pub(super) const OVER: &str = "AST-S063";

/// One call; whether the log has its outcome.
pub(super) async fn launch(shell: Shell, job: Job, request: LaunchRequest) -> (String, bool) {
    shell.counters.launches.increment();
    let call = tokio::time::timeout(CALL_TIMEOUT, shell.cloud.launch(&request));
    let answer = call.await.unwrap_or_else(|_| {
        let what = format!("launching intent {}", job.key);
        Err(CloudError::new(ErrorKind::UnknownOutcome, code::UNREACHABLE, what, "no answer in time"))
    });
    let is_answered = match answer {
        Ok(instances) => {
            shell.troubles.clear(Call::Launch);
            launched(&shell, &job, instances).await
        }
        Err(error) => failed(&shell, &job, &error).await,
    };
    (job.key, is_answered)
}

/// The instances are the intents' in order; which is whose does not matter, they are all alike. Intents that got none
/// found no room.
async fn launched(shell: &Shell, job: &Job, instances: Vec<Instance>) -> bool {
    let mut nodes: Vec<String> = instances.into_iter().map(|instance| instance.instance_id).collect();
    nodes.sort();
    tracing::info!(token = job.key, ?nodes, "launched");
    let outcomes: Vec<_> = shell.deps.log.read(|state| {
        let new = nodes.iter().filter(|node| !state.fleet.nodes.contains_key(*node));
        let pair =
            |(intent, node): (IntentId, &String)| (intent, LaunchOutcome::Launched { node: node.clone() });
        unanswered(state, &job.key).into_iter().zip(new).map(pair).collect()
    });
    if !outcomes.is_empty() && !shell.tell(FleetCommand::Launches { outcomes }).await {
        return false;
    }
    let rest = shell.deps.log.read(|state| unanswered(state, &job.key));
    if rest.is_empty() {
        return true;
    }
    shell.places.close(&job.place, false);
    let why = format!("there were {} of {} as {}", nodes.len(), job.count, places::words(&job.place));
    elsewhere(shell, job, code::CAPACITY, why).await
}

/// What a failure means. One that may pass is told to the log once; what it cost is in the counters.
async fn failed(shell: &Shell, job: &Job, error: &CloudError) -> bool {
    shell.counters.launch_failures.increment();
    shell.troubles.note(Call::Launch, error);
    tracing::warn!(token = job.key, %error, "launch failed");
    match error.kind {
        // It exists, launched with another configuration: the listing says as which instances.
        _ if error.code == code::INTENT_MISMATCH => {
            shell.inventories.ask();
            let listing = shell.inventories.newest();
            let of_it = listing.instances.iter().filter(|i| i.intent_id.as_ref() == Some(&job.key));
            let found: Vec<_> = of_it.cloned().collect();
            shell.places.exist() && !found.is_empty() && launched(shell, job, found).await
        }
        ErrorKind::Capacity if shell.places.exist() => {
            shell.places.close(&job.place, error.is_quota());
            elsewhere(shell, job, error.code, error.to_string()).await
        }
        ErrorKind::Capacity | ErrorKind::Permanent => {
            let intents = shell.deps.log.read(|state| unanswered(state, &job.key));
            give_up(shell, &intents, error.code, &error.to_string()).await
        }
        ErrorKind::Transient | ErrorKind::UnknownOutcome => {
            if job.is_new {
                let outcome = LaunchOutcome::Failed {
                    code: error.code.to_owned(),
                    reason: error.to_string(),
                    is_final: false,
                };
                shell.tell(FleetCommand::Launch { intent: job.first.clone(), outcome }).await;
            }
            false
        }
    }
}

/// Nothing was launched for these intents: they are asked for at the next place, or wait until one is open. Nothing is
/// asked for when the fleet is to go.
async fn elsewhere(shell: &Shell, job: &Job, code: &str, why: String) -> bool {
    let (intents, is_over) =
        shell.deps.log.read(|state| (unanswered(state, &job.key), state.fleet.stop_requested));
    match shell.places.best() {
        _ if is_over => give_up(shell, &intents, code, &why).await,
        Some(place) => shell.tell(FleetCommand::Place { intents, place, reason: why }).await,
        None => {
            tracing::warn!(token = job.key, why, "there is no other place to ask: the launches wait");
            shell.places.refuse(&job.key);
            if job.is_new {
                let outcome = LaunchOutcome::Failed { code: code.to_owned(), reason: why, is_final: false };
                shell.tell(FleetCommand::Launch { intent: job.first.clone(), outcome }).await;
            }
            true
        }
    }
}

/// The intents fail for good.
pub(super) async fn give_up(shell: &Shell, intents: &[IntentId], code: &str, reason: &str) -> bool {
    let outcome = LaunchOutcome::Failed { code: code.to_owned(), reason: reason.to_owned(), is_final: true };
    let is_owed = |intent: &IntentId| {
        shell.deps.log.read(|state| {
            state.fleet.intents.get(intent).is_some_and(|known| known.status == IntentStatus::Requested)
        })
    };
    let outcomes: Vec<_> = intents
        .iter()
        .filter(|intent| is_owed(intent))
        .map(|intent| (intent.clone(), outcome.clone()))
        .collect();
    outcomes.is_empty() || shell.tell(FleetCommand::Launches { outcomes }).await
}
