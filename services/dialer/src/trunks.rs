//! Trunks: those of the configuration go into the log, nodes are told of all of them, carriers are asked whether they
//! are there.
//!
//! What a node is owed is derived from the state and sent until its own fact says that its PBX has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use asterism_domain::campaign::CampaignCommand;
use asterism_domain::fleet::NodeStatus;
use asterism_domain::trunk::{TrunkCommand, TrunkSettings, decide, report};
use asterism_domain::{NodeId, State};
use asterism_nats::{Subject, Verb};
use asterism_proto::v1::{
    CheckOrder, OrderReply, RoleCommand, RoleReply, TrunkAnswer, TrunkEntry, TrunkOrder,
};
use asterism_runtime::leader::{AskError, Desk};
use asterism_runtime::role::{Deps, envelope_of, refusal, reply_json, reply_of};
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::DialerConfig;

/// Orders in flight at the same time.
const CONCURRENCY: usize = 16;
/// How long a node may take: its PBX reads its trunks again meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_secs(12);
/// Time before an order is repeated whose facts have not come, or that was refused.
const REPEAT: Duration = Duration::from_secs(3);
/// Time between two looks at a log that grows all the time, and at one that does not.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a node may take to ask a carrier.
const CHECK_DEADLINE: Duration = Duration::from_secs(8);
/// Most nodes that ask one.
const CHECKS_MAX: usize = 3;

/// What nodes said last about trunks they cannot have, by node.
pub type Refusals = Arc<Mutex<BTreeMap<NodeId, String>>>;

/// `trunk.set`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTrunk {
    /// Its name.
    pub trunk: String,
    /// All of its settings.
    pub settings: TrunkSettings,
    /// It must not be there yet.
    #[serde(default)]
    pub new: bool,
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
}

/// `trunk.remove`, `trunk.check`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneTrunk {
    /// Its name.
    pub trunk: String,
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
}

/// `trunk.list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrunkList {
    /// The trunks.
    pub trunks: Vec<report::TrunkReport>,
    /// What nodes said about those they cannot have.
    pub refusals: BTreeMap<NodeId, String>,
}

/// What one place of a trunk said, asked by one node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The node that asked.
    pub node: NodeId,
    /// The place, as the trunk has it.
    pub host: String,
    /// What it resolved to; empty if nothing.
    pub address: String,
    /// SIP's status; 0 = no answer.
    pub status: u32,
    /// Its words.
    pub said: String,
    /// How long it took, in microseconds.
    pub rtt_us: u64,
    /// Why there is no answer; empty if there is one.
    pub problem: String,
    /// What its SRV record says of it; empty if the trunk names hosts.
    #[serde(default)]
    pub record: String,
}

/// Sends orders while this process leads. Never ends by itself.
pub async fn run(config: Arc<DialerConfig>, deps: Deps, desk: Desk<CampaignCommand>, refusals: Refusals) {
    let (mut head, mut leading) = (deps.log.head(), desk.leading());
    loop {
        let led = leading.wait_for(Option::is_some).await.map(|term| *term);
        let Ok(Some(term)) = led else { return };
        if let Err(error) = configure(&deps, &config, &desk).await {
            tracing::debug!(error, "the configuration's trunks are not in the log yet");
            sleep(LOOK_PAUSE).await;
            continue;
        }
        let mut orders =
            Orders { deps: &deps, refusals: &refusals, flying: BTreeSet::new(), waits: BTreeMap::new() };
        let mut flight = JoinSet::new();
        while *leading.borrow() == Some(term) {
            head.mark_unchanged();
            orders.send(term, &mut flight);
            let looked = Instant::now();
            tokio::select! {
                Some(Ok((node, said))) = flight.join_next() => orders.done(node, said),
                _ = head.changed() => sleep_until(looked + LOOK_PAUSE).await,
                _ = leading.changed() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

/// Lets the log have the trunks of the configuration, and the caps over all of them. Changes nothing where it has.
pub(crate) async fn configure(
    deps: &Deps,
    config: &DialerConfig,
    desk: &Desk<CampaignCommand>,
) -> Result<(), String> {
    let (trunks, caps) = deps.log.read(|state| {
        (decide::configured(state, &config.trunks).is_empty(), state.fleet.paced.caps == config.caps)
    });
    let said = |told: Result<_, _>| told.map(drop).map_err(|error: AskError| error.to_string());
    if !trunks {
        let configured = TrunkCommand::Configured(config.trunks.clone());
        said(desk.tell(CampaignCommand::Trunk(configured)).await)?;
    }
    if !caps {
        said(desk.tell(CampaignCommand::Paces(config.caps)).await)?;
    }
    Ok(())
}

struct Orders<'a> {
    deps: &'a Deps,
    refusals: &'a Refusals,
    flying: BTreeSet<NodeId>,
    /// When an order may be sent again.
    waits: BTreeMap<NodeId, Instant>,
}

impl Orders<'_> {
    fn send(&mut self, term: u64, flight: &mut JoinSet<(NodeId, Result<(), String>)>) {
        let now = Instant::now();
        let (owed, order) = self.deps.log.read(|state| {
            let owed: Vec<NodeId> = decide::owed(state).map(|(node, _)| node.clone()).collect();
            let order = if owed.is_empty() { TrunkOrder::default() } else { table(state, term) };
            (owed, order.encode_to_vec())
        });
        self.waits.retain(|node, _| owed.contains(node));
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).retain(|node, _| owed.contains(node));
        for node in owed {
            let waits = self.waits.get(&node).is_some_and(|until| now < *until);
            if flight.len() >= CONCURRENCY || waits || !self.flying.insert(node.clone()) {
                continue;
            }
            let (deps, order) = (self.deps.clone(), order.clone());
            flight.spawn(async move {
                let said = self::order(&deps, &node, order).await;
                (node, said)
            });
        }
    }

    fn done(&mut self, node: NodeId, said: Result<(), String>) {
        self.flying.remove(&node);
        self.waits.insert(node.clone(), Instant::now() + REPEAT);
        if let Err(why) = said {
            tracing::warn!(node, why, "a node does not have every trunk");
            self.refusals.lock().unwrap_or_else(PoisonError::into_inner).insert(node, why);
        }
    }
}

/// Every trunk there is.
fn table(state: &State, term: u64) -> TrunkOrder {
    let entry = |(name, trunk): (&String, &asterism_domain::trunk::Trunk)| {
        let settings = trunk.usable()?;
        Some(TrunkEntry {
            trunk: name.clone(),
            revision: trunk.revision.clone(),
            settings: Some(settings.into()),
        })
    };
    TrunkOrder { term, trunks: state.trunks.iter().filter_map(entry).collect() }
}

async fn order(deps: &Deps, node: &NodeId, order: Vec<u8>) -> Result<(), String> {
    let subject =
        Subject::command(deps.log.fleet(), node, Verb::Trunks).map_err(|error| error.to_string())?;
    let answer =
        deps.bus.request(&subject, order, ANSWER_DEADLINE).await.map_err(|error| error.to_string())?;
    let OrderReply { taken, code, reason, .. } =
        OrderReply::decode(answer.as_slice()).map_err(|_| "its answer cannot be read".to_owned())?;
    if taken { Ok(()) } else { Err(format!("{code}: {reason}")) }
}

/// Answers a command about trunks; none if it is about something else.
pub(crate) async fn command(
    deps: &Deps,
    desk: &Desk<CampaignCommand>,
    refusals: &Refusals,
    command: &RoleCommand,
) -> Option<RoleReply> {
    let json = |error: serde_json::Error| refusal("AST-D042", format!("{}: {error}", command.verb));
    let decided = match command.verb.as_str() {
        "trunk.list" => {
            let (position, trunks) = deps.log.read(|state| (state.size, report::trunks(state)));
            let refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Some(reply_json(position, &TrunkList { trunks, refusals }));
        }
        "trunk.check" => {
            return Some(match serde_json::from_slice::<OneTrunk>(&command.json) {
                Ok(OneTrunk { trunk, .. }) => check(deps, &trunk).await,
                Err(error) => json(error),
            });
        }
        "trunk.set" => {
            serde_json::from_slice(&command.json).map(|SetTrunk { trunk, settings, new, reason }| {
                TrunkCommand::Set { trunk, settings: Box::new(settings), new, reason }
            })
        }
        "trunk.remove" => serde_json::from_slice(&command.json)
            .map(|OneTrunk { trunk, reason }| TrunkCommand::Remove { trunk, reason }),
        _ => return None,
    };
    Some(match decided {
        Ok(decided) => reply_of(desk.ask(CampaignCommand::Trunk(decided), envelope_of(command)).await),
        Err(error) => json(error),
    })
}

/// Nodes that have the trunk ask its carrier.
async fn check(deps: &Deps, trunk: &str) -> RoleReply {
    let (position, known, nodes) = deps.log.read(|state| {
        let known = state.trunks.get(trunk).is_some_and(|known| known.usable().is_some());
        let open = state.fleet.nodes.iter().filter(|(_, node)| node.status == NodeStatus::Ready);
        let have = open.filter(|(_, node)| node.trunks.contains_key(trunk)).map(|(id, _)| id.clone());
        (state.size, known, have.take(CHECKS_MAX).collect::<Vec<NodeId>>())
    });
    if !known {
        return refusal("AST-D106", format!("there is no trunk {trunk}; `asterism trunk list` names them"));
    }
    if nodes.is_empty() {
        let why = "no node that has the trunk is up, and only nodes speak to carriers; start a campaign, or set \
                   scaler.min_nodes to 1";
        return refusal("AST-D107", why.to_owned());
    }
    let order = CheckOrder { trunk: trunk.to_owned() }.encode_to_vec();
    let mut asked = JoinSet::new();
    for node in nodes {
        let (deps, order) = (deps.clone(), order.clone());
        asked.spawn(async move {
            let answers = ask(&deps, &node, order).await;
            (node, answers)
        });
    }
    let mut answers: Vec<Answered> = Vec::new();
    while let Some(Ok((node, said))) = asked.join_next().await {
        match said {
            Ok(said) => answers.extend(said.into_iter().map(|answer| answered(&node, answer))),
            Err(problem) => answers.push(answered(&node, TrunkAnswer { problem, ..TrunkAnswer::default() })),
        }
    }
    answers.sort_by(|a, b| (&a.host, &a.node).cmp(&(&b.host, &b.node)));
    reply_json(position, &answers)
}

async fn ask(deps: &Deps, node: &NodeId, order: Vec<u8>) -> Result<Vec<TrunkAnswer>, String> {
    let subject = Subject::command(deps.log.fleet(), node, Verb::Check).map_err(|error| error.to_string())?;
    let answer = timeout(CHECK_DEADLINE, deps.bus.request(&subject, order, CHECK_DEADLINE)).await;
    let answer =
        answer.map_err(|_| "the node did not answer".to_owned())?.map_err(|error| error.to_string())?;
    let reply = OrderReply::decode(answer.as_slice()).map_err(|_| "its answer cannot be read".to_owned())?;
    if reply.taken { Ok(reply.answers) } else { Err(format!("{}: {}", reply.code, reply.reason)) }
}

fn answered(node: &NodeId, answer: TrunkAnswer) -> Answered {
    let TrunkAnswer { host, address, status, said, rtt_us, problem, record } = answer;
    Answered { node: node.clone(), host, address, status, said, rtt_us, problem, record }
}
