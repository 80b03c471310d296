//! Instances the log does not know: the cloud is listed first, the own state is read second.
//!
//! One whose launch intent is known is a launch whose answer was lost: it is told to the log. One that no intent
//! explains bills for nobody: it is ended, once it is old enough and was seen for a while by a process that leads. The
//! while matters: a process that was stopped and woken sees a new listing before it has read the log. How old one is that
//! was there when the term began, clocks say; one that came later is as old as this process has seen it, so that no clock
//! that is wrong ends a young one or keeps an old one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use asterism_domain::State;
use asterism_domain::fleet::{FleetCommand, Intent, IntentStatus, LaunchOutcome};
use tokio::time::Instant;

use crate::Shell;
use crate::cloud::{Instance, InstanceState};
use crate::inventory::Listing;

/// What the log says about a listed instance.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// It is a node, or has ended.
    Yes,
    /// Its intent has no instance yet.
    Unanswered(String),
    /// Nothing, and why.
    No(&'static str),
}

/// Looks at each listing while this process leads.
pub(crate) async fn run(shell: Shell) {
    let mut listings = shell.inventories.follow();
    let mut suspects = Suspects::default();
    while listings.changed().await.is_ok() {
        let listing = listings.borrow_and_update().clone();
        let Some(term) = shell.desk.term() else { continue };
        let (answers, orphans) = sort(&shell, &listing);
        for (intent, node) in answers {
            tracing::info!(intent, node, "a launch whose answer was lost is found in the listing");
            shell.tell(FleetCommand::Launch { intent, outcome: LaunchOutcome::Launched { node } }).await;
        }
        suspects.begin(term, &listing.instances);
        let patience = Patience {
            confirm: Duration::from_millis(shell.config.orphan_confirm_ms),
            age: Duration::from_millis(shell.config.orphan_after_ms),
        };
        let ripe = suspects.ripe(&orphans, patience);
        // A listing that lacks what it had is no ground to end anything.
        if listing.missing == 0 && !ripe.is_empty() && shell.leads(term) {
            end(&shell, ripe).await;
        }
    }
}

type Answers = Vec<(String, String)>;

/// An instance that nothing explains.
struct Orphan<'a> {
    id: &'a str,
    why: &'static str,
    /// Its launch was long enough ago, by the cloud's clock and ours.
    old: bool,
}

fn sort<'a>(shell: &Shell, listing: &'a Listing) -> (Answers, Vec<Orphan<'a>>) {
    let (mut answers, mut orphans) = (Vec::new(), Vec::new());
    let now = shell.deps.log.now_ms();
    shell.deps.log.read(|state| {
        for instance in &listing.instances {
            match known(state, instance) {
                Known::Yes => {}
                Known::Unanswered(intent) => answers.push((intent, instance.instance_id.clone())),
                Known::No(why) => {
                    let old = now.saturating_sub(instance.launched_at_ms) >= shell.config.orphan_after_ms;
                    orphans.push(Orphan { id: &instance.instance_id, why, old });
                }
            }
        }
    });
    (answers, orphans)
}

fn known(state: &State, instance: &Instance) -> Known {
    if matches!(instance.state, InstanceState::Terminated | InstanceState::ShuttingDown) {
        return Known::Yes;
    }
    if let Some(node) = state.fleet.nodes.get(&instance.instance_id) {
        return if node.status.exists() { Known::Yes } else { Known::No("its node has ended in the log") };
    }
    let Some(intent) = &instance.intent_id else { return Known::No("it names no launch intent") };
    match state.fleet.intents.get(intent).map(|intent| &intent.status) {
        None => of_group(state, intent),
        Some(IntentStatus::Launched(_)) => Known::No("its launch intent has another instance"),
        Some(IntentStatus::Requested | IntentStatus::Failed) => Known::Unanswered(intent.clone()),
    }
}

/// An instance that was asked for together with others.
fn of_group(state: &State, group: &str) -> Known {
    let is_of = |intent: &&Intent| intent.placed.as_ref().is_some_and(|placed| placed.group == group);
    let mut of_it = state.fleet.intents.values().filter(is_of).peekable();
    if of_it.peek().is_none() {
        return Known::No("the log has no such launch intent");
    }
    // The request is repeated until it is answered: its answer names all of its instances.
    if of_it.any(|intent| intent.status == IntentStatus::Requested) {
        return Known::Yes;
    }
    Known::No("each launch intent of its request has another instance, or none")
}

/// How long an orphan is looked at.
#[derive(Clone, Copy)]
struct Patience {
    /// One that was there when the term began and is old by the clocks.
    confirm: Duration,
    /// Any other.
    age: Duration,
}

/// Since when each orphan is seen, in this term.
#[derive(Debug, Default)]
struct Suspects {
    term: u64,
    /// What the term's first listing had.
    at_first: HashSet<String>,
    since: HashMap<String, Instant>,
}

impl Suspects {
    /// Starts anew with a term.
    fn begin(&mut self, term: u64, listed: &[Instance]) {
        if self.term != term {
            let at_first = listed.iter().map(|instance| instance.instance_id.clone()).collect();
            *self = Self { term, at_first, since: HashMap::new() };
        }
    }

    /// The orphans that were seen for long enough.
    fn ripe(&mut self, orphans: &[Orphan<'_>], patience: Patience) -> Vec<String> {
        self.since.retain(|id, _| orphans.iter().any(|orphan| orphan.id == *id));
        let mut ripe = Vec::new();
        for Orphan { id, why, old } in orphans {
            let since = self.since.entry((*id).to_owned()).or_insert_with(|| {
                tracing::warn!(node = id, why, "an instance of this fleet is nobody's");
                Instant::now()
            });
            let is_old = *old && self.at_first.contains(*id);
            let wait = if is_old { patience.confirm } else { patience.age.max(patience.confirm) };
            if since.elapsed() >= wait {
                ripe.push((*id).to_owned());
            }
        }
        ripe
    }
}

async fn end(shell: &Shell, ids: Vec<String>) {
    match shell.cloud.terminate(&ids).await {
        Ok(()) => {
            shell.counters.orphans.add(ids.len() as u64);
            tracing::warn!(nodes = ?ids, "ended instances that are nobody's");
        }
        Err(error) => {
            shell.counters.end_failures.increment();
            tracing::warn!(nodes = ?ids, %error, "instances that are nobody's could not be ended");
        }
    }
    shell.inventories.ask();
}
