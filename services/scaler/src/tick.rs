//! The scaler's tick: one command with the policy, what the nodes said last and, once, each complete listing.

use std::collections::BTreeSet;
use std::time::Duration;

use asterism_domain::NodeId;
use asterism_domain::fleet::{FleetCommand, NodeStatus};

use crate::Shell;
use crate::config::TICK_LEAST_MS;
use crate::hearing::Ear;
use crate::inventory::Absences;

/// A pause between ticks, beyond three of them, that is no wait for a commit: the process was stopped.
const SLEEP: Duration = Duration::from_secs(15);

/// Ticks while this process leads.
pub(crate) async fn run(shell: Shell) {
    let mut leading = shell.desk.leading();
    let mut clock = tokio::time::interval(Duration::from_millis(shell.config.tick_ms.max(TICK_LEAST_MS)));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut told, mut heard) = (0, BTreeSet::new());
    let sleep = SLEEP + 3 * Duration::from_millis(shell.config.tick_ms);
    let (mut ear, mut absences) = (Ear::new(sleep), Absences::default());
    let connects = shell.deps.bus.connects();
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        clock.tick().await;
        let fresh = shell.heartbeats.fresh();
        if went_stale(&shell, &heard, &fresh) {
            shell.inventories.ask();
        }
        let listing = shell.inventories.newest();
        let term = shell.desk.term();
        let inventory = (listing.number > told)
            .then(|| listing.inventory(absences.look(term, &listing, &existing(&shell))));
        heard = fresh;
        let connection = shell.deps.bus.is_connected().then(|| *connects.borrow());
        let hearing = ear.hearing(term.zip(connection), &shell.heartbeats.snapshot());
        let tick = FleetCommand::Tick { policy: shell.config.policy.clone(), hearing, inventory };
        match shell.desk.tell(tick).await {
            Ok(_) => told = listing.number,
            Err(error) => tracing::debug!(%error, "tick not decided"),
        }
    }
}

fn existing(shell: &Shell) -> Vec<NodeId> {
    shell.deps.log.read(|state| state.fleet.existing().map(|(id, _)| id.clone()).collect())
}

/// Whether a node in use was heard of at the last tick and is not any more: the cloud may know why.
fn went_stale(shell: &Shell, before: &BTreeSet<NodeId>, now: &BTreeSet<NodeId>) -> bool {
    let mut gone = before.difference(now).peekable();
    gone.peek().is_some()
        && shell.deps.log.read(|state| {
            gone.any(|id| {
                state
                    .fleet
                    .nodes
                    .get(id)
                    .is_some_and(|node| node.status.exists() && node.status != NodeStatus::Terminating)
            })
        })
}
