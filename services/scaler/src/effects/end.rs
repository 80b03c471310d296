//! Ends: each node the log says is terminating is terminated at the cloud until a listing confirms it.

use std::collections::BTreeSet;
use std::time::Duration;

use asterism_domain::NodeId;
use asterism_domain::fleet::NodeStatus;
use tokio::task::JoinSet;

use super::{Agenda, look};
use crate::Shell;
use crate::troubles::Call;

/// Instances in one call.
const TOGETHER: usize = 100;
/// Calls at the same time: local instances end while the call waits, and later ones need not wait for them.
const CONCURRENT: usize = 4;
/// How long the cloud may take for one call.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);
/// Pause before an accepted end is asked for again, should no listing have confirmed it.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Ends instances while this process leads.
pub(crate) async fn run(shell: Shell) {
    let mut head = shell.deps.log.head();
    let mut agenda = Agenda::new();
    let mut calls: JoinSet<(Vec<NodeId>, bool)> = JoinSet::new();
    loop {
        tokio::select! {
            () = look(&mut head) => {}
            Some(done) = calls.join_next() => match done {
                Ok((nodes, true)) => nodes.into_iter().for_each(|node| agenda.succeeded(node, AGAIN_AFTER)),
                Ok((nodes, false)) => nodes.into_iter().for_each(|node| agenda.failed(node)),
                Err(_) => agenda.lost(),
            },
        }
        let Some(term) = shell.desk.term() else { continue };
        let owed = owed(&shell);
        agenda.retain(|node| owed.contains(node));
        if calls.len() >= CONCURRENT || !shell.leads(term) {
            continue;
        }
        let due: Vec<NodeId> =
            owed.into_iter().filter(|node| agenda.begin(node.clone())).take(TOGETHER).collect();
        if !due.is_empty() {
            calls.spawn(end(shell.clone(), due));
        }
    }
}

fn owed(shell: &Shell) -> BTreeSet<NodeId> {
    shell.deps.log.read(|state| {
        state
            .fleet
            .existing()
            .filter(|(_, node)| node.status == NodeStatus::Terminating)
            .map(|(id, _)| id.clone())
            .collect()
    })
}

async fn end(shell: Shell, nodes: Vec<NodeId>) -> (Vec<NodeId>, bool) {
    let accepted = match tokio::time::timeout(CALL_TIMEOUT, shell.cloud.terminate(&nodes)).await {
        Ok(Ok(())) => {
            shell.troubles.clear(Call::End);
            true
        }
        Err(_) => {
            shell.counters.end_failures.increment();
            tracing::warn!(nodes = nodes.len(), "the cloud did not answer an end in time");
            false
        }
        // An id that is not found proves nothing: a cloud shows things late. Only a listing ends a node.
        Ok(Err(error)) => {
            shell.counters.end_failures.increment();
            shell.troubles.note(Call::End, &error);
            tracing::warn!(nodes = nodes.len(), %error, "instances not ended");
            false
        }
    };
    // The end counts when the cloud lists it.
    shell.inventories.ask();
    (nodes, accepted)
}
