//! Launches: for each intent the log owes an instance, the cloud is asked until it answers.
//!
//! Intents that wait are placed first: one commit says which of them are one request, for which type, zone and market,
//! and its group is the client token. A call whose answer was lost, or whose caller died, is simply repeated: the same
//! group is the same request. Where the cloud has no machines the rest is placed elsewhere at once, as a new group; where
//! there is no other place the intents wait for one to be tried again, and fail when they have waited for too long: the
//! next plan decides anew. Without places (local instances) each
//! intent is a request of its own.

mod outcome;

use std::collections::BTreeMap;
use std::time::Duration;

use asterism_domain::State;
use asterism_domain::fleet::decide::LAUNCHES_MAX;
use asterism_domain::fleet::{FleetCommand, Intent, IntentStatus, Place};
use asterism_domain::ids::IntentId;
use asterism_proto::PublicKey;
use tokio::task::JoinSet;

use super::{Agenda, look};
use crate::Shell;
use crate::cloud::{LaunchRequest, code};
use crate::places::{Places, SPOT};
use crate::token::LaunchTokens;

/// Launch calls at the same time.
const CONCURRENT: usize = 8;
/// Pause before an answered request is looked at again, should the log not have it by then.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks for a place.
const PLACE_EVERY: Duration = Duration::from_millis(50);
/// The agenda's name for placing what waits; no group and no intent is called so.
const PLACING: &str = "";

/// A request to the cloud that the log owes.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The group, or the intent of a request of its own: the client token.
    key: String,
    /// Instances asked for.
    count: u32,
    place: Place,
    /// The first of its intents that has no answer.
    first: IntentId,
    /// No failure of it is in the log.
    is_new: bool,
}

/// Launches while this process leads. An instance is told the log's key here, and nowhere else.
pub(crate) async fn run(shell: Shell, tokens: LaunchTokens, log_key: PublicKey) {
    let mut head = shell.deps.log.head();
    let mut agenda = Agenda::new();
    let mut calls: JoinSet<(String, bool)> = JoinSet::new();
    loop {
        tokio::select! {
            () = look(&mut head) => {}
            Some(done) = calls.join_next() => match done {
                Ok((key, _)) if key == PLACING => agenda.succeeded(key, PLACE_EVERY),
                Ok((key, true)) => agenda.succeeded(key, AGAIN_AFTER),
                Ok((key, false)) => agenda.failed(key),
                Err(_) => agenda.lost(),
            },
        }
        let Some(term) = shell.desk.term() else { continue };
        let jobs = shell.deps.log.read(|state| jobs(state, &shell.places));
        agenda.retain(|key| key == PLACING || jobs.contains_key(key));
        if shell.leads(term) && waits(&shell) && agenda.begin(PLACING.to_owned()) {
            let shell = shell.clone();
            calls.spawn(async move { (PLACING.to_owned(), place_waiting(&shell).await) });
        }
        for (key, job) in jobs {
            if calls.len() >= CONCURRENT {
                break;
            }
            if shell.leads(term) && agenda.begin(key) {
                let request = request(&shell, &tokens, &log_key, &job);
                calls.spawn(outcome::launch(shell.clone(), job, request));
            }
        }
    }
}

/// What the cloud is to be asked, by client token.
fn jobs(state: &State, places: &Places) -> BTreeMap<String, Job> {
    let mut jobs = BTreeMap::new();
    for (id, intent) in state.fleet.owed_launches() {
        let job = match &intent.placed {
            Some(was) if places.is_refused(&was.group) => continue,
            Some(was) => Job {
                key: was.group.clone(),
                count: was.count,
                place: was.place.clone(),
                first: id.clone(),
                is_new: intent.failures == 0,
            },
            None if places.exist() => continue,
            None => Job {
                key: id.clone(),
                count: 1,
                place: Place { instance_type: intent.instance_type.clone(), ..Place::default() },
                first: id.clone(),
                is_new: intent.failures == 0,
            },
        };
        jobs.entry(job.key.clone()).or_insert(job);
    }
    jobs
}

/// The intents nobody has asked the cloud for, and those it had no room for.
fn waiting<'a>(state: &'a State, places: &'a Places) -> impl Iterator<Item = (&'a IntentId, &'a Intent)> {
    let waits = |intent: &Intent| intent.placed.as_ref().is_none_or(|p| places.is_refused(&p.group));
    state.fleet.owed_launches().filter(move |(_, intent)| waits(intent))
}

fn waits(shell: &Shell) -> bool {
    shell.places.exist() && shell.deps.log.read(|state| waiting(state, &shell.places).next().is_some())
}

/// Places what waits where there may be room; where there is none, it waits on, unless it has waited for too long or the
/// fleet is told to go.
async fn place_waiting(shell: &Shell) -> bool {
    let (now_ms, patience_ms) = (shell.deps.log.now_ms(), shell.config.capacity_patience_ms);
    let is_late = |intent: &Intent| now_ms.saturating_sub(intent.at) > patience_ms && intent.placed.is_some();
    let (intents, late, is_over) = shell.deps.log.read(|state| {
        let (late, intents): (Vec<_>, Vec<_>) = waiting(state, &shell.places)
            .take(LAUNCHES_MAX as usize)
            .partition(|(_, intent)| is_late(intent));
        let ids = |list: Vec<(&IntentId, &Intent)>| list.into_iter().map(|(id, _)| id.clone()).collect();
        let (intents, late): (Vec<IntentId>, Vec<IntentId>) = (ids(intents), ids(late));
        (intents, late, state.fleet.stop_requested)
    });
    if is_over {
        let all = [intents, late].concat();
        return outcome::give_up(shell, &all, outcome::OVER, "the fleet was told to go").await;
    }
    if !late.is_empty() {
        let why = format!("there was no room anywhere for {} s", patience_ms / 1_000);
        return outcome::give_up(shell, &late, code::CAPACITY, &why).await;
    }
    let Some(place) = shell.places.best() else { return false };
    shell.tell(FleetCommand::Place { intents, place, reason: String::new() }).await
}

/// The intents of a request that have no answer yet.
pub(super) fn unanswered(state: &State, key: &str) -> Vec<IntentId> {
    let of_it = |id: &IntentId, group: Option<&str>| group.map_or(id == key, |group| group == key);
    let owed = state.fleet.intents.iter().filter(|(id, intent)| {
        intent.status == IntentStatus::Requested
            && of_it(id, intent.placed.as_ref().map(|p| p.group.as_str()))
    });
    owed.map(|(id, _)| id.clone()).collect()
}

/// The same request for the same group, whoever makes it.
fn request(shell: &Shell, tokens: &LaunchTokens, log_key: &PublicKey, job: &Job) -> LaunchRequest {
    let template = &shell.config.template;
    let token = tokens.token(&job.key);
    let slots = template.call_slots.get(&job.place.instance_type).copied();
    let subnet = Some(job.place.subnet.clone()).filter(|subnet| !subnet.is_empty());
    LaunchRequest {
        intent_id: job.key.clone(),
        count: job.count,
        spot: job.place.market == SPOT,
        instance_type: job.place.instance_type.clone(),
        image_id: template.image_id.clone(),
        subnet_id: subnet,
        security_group_ids: template.security_group_ids.clone(),
        launch_template: template.launch_template.clone(),
        user_data: Some(user_data(shell.deps.log.fleet(), job, &token, log_key, slots)),
        tags: template.tags.clone(),
    }
}

/// Variables the agent starts with, one a line: what the image's unit reads, and the local provider hands on. The token
/// admits the instances of this one request and nothing else; the log's key is what it believes checkpoints by.
/// What its type was measured to carry is told too.
fn user_data(fleet: &str, job: &Job, token: &str, log_key: &PublicKey, slots: Option<u32>) -> String {
    let (intent, log_key) = (&job.key, hex::encode(log_key.to_bytes()));
    let slots = slots.map(|slots| format!("ASTERISM_CAPACITY={slots}\n")).unwrap_or_default();
    format!(
        "ASTERISM_FLEET={fleet}\nASTERISM_INTENT={intent}\nASTERISM_TOKEN={token}\nASTERISM_LOG_KEY={log_key}\n{slots}"
    )
}
