//! The emergency stop. It goes out before its commit: this process orders nothing from the command on, and tells the nodes
//! while the log is told. Once it is in the log, what it ends is derived from there and told again until the nodes have
//! answered; a node that cannot be told runs out with its orders' windows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use asterism_domain::campaign::{AttemptStatus, CampaignCommand};
use asterism_domain::emergency::{Emergency, Endings, endings};
use asterism_domain::{NodeId, State};
use asterism_nats::{Subject, Verb};
use asterism_proto::v1::{HangupOrder, OrderReply, RoleCommand, RoleReply};
use asterism_runtime::leader::Desk;
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json, reply_of};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::commands::{Refused, json};

/// How long a node may take to answer: it is told again by the log.
const TELL_DEADLINE: Duration = Duration::from_millis(400);
/// How often nodes are told again what the log says they still have to end.
const REPEAT: Duration = Duration::from_millis(500);
/// Attempts in one order.
const ORDER_MAX_ATTEMPTS: usize = 256;

/// `emergency.stop`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopEverything {
    /// Why, for the log.
    pub reason: String,
    /// Hang up what rings.
    pub cancel_ringing: bool,
    /// Hang up calls that are up.
    pub cut_calls: bool,
    /// Say what it would do, and do nothing.
    pub dry_run: bool,
}

/// `emergency.resume`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResumeEverything {
    /// Why, for the log.
    pub reason: String,
}

/// How an emergency stop stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EmergencyReport {
    /// The stop that holds, if one does.
    pub stop: Option<Emergency>,
    /// Attempts that were ordered or about to be, and not dialled as far as the log knew.
    pub undialled: u32,
    /// Attempts that rang, or were about to.
    pub ringing: u32,
    /// Calls that were up.
    pub calls: u32,
    /// Nodes with any of these.
    pub nodes: u32,
    /// Of these, nodes that did not confirm in time. What they hold is not dialled after `closes_at_ms`.
    pub silent: Vec<NodeId>,
    /// When the last window of an order that a silent node may hold closes; 0 = there is none.
    pub closes_at_ms: u64,
}

/// Holds back ticks and orders of this process between the command and its place in the log.
#[derive(Clone, Debug, Default)]
pub struct Brake(Arc<AtomicBool>);

impl Brake {
    /// Whether nothing may leave.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, on: bool) {
        self.0.store(on, Ordering::Release);
    }
}

/// Answers a command about the stop; none if it is about something else.
pub(crate) async fn answer(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    brake: &Brake,
    command: &RoleCommand,
) -> Option<RoleReply> {
    let refused = |(code, reason): Refused| refusal(code, reason);
    Some(match command.verb.as_str() {
        "emergency.show" => show(deps),
        "emergency.stop" => match json(command) {
            Ok(asked) => stop(deps, desk, brake, command, asked).await,
            Err(why) => refused(why),
        },
        "emergency.resume" => match json(command) {
            Ok(ResumeEverything { reason }) => {
                reply_of(desk.ask(CampaignCommand::EmergencyResume { reason }, envelope_of(command)).await)
            }
            Err(why) => refused(why),
        },
        _ => return None,
    })
}

/// The command. Nodes are told at once, and while they answer the log is told.
async fn stop(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    brake: &Brake,
    command: &RoleCommand,
    asked: StopEverything,
) -> RoleReply {
    let StopEverything { reason, cancel_ringing, cut_calls, dry_run } = asked;
    let (position, at_hand, mut report) =
        deps.log.read(|state| (state.size, endings(state, cancel_ringing, cut_calls), counted(state)));
    let Some(term) = desk.term().filter(|_| !dry_run) else {
        return reply_json(position, &report);
    };
    // Refused before anything happens: without a reason nothing stops.
    if let Err(rejection) =
        deps.log.read(|state| asterism_domain::emergency::stop(state, &reason, cancel_ringing, cut_calls))
    {
        return reply_of(Err(rejection.into()));
    }
    brake.set(true);
    let telling = tell_all(deps, term, &at_hand, (cancel_ringing, cut_calls), &reason);
    let decided = CampaignCommand::EmergencyStop { reason: reason.clone(), cancel_ringing, cut_calls };
    let (silent, committed) = tokio::join!(telling, desk.ask(decided, envelope_of(command)));
    // In the log, or not to be: from here the log alone says so.
    brake.set(false);
    let answer = match committed {
        Ok(answer) => answer,
        refused => return reply_of(refused),
    };
    let closes = |node: &NodeId| at_hand.get(node).map_or(0, |endings| endings.closes_at_ms);
    report.closes_at_ms = silent.iter().map(closes).max().unwrap_or_default();
    report.silent = silent;
    report.stop = deps.log.read(|state| state.emergency.clone());
    reply_json(answer.position, &report)
}

/// How it stands now.
fn show(deps: &Deps) -> RoleReply {
    let (position, report) = deps.log.read(|state| (state.size, counted(state)));
    reply_json(position, &report)
}

fn counted(state: &State) -> EmergencyReport {
    let all = endings(state, true, true);
    let count = |wanted: fn(AttemptStatus) -> bool| {
        all.values().flat_map(|node| &node.attempts).filter(|(_, status)| wanted(*status)).count() as u32
    };
    EmergencyReport {
        stop: state.emergency.clone(),
        undialled: count(|status| status < AttemptStatus::Originating),
        ringing: count(|status| status == AttemptStatus::Originating),
        calls: count(|status| status == AttemptStatus::Answered),
        nodes: all.len() as u32,
        silent: Vec::new(),
        closes_at_ms: 0,
    }
}

/// Tells nodes what to end; gives those that did not confirm.
async fn tell_all(
    deps: &Deps,
    term: u64,
    all: &BTreeMap<NodeId, Endings>,
    (cancel_ringing, cut_calls): (bool, bool),
    reason: &str,
) -> Vec<NodeId> {
    let mut tasks = tokio::task::JoinSet::new();
    for (node, endings) in all {
        for attempts in endings.attempts.chunks(ORDER_MAX_ATTEMPTS) {
            let order = HangupOrder {
                term,
                attempts: attempts.iter().map(|(id, _)| id.to_string()).collect(),
                reason: reason.to_owned(),
                withdraw: true,
                spare_ringing: !cancel_ringing,
                spare_calls: !cut_calls,
                ..HangupOrder::default()
            };
            let (deps, node) = (deps.clone(), node.clone());
            tasks.spawn(async move { (tell(&deps, &node, &order).await, node) });
        }
    }
    let mut silent = Vec::new();
    while let Some(told) = tasks.join_next().await {
        if let Ok((false, node)) = told
            && !silent.contains(&node)
        {
            silent.push(node);
        }
    }
    silent.sort_unstable();
    silent
}

async fn tell(deps: &Deps, node: &NodeId, order: &HangupOrder) -> bool {
    let Ok(subject) = Subject::command(deps.log.fleet(), node, Verb::Hangup) else { return false };
    match deps.bus.request(&subject, order.encode_to_vec(), TELL_DEADLINE).await {
        Ok(payload) => {
            let reply = OrderReply::decode(payload.as_slice()).unwrap_or_default();
            if !reply.taken {
                tracing::warn!(
                    node,
                    code = reply.code,
                    reason = reply.reason,
                    "a node does not end what it was told to"
                );
            }
            reply.taken
        }
        Err(error) => {
            tracing::warn!(node, %error, "a node did not confirm what it was told to end");
            false
        }
    }
}

/// Tells nodes again what the log says they still have to end, while this process leads and the stop holds.
pub(crate) async fn run(deps: Deps, desk: Desk<CampaignCommand>) {
    let mut leading = desk.leading();
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let owed = deps.log.read(|state| {
            let stop = state.emergency.as_ref()?;
            let choice = (stop.cancel_ringing, stop.cut_calls);
            Some((endings(state, choice.0, choice.1), choice, stop.reason.clone()))
        });
        if let (Some((owed, choice, reason)), Some(term)) = (owed, desk.term()) {
            tell_all(&deps, term, &owed, choice, &reason).await;
        }
        tokio::time::sleep(REPEAT).await;
    }
}
