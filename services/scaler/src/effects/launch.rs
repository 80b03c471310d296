//! Launches: for each intent the log owes an instance, the cloud is asked until it answers.
//!
//! The cloud knows an intent by its id, so a call whose answer was lost, or whose caller died, is simply repeated. A
//! refusal for good is an event, and the next plan decides anew.

use std::collections::BTreeMap;
use std::time::Duration;

use asterism_domain::fleet::{FleetCommand, LaunchOutcome};
use asterism_domain::ids::IntentId;
use asterism_proto::PublicKey;
use tokio::task::JoinSet;

use super::{Agenda, look};
use crate::Shell;
use crate::cloud::{CloudError, ErrorKind, LaunchRequest, code};
use crate::token::LaunchTokens;

/// Launch calls at the same time.
const CONCURRENT: usize = 8;
/// How long the cloud may take for one call. It may have happened after that: the call is repeated.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// Pause before an answered intent is looked at again, should the log not have it by then.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// An intent as the log owes it.
struct Owed {
    intent: IntentId,
    instance_type: String,
    is_first: bool,
}

/// Launches while this process leads. An instance is told the log's key here, and nowhere else.
pub(crate) async fn run(shell: Shell, tokens: LaunchTokens, log_key: PublicKey) {
    let mut head = shell.deps.log.head();
    let mut agenda = Agenda::new();
    let mut calls: JoinSet<(IntentId, bool)> = JoinSet::new();
    loop {
        tokio::select! {
            () = look(&mut head) => {}
            Some(done) = calls.join_next() => match done {
                Ok((intent, true)) => agenda.succeeded(intent, AGAIN_AFTER),
                Ok((intent, false)) => agenda.failed(intent),
                Err(_) => agenda.lost(),
            },
        }
        let Some(term) = shell.desk.term() else { continue };
        let owed = owed(&shell);
        agenda.retain(|intent| owed.contains_key(intent));
        for (intent, owed) in owed {
            if calls.len() >= CONCURRENT {
                break;
            }
            if shell.leads(term) && agenda.begin(intent) {
                let request = request(&shell, &tokens, &log_key, &owed);
                calls.spawn(launch(shell.clone(), owed, request));
            }
        }
    }
}

fn owed(shell: &Shell) -> BTreeMap<IntentId, Owed> {
    shell.deps.log.read(|state| {
        state
            .fleet
            .owed_launches()
            .map(|(id, intent)| {
                let owed = Owed {
                    intent: id.clone(),
                    instance_type: intent.instance_type.clone(),
                    is_first: intent.failures == 0,
                };
                (id.clone(), owed)
            })
            .collect()
    })
}

/// The same request for the same intent, whoever makes it.
fn request(shell: &Shell, tokens: &LaunchTokens, log_key: &PublicKey, owed: &Owed) -> LaunchRequest {
    let template = &shell.config.template;
    let token = tokens.token(&owed.intent);
    LaunchRequest {
        intent_id: owed.intent.clone(),
        instance_type: owed.instance_type.clone(),
        image_id: template.image_id.clone(),
        subnet_id: template.subnet_id.clone(),
        security_group_ids: template.security_group_ids.clone(),
        launch_template: template.launch_template.clone(),
        user_data: Some(user_data(shell.deps.log.fleet(), &owed.intent, &token, log_key)),
        tags: template.tags.clone(),
    }
}

/// Variables the agent starts with, one a line: what the image's unit reads, and the local provider hands on. The token
/// admits this one instance and nothing else; the log's key is what it believes checkpoints by.
fn user_data(fleet: &str, intent: &str, token: &str, log_key: &PublicKey) -> String {
    let log_key = hex::encode(log_key.to_bytes());
    format!(
        "ASTERISM_FLEET={fleet}\nASTERISM_INTENT={intent}\nASTERISM_TOKEN={token}\nASTERISM_LOG_KEY={log_key}\n"
    )
}

/// One call; whether the log has its outcome.
async fn launch(shell: Shell, owed: Owed, request: LaunchRequest) -> (IntentId, bool) {
    let Owed { intent, is_first, .. } = owed;
    shell.counters.launches.increment();
    let answer = match tokio::time::timeout(CALL_TIMEOUT, shell.cloud.launch(&request)).await {
        Ok(answer) => answer,
        Err(_) => Err(CloudError::new(
            ErrorKind::UnknownOutcome,
            code::UNREACHABLE,
            format!("launching intent {intent}"),
            "no answer in time",
        )),
    };
    let (outcome, is_answered) = match answer {
        Ok(instance) => {
            tracing::info!(intent, node = instance.instance_id, "launched");
            (Some(LaunchOutcome::Launched { node: instance.instance_id }), true)
        }
        Err(error) => failed(&shell, &intent, &error, is_first),
    };
    let Some(outcome) = outcome else { return (intent, is_answered) };
    let told = shell.tell(FleetCommand::Launch { intent: intent.clone(), outcome }).await;
    (intent, told && is_answered)
}

/// What a failure means. One that may pass is told to the log once; what it cost is in the counters.
fn failed(shell: &Shell, intent: &str, error: &CloudError, is_first: bool) -> (Option<LaunchOutcome>, bool) {
    shell.counters.launch_failures.increment();
    tracing::warn!(intent, %error, "launch failed");
    if error.code == code::INTENT_MISMATCH {
        // It exists, launched with another configuration: the listing says as which instance.
        shell.inventories.ask();
        return (None, false);
    }
    let is_final = matches!(error.kind, ErrorKind::Permanent | ErrorKind::Capacity);
    let outcome = (is_final || is_first).then(|| LaunchOutcome::Failed {
        code: error.code.to_owned(),
        reason: error.to_string(),
        is_final,
    });
    (outcome, is_final)
}
