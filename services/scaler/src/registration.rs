//! Admits nodes: an agent names its launch intent, its key and its spool's epoch, and proves by the launch token that
//! the scaler launched its instance. Answered while this process leads, and only then.

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::State;
use asterism_domain::fleet::FleetCommand;
use asterism_nats::{Message, Subject};
use asterism_proto::origin::is_token;
use asterism_proto::v1::{Registration, RegistrationReply};
use asterism_runtime::leader::AskError;
use prost::Message as _;
use tokio::sync::Semaphore;

use crate::Shell;
use crate::token::LaunchTokens;

/// Most bytes of a registration.
pub const REGISTRATION_MAX_BYTES: usize = 4 * 1024;
/// Registrations answered at the same time; further ones wait in the subscription.
const CONCURRENT: usize = 64;
/// Pause before a subscription that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The bytes are no registration.
const MALFORMED: &str = "AST-S013: the registration cannot be read";
/// The token is not the intent's.
const WRONG_TOKEN: &str =
    "AST-S012: the launch token is not this intent's: the instance was not launched by this fleet";

/// Answers while this process leads.
pub(crate) async fn run(shell: Shell, tokens: LaunchTokens) {
    let mut leading = shell.desk.leading();
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let mut ended = shell.desk.leading();
        let over = async { ended.wait_for(Option::is_none).await.is_ok() };
        tokio::select! {
            () = answer(&shell, &tokens) => tokio::time::sleep(RETRY).await,
            _ = over => {}
        }
    }
}

async fn answer(shell: &Shell, tokens: &LaunchTokens) {
    let Ok(subject) = Subject::registration(shell.deps.log.fleet()) else { return };
    let mut questions = match shell.deps.bus.subscribe(&subject, None).await {
        Ok(questions) => questions,
        Err(error) => return tracing::warn!(%error, "cannot subscribe to registrations"),
    };
    let turns = Arc::new(Semaphore::new(CONCURRENT));
    while let Some(message) = questions.next().await {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let (shell, tokens) = (shell.clone(), tokens.clone());
        tokio::spawn(async move {
            reply(&shell, &tokens, message).await;
            drop(turn);
        });
    }
}

async fn reply(shell: &Shell, tokens: &LaunchTokens, message: Message) {
    let Message { payload, reply: Some(inbox), .. } = message else { return };
    let answer = match read(&payload, tokens) {
        Ok(command) => admit(shell, command).await,
        Err(reason) => refused(shell, reason),
    };
    let answer = RegistrationReply { fleet: shell.deps.log.fleet().to_owned(), ..answer };
    if let Err(error) = shell.deps.bus.respond(inbox, answer.encode_to_vec()).await {
        tracing::debug!(%error, "a registration's answer could not be sent");
    }
}

/// A registration whose token is right.
fn read(payload: &[u8], tokens: &LaunchTokens) -> Result<FleetCommand, &'static str> {
    if payload.len() > REGISTRATION_MAX_BYTES {
        return Err(MALFORMED);
    }
    let Registration { node, intent, public_key, epoch, token } =
        Registration::decode(payload).map_err(|_| MALFORMED)?;
    if !is_token(&node) {
        return Err(MALFORMED);
    }
    if !tokens.is_token_of(&intent, &token) {
        return Err(WRONG_TOKEN);
    }
    Ok(FleetCommand::Register { node, intent, public_key, epoch })
}

/// Instances that were asked for together know their request's name only: the log knows which intent is this one's.
fn of_its_intent(state: &State, command: FleetCommand) -> FleetCommand {
    let FleetCommand::Register { node, intent: named, public_key, epoch } = command else { return command };
    let own = state.fleet.nodes.get(&node).map(|known| &known.intent).filter(|own| {
        let placed = state.fleet.intents.get(*own).and_then(|intent| intent.placed.as_ref());
        placed.is_some_and(|placed| placed.group == named)
    });
    FleetCommand::Register { node, intent: own.cloned().unwrap_or(named), public_key, epoch }
}

async fn admit(shell: &Shell, command: FleetCommand) -> RegistrationReply {
    let command = shell.deps.log.read(|state| of_its_intent(state, command));
    match shell.desk.tell(command).await {
        Ok(answer) => {
            RegistrationReply { admitted: true, position: answer.position, ..RegistrationReply::default() }
        }
        // Not the node's fault: it asks again.
        Err(error @ AskError::NotLeading(_)) => {
            RegistrationReply { reason: error.to_string(), ..RegistrationReply::default() }
        }
        Err(AskError::Rejected(rejection)) => refused(shell, rejection.to_string()),
    }
}

fn refused(shell: &Shell, reason: impl Into<String>) -> RegistrationReply {
    let reason = reason.into();
    shell.counters.registrations_refused.increment();
    tracing::warn!(reason, "registration refused");
    RegistrationReply { reason, ..RegistrationReply::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_registration_needs_its_own_intents_token() {
        let tokens = LaunchTokens::for_test();
        let good = Registration {
            node: "i-1".into(),
            intent: "lab-1".into(),
            public_key: vec![1; 32],
            epoch: vec![2; 16],
            token: tokens.token("lab-1"),
        };
        assert!(matches!(read(&good.encode_to_vec(), &tokens), Ok(FleetCommand::Register { .. })));
        for (bad, why) in [
            (Registration { token: tokens.token("lab-2"), ..good.clone() }, WRONG_TOKEN),
            (Registration { token: String::new(), ..good.clone() }, WRONG_TOKEN),
            (Registration { node: "i.*".into(), ..good.clone() }, MALFORMED),
            (Registration { epoch: vec![0; REGISTRATION_MAX_BYTES], ..good.clone() }, MALFORMED),
        ] {
            assert_eq!(read(&bad.encode_to_vec(), &tokens), Err(why));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let tokens = LaunchTokens::for_test();
            prop_assert!(read(&bytes, &tokens).is_err());
        }
    }
}
