//! What people ask the scaler: JSON in, JSON out, on the role's command subject.

use std::collections::BTreeMap;

use asterism_domain::campaign::outlook::{self, Outlook};
use asterism_domain::campaign::waits;
use asterism_domain::fleet::plan::cost_micro_usd;
use asterism_domain::fleet::{FleetCommand, IntentStatus};
use asterism_domain::paces::Paces;
use asterism_domain::report::{self, NodeReport};
use asterism_domain::{CampaignId, NodeId, State};
use asterism_proto::Role;
use asterism_proto::v1::{RoleCommand, RoleReply};
use asterism_runtime::heartbeat::Heard;
use asterism_runtime::role::{envelope_of, refusal, reply_json, reply_of};
use serde::{Deserialize, Serialize};

use crate::Shell;
use crate::cloud::CloudError;
use crate::troubles::TroubleLine;

/// The verbs, for the error that names them.
pub const VERBS: [&str; 6] =
    ["fleet.list", "fleet.cloud", "fleet.outlook", "fleet.stop", "fleet.drain", "fleet.undrain"];
/// Ended nodes and failed intents listed at most, the newest of them.
pub const ENDED_LISTED_MAX: usize = 100;
/// Longest reason taken, in characters.
const REASON_MAX_CHARS: usize = 200;

/// `fleet.stop`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopFleet {
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
}

/// `fleet.drain` and `fleet.undrain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneNode {
    /// The node.
    pub node: NodeId,
    /// Why, for the log.
    #[serde(default)]
    pub reason: String,
}

/// `fleet.outlook`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskOutlook {
    /// The campaign.
    pub campaign: CampaignId,
}

/// What a node last said.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// `booting`, `ready`, `draining`, `empty` or `stopped`.
    pub state: String,
    /// Why it takes no calls; empty if it does.
    pub why_not_ready: String,
    /// Why prompts that are ordered are not there, empty if nothing failed lately.
    pub prompts_problem: String,
    /// Recordings it has made and not sent.
    pub recordings_unsent: u32,
    /// Why the one it tried last is not in the store, empty if it is.
    pub recordings_problem: String,
    /// Attempts ringing.
    pub ringing: u32,
    /// Calls up.
    pub up: u32,
    /// Slots free.
    pub free_slots: u32,
    /// CPU in use, thousandths.
    pub cpu_permille: u32,
    /// How long ago it was heard, ms.
    pub heard_ms_ago: u64,
    /// Whether that is lately: what is older is unknown, not idle.
    pub fresh: bool,
}

/// A node, by the log and by its own last word.
#[derive(Clone, Debug, Serialize)]
pub struct NodeLine {
    /// By the log.
    #[serde(flatten)]
    pub node: NodeReport,
    /// By its last heartbeat; absent if none was heard here.
    pub load: Option<Load>,
}

/// A launch intent that has no instance.
#[derive(Clone, Debug, Serialize)]
pub struct IntentLine {
    /// Its id.
    pub intent: String,
    /// `Requested` or `Failed`.
    pub status: IntentStatus,
    /// Seconds since it was committed.
    pub age_s: u64,
    /// Calls for it that failed.
    pub failures: u32,
}

/// `fleet.list`.
#[derive(Clone, Debug, Serialize)]
pub struct FleetReport {
    /// The fleet was told to go.
    pub stop_requested: bool,
    /// The newest plan's sentence.
    pub last_plan: String,
    /// Existing nodes, and the newest 100 that ended.
    pub nodes: Vec<NodeLine>,
    /// Nodes that ended, listed or not.
    pub ended: usize,
    /// Launch intents without an instance: all the cloud still owes, and the newest 100 that failed.
    pub intents: Vec<IntentLine>,
    /// Most nodes there were at once.
    pub peak_nodes: u32,
    /// Node time so far, ms.
    pub node_ms: u64,
    /// What it costs, millionths of a dollar.
    pub cost_micro_usd: u64,
    /// What the nodes cost now, millionths of a dollar an hour.
    pub micro_usd_per_hour: u64,
    /// Calls so far, and what each has cost; none without any.
    pub answered: u64,
    /// See `answered`.
    pub micro_usd_per_answer: Option<u64>,
    /// Day and region of the price book; none while one price counts for every node.
    pub prices: Option<String>,
    /// Caps over all campaigns, of the dialer; 0 = none.
    pub caps: Paces,
    /// Attempts in flight.
    pub in_flight: u32,
    /// What keeps each running campaign from dialling the next of those who wait.
    pub limited_by: BTreeMap<String, String>,
    /// What the cloud refuses now, and what to do about it.
    pub troubles: Vec<TroubleLine>,
}

/// `fleet.cloud`: what bills, by the cloud's own listing, asked for now.
#[derive(Clone, Debug, Serialize)]
pub struct CloudReport {
    /// Instances that have not ended.
    pub instances: Vec<String>,
    /// Volumes.
    pub volumes: Vec<String>,
    /// Elastic IP addresses that were allocated for the fleet, or that one of its instances has.
    pub addresses: Vec<String>,
    /// Launches the cloud still owes an answer to, and addresses of the pool that nodes hold.
    pub owed: usize,
}

/// Answers commands while this process leads.
pub(crate) fn serve(shell: &Shell) {
    let all = shell.clone();
    shell.deps.serve_commands(Role::Scaler, &shell.desk, move |command| {
        let shell = all.clone();
        async move { handle(&shell, command).await }
    });
}

async fn handle(shell: &Shell, command: RoleCommand) -> RoleReply {
    if command.verb == "fleet.list" {
        let now = shell.deps.log.now_ms();
        let (position, list) =
            shell.deps.log.read(|state| (state.size, fleet_report(state, shell, now.max(state.at))));
        return reply_json(position, &list);
    }
    if command.verb == "fleet.cloud" {
        return match cloud_report(shell).await {
            Ok((position, report)) => reply_json(position, &report),
            Err(error) => refusal(error.code, error.to_string()),
        };
    }
    if command.verb == "fleet.outlook" {
        return match outlook_of(shell, &command) {
            Ok((position, outlook)) => reply_json(position, &outlook),
            Err((code, reason)) => refusal(code, reason),
        };
    }
    match read(&command) {
        Ok(decided) => reply_of(shell.desk.ask(decided, envelope_of(&command)).await),
        Err((code, reason)) => refusal(code, reason),
    }
}

/// The log is read before the cloud: a launch that ends in between is an instance of the listing.
async fn cloud_report(shell: &Shell) -> Result<(u64, CloudReport), CloudError> {
    let (position, owed) = shell
        .deps
        .log
        .read(|state| (state.size, state.fleet.owed_launches().count() + state.fleet.addressed().count()));
    let mut instances = shell.cloud.list().await?;
    instances.retain(|instance| instance.state.exists());
    let instances = instances.into_iter().map(|instance| instance.instance_id).collect();
    let (volumes, addresses) = (shell.cloud.volumes().await?, shell.cloud.addresses().await?);
    Ok((position, CloudReport { instances, volumes, addresses, owed }))
}

type Refused = (&'static str, String);

/// What a campaign will ask for, as if it ran.
fn outlook_of(shell: &Shell, command: &RoleCommand) -> Result<(u64, Outlook), Refused> {
    let AskOutlook { campaign } = json(command)?;
    let now = shell.deps.log.now_ms();
    let told =
        shell.deps.log.read(|state| (state.size, outlook::outlook(state, &campaign, now.max(state.at))));
    let campaign: String = campaign.chars().filter(|c| !c.is_control()).take(REASON_MAX_CHARS).collect();
    let none = || ("AST-S074", format!("there is no campaign {campaign} with calls to come"));
    Ok((told.0, told.1.ok_or_else(none)?))
}

fn read(command: &RoleCommand) -> Result<FleetCommand, Refused> {
    match command.verb.as_str() {
        "fleet.stop" => {
            let StopFleet { reason } = json(command)?;
            Ok(FleetCommand::Stop { reason: cut(&reason) })
        }
        "fleet.drain" => {
            let OneNode { node, reason } = json(command)?;
            Ok(FleetCommand::Drain { node, reason: cut(&reason) })
        }
        "fleet.undrain" => {
            let OneNode { node, reason } = json(command)?;
            Ok(FleetCommand::Undrain { node, reason: cut(&reason) })
        }
        other => {
            let other: String = other.chars().take(80).collect();
            Err(("AST-S020", format!("`{other}` is no verb of the scaler; known: {}", VERBS.join(", "))))
        }
    }
}

fn json<T: for<'a> Deserialize<'a>>(command: &RoleCommand) -> Result<T, Refused> {
    // No body means no arguments.
    let body: &[u8] = if command.json.is_empty() { b"{}" } else { &command.json };
    serde_json::from_slice(body).map_err(|error| ("AST-S021", format!("{}: {error}", command.verb)))
}

fn cut(reason: &str) -> String {
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_MAX_CHARS).collect();
    if reason.is_empty() { "asked for by an operator".to_owned() } else { reason }
}

/// The fleet as `fleet.list` tells it.
fn fleet_report(state: &State, shell: &Shell, at: u64) -> FleetReport {
    let (fleet, heartbeats, config) = (&state.fleet, &shell.heartbeats, &shell.config);
    let (mut nodes, mut ended): (Vec<NodeReport>, Vec<NodeReport>) =
        report::nodes(state, at).into_iter().partition(|node| node.status.exists());
    let ended_count = ended.len();
    ended.sort_by_key(|node| std::cmp::Reverse(fleet.nodes.get(&node.node).and_then(|node| node.ended_at)));
    ended.truncate(ENDED_LISTED_MAX);
    nodes.append(&mut ended);
    let (heard, fresh) = (heartbeats.snapshot(), heartbeats.fresh());
    let node_ms = fleet.node_ms(at);
    let cost = fleet.spent_micro_usd(at).unwrap_or_else(|| cost_micro_usd(node_ms, &config.policy));
    let answered = report::answered(state);
    FleetReport {
        stop_requested: fleet.stop_requested,
        last_plan: fleet.last_plan.clone(),
        nodes: nodes
            .into_iter()
            .map(|node| {
                let load = load(&heard, &node.node, fresh.contains(&node.node));
                NodeLine { node, load }
            })
            .collect(),
        ended: ended_count,
        intents: intents(state, at),
        peak_nodes: fleet.peak_nodes,
        node_ms,
        cost_micro_usd: cost,
        micro_usd_per_hour: fleet.micro_usd_per_hour(),
        answered,
        micro_usd_per_answer: cost.checked_div(answered),
        caps: fleet.paced.caps,
        in_flight: state.in_flight,
        limited_by: limited_by(state, at),
        prices: fleet.prices.as_ref().map(|prices| format!("{} {}", prices.book, prices.region)),
        troubles: shell.troubles.lines(),
    }
}

fn limited_by(state: &State, at: u64) -> BTreeMap<String, String> {
    let limit = |id: &String| Some((id.clone(), waits::limit(state, id, at)?.0));
    state.campaigns.keys().filter_map(limit).collect()
}

fn load(heard: &BTreeMap<NodeId, Heard>, node: &str, fresh: bool) -> Option<Load> {
    let Heard { heartbeat, at } = heard.get(node)?;
    Some(Load {
        state: heartbeat.state.clone(),
        why_not_ready: heartbeat.why_not_ready.clone(),
        prompts_problem: heartbeat.prompts_problem.clone(),
        recordings_unsent: heartbeat.recordings_unsent,
        recordings_problem: heartbeat.recordings_problem.clone(),
        ringing: heartbeat.ringing,
        up: heartbeat.up,
        free_slots: heartbeat.free_slots,
        cpu_permille: heartbeat.cpu_permille,
        heard_ms_ago: at.elapsed().as_millis() as u64,
        fresh,
    })
}

fn intents(state: &State, at: u64) -> Vec<IntentLine> {
    let line = |(id, intent): (&String, &asterism_domain::fleet::Intent)| IntentLine {
        intent: id.clone(),
        status: intent.status.clone(),
        age_s: at.saturating_sub(intent.at) / 1_000,
        failures: intent.failures,
    };
    let mut failed: Vec<IntentLine> = state
        .fleet
        .intents
        .iter()
        .filter(|(_, intent)| intent.status == IntentStatus::Failed)
        .map(line)
        .collect();
    failed.sort_by_key(|line| line.age_s);
    failed.truncate(ENDED_LISTED_MAX);
    state.fleet.owed_launches().map(line).chain(failed).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn command(verb: &str, json: &str) -> RoleCommand {
        RoleCommand { verb: verb.to_owned(), json: json.as_bytes().to_vec(), ..RoleCommand::default() }
    }

    #[test]
    fn verbs_are_read_or_refused_with_what_is_known() {
        let stop = read(&command("fleet.stop", "")).unwrap();
        assert_eq!(stop, FleetCommand::Stop { reason: "asked for by an operator".into() });
        let drain = read(&command("fleet.drain", r#"{"node":"i-1","reason":"re\npair"}"#)).unwrap();
        assert_eq!(drain, FleetCommand::Drain { node: "i-1".into(), reason: "repair".into() });
        assert_eq!(read(&command("fleet.drain", "")).unwrap_err().0, "AST-S021");
        assert_eq!(
            read(&command("fleet.drain", r#"{"node":"i-1","force":true}"#)).unwrap_err().0,
            "AST-S021"
        );
        let (code, reason) = read(&command("fleet.explode", "")).unwrap_err();
        assert_eq!(code, "AST-S020");
        assert!(VERBS.iter().all(|verb| reason.contains(verb)), "{reason}");
    }

    proptest! {
        #[test]
        fn any_command_is_read_or_refused(verb in "fleet\\.(stop|drain|undrain)|\\PC{0,100}", json in "\\PC{0,100}|\\{\"node\":\"[a-z.*]{0,9}\"\\}") {
            match read(&command(&verb, &json)) {
                Ok(FleetCommand::Stop { reason } | FleetCommand::Drain { reason, .. } | FleetCommand::Undrain { reason, .. }) => {
                    prop_assert!(!reason.is_empty() && reason.chars().count() <= REASON_MAX_CHARS);
                }
                Ok(other) => prop_assert!(false, "{other:?}"),
                Err((code, reason)) => prop_assert!(code.starts_with("AST-S02") && reason.len() < 1_000),
            }
        }
    }
}
