//! `asterism fleet`: the nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use asterism_proto::Role;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use crate::args::FleetCommand;
use crate::error::CliError;
use crate::output::{Align, table};
use crate::up::progress::dollars;

/// What is shown of the scaler's `FleetReport`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fleet {
    stop_requested: bool,
    last_plan: String,
    nodes: Vec<Node>,
    ended: u64,
    intents: Vec<Intent>,
    cost_micro_usd: u64,
    micro_usd_per_hour: u64,
    micro_usd_per_answer: Option<u64>,
    prices: Option<String>,
    caps: Caps,
    in_flight: u32,
    limited_by: BTreeMap<String, String>,
    troubles: Vec<Trouble>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Caps {
    calls_per_second: u32,
    node_calls_per_second: u32,
    max_channels: u32,
}

/// What the cloud refuses now.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Trouble {
    call: String,
    code: String,
    why: String,
    next: String,
    times: u32,
    for_s: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    #[serde(rename = "node")]
    id: String,
    status: String,
    capacity: u32,
    active: u32,
    pbx: String,
    up_s: u64,
    instance_type: String,
    market: String,
    micro_usd_per_hour: Option<u64>,
    address: Option<String>,
    load: Option<Load>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Load {
    why_not_ready: String,
    prompts_problem: String,
    recordings_unsent: u32,
    recordings_problem: String,
    ringing: u32,
    up: u32,
    cpu_permille: u32,
    fresh: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Intent {
    status: String,
}

pub(super) async fn run(context: &Context, command: FleetCommand) -> Result<(), CliError> {
    match command {
        FleetCommand::List { all } => list(context, all).await,
        FleetCommand::Stop { reason } => {
            let (_, client) = context.client().await?;
            client.role(Role::Scaler, "fleet.stop", &json!({ "reason": reason })).await?;
            context.out.result(&json!({ "done": "stop" }), || {
                "the fleet goes home: calls end in their own time, then the instances\nNext: asterism fleet list\n".to_owned()
            })
        }
        FleetCommand::Down { reason, wait } => down(context, &reason, Duration::from_secs(wait)).await,
        FleetCommand::Drain { node, reason } => {
            let text = "takes no new attempts; its calls end in their own time";
            one(context, "drain", &node, &reason, text).await
        }
        FleetCommand::Undrain { node, reason } => {
            one(context, "undrain", &node, &reason, "takes attempts again").await
        }
    }
}

/// What bills, by the cloud's own listing.
#[derive(Debug, Default, Deserialize)]
struct Cloud {
    instances: Vec<String>,
    volumes: Vec<String>,
    addresses: Vec<String>,
    owed: usize,
}

impl Cloud {
    /// Nothing bills, and nothing is on its way.
    fn is_empty(&self) -> bool {
        self.instances.len() + self.volumes.len() + self.addresses.len() + self.owed == 0
    }
}

/// Between two listings of the cloud: they are counted.
const LIST_EVERY: Duration = Duration::from_secs(2);

/// Ends with the cloud's own listing, whatever the log says. A listing that fails is no empty one.
async fn down(context: &Context, reason: &str, wait: Duration) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    client.role(Role::Scaler, "fleet.stop", &json!({ "reason": reason })).await?;
    let began = Instant::now();
    loop {
        let seen = client.role_json(Role::Scaler, "fleet.cloud", &json!({})).await;
        let left = match seen.map(|reply: Value| Cloud::deserialize(&reply)) {
            Ok(Ok(cloud)) if cloud.is_empty() => {
                let none = json!({ "done": "down", "instances": 0, "volumes": 0, "addresses": 0 });
                return context.out.result(&none, || {
                    "the fleet is gone: 0 instances, 0 volumes, 0 addresses by the cloud's own listing\n"
                        .to_owned()
                });
            }
            Ok(Ok(cloud)) => {
                let Cloud { instances, volumes, addresses, owed } = &cloud;
                format!(
                    "instances {instances:?}, volumes {volumes:?}, addresses {addresses:?}, {owed} launches without an answer"
                )
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if began.elapsed() >= wait {
            let what = format!("the fleet is not gone after {} s", wait.as_secs());
            return Err(CliError::new("AST-X001", what, left).next("asterism fleet list"));
        }
        tokio::time::sleep(LIST_EVERY).await;
    }
}

async fn one(context: &Context, verb: &str, node: &str, reason: &str, text: &str) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let args = json!({ "node": node, "reason": reason });
    let told = client.role(Role::Scaler, &format!("fleet.{verb}"), &args).await;
    told.map_err(|error| match error.next_command.as_str() {
        "" => error.next("asterism fleet list"),
        _ => error,
    })?;
    context.out.result(&json!({ "node": node, "done": verb }), || {
        format!("node {node} {text}\nNext: asterism fleet list\n")
    })
}

async fn list(context: &Context, all: bool) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let reply: Value = client.role_json(Role::Scaler, "fleet.list", &json!({})).await?;
    let fleet = Fleet::deserialize(&reply).map_err(|error| {
        CliError::new("AST-U003", "the answer of the scaler to fleet.list cannot be read", error.to_string())
    })?;
    context.out.result(&reply, || describe(&fleet, all))
}

fn describe(fleet: &Fleet, all: bool) -> String {
    let rows: Vec<Vec<String>> = fleet.nodes.iter().filter(|node| all || !has_ended(node)).map(row).collect();
    let mut text = if rows.is_empty() {
        "There is no node now. The scaler launches nodes when a campaign needs them.\n".to_owned()
    } else {
        let columns = [
            ("node", Align::Left),
            ("status", Align::Left),
            ("slots", Align::Right),
            ("ringing", Align::Right),
            ("up", Align::Right),
            ("cpu", Align::Right),
            ("runs", Align::Right),
            ("type", Align::Left),
            ("$/h", Align::Right),
            ("pbx", Align::Left),
            ("address", Align::Left),
            ("not ready because", Align::Left),
        ];
        table(&columns, &rows)
    };
    let owed = fleet.intents.iter().filter(|intent| !intent.status.eq_ignore_ascii_case("failed")).count();
    let (cost, hourly) = (dollars(fleet.cost_micro_usd), dollars(fleet.micro_usd_per_hour));
    let each =
        fleet.micro_usd_per_answer.map_or_else(|| "no call yet".to_owned(), |each| dollars(each) + " a call");
    let _ = writeln!(
        text,
        "launching {owed}, ended {}, cost so far {cost}, {hourly} an hour now, {each}",
        fleet.ended
    );
    if let Some(prices) = &fleet.prices {
        let _ = writeln!(text, "prices of {prices}");
    }
    text.push_str(&dialling(fleet));
    for Trouble { call, code, why, next, times, for_s } in &fleet.troubles {
        let why = crate::output::plain(why);
        let _ = writeln!(text, "{call} fails ({times} times in {}): {code}: {why}", duration(*for_s));
        if !next.is_empty() {
            let _ = writeln!(text, "Next: {next}");
        }
    }
    if fleet.stop_requested {
        text.push_str("the fleet was told to go home\n");
    }
    if !fleet.last_plan.is_empty() {
        let _ = writeln!(text, "last plan: {}", crate::output::plain(&fleet.last_plan));
    }
    text
}

/// The caps over all campaigns, and what keeps each running one from dialling more.
fn dialling(fleet: &Fleet) -> String {
    let Caps { calls_per_second, node_calls_per_second, max_channels } = fleet.caps;
    let caps = [
        (calls_per_second, "calls a second"),
        (node_calls_per_second, "calls a second on one node"),
        (max_channels, "calls at once"),
    ];
    let caps: Vec<String> =
        caps.iter().filter(|(cap, _)| *cap > 0).map(|(cap, of)| format!("{cap} {of}")).collect();
    let mut text = String::new();
    if !caps.is_empty() {
        let _ = writeln!(text, "at most {}; {} in flight", caps.join(", "), fleet.in_flight);
    }
    for (campaign, why) in &fleet.limited_by {
        let _ = writeln!(text, "campaign {campaign}: the next one waits: {why}");
    }
    text
}

fn has_ended(node: &Node) -> bool {
    matches!(node.status.to_ascii_lowercase().as_str(), "terminated" | "lost")
}

fn row(node: &Node) -> Vec<String> {
    // What was not heard lately is unknown, never zero.
    let fresh = node.load.as_ref().filter(|load| load.fresh);
    let known = |value: fn(&Load) -> String| fresh.map_or_else(|| "?".to_owned(), value);
    vec![
        node.id.clone(),
        node.status.to_ascii_lowercase(),
        format!("{}/{}", node.active, node.capacity),
        known(|load| load.ringing.to_string()),
        known(|load| load.up.to_string()),
        known(|load| format!("{}%", load.cpu_permille / 10)),
        duration(node.up_s),
        format!("{} {}", node.instance_type, node.market).trim().to_owned(),
        // A price nobody knows is not zero.
        node.micro_usd_per_hour.map_or_else(|| "?".to_owned(), dollars),
        node.pbx.clone(),
        node.address.clone().unwrap_or_default(),
        fresh.map(problems).unwrap_or_default(),
    ]
}

/// Why it takes no calls, why it lacks prompts, and why it keeps recordings.
fn problems(load: &Load) -> String {
    let unsent = match load.recordings_problem.as_str() {
        "" => String::new(),
        why => format!("{} recordings not sent: {why}", load.recordings_unsent),
    };
    let said = [&load.why_not_ready, &load.prompts_problem, &unsent];
    said.map(|said| crate::output::plain(said))
        .into_iter()
        .filter(|said| !said.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// Seconds for people: `47s`, `12m05s`, `3h07m`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn seconds_are_shown_as_people_say_them() {
        assert_eq!(
            [duration(0), duration(59), duration(725), duration(11_220)],
            ["0s", "59s", "12m05s", "3h07m"]
        );
    }

    #[test]
    fn ended_nodes_are_left_out_and_silence_is_not_zero() {
        let fleet: Fleet = serde_json::from_value(json!({
            "nodes": [
                { "node": "i-1", "status": "ready", "capacity": 20, "active": 3, "up_s": 61, "load": { "up": 2, "fresh": false } },
                { "node": "i-2", "status": "Terminated" },
            ],
            "ended": 1, "cost_micro_usd": 1_500_000, "new_field": true,
            "troubles": [{ "call": "launching", "code": "AST-S060", "why": "no\u{1b} more", "next": "ask for more", "times": 3, "for_s": 61 }],
        }))
        .unwrap();
        let text = describe(&fleet, false);
        assert!(
            text.contains("i-1")
                && text.contains("3/20")
                && text.contains('?')
                && text.contains("cost so far $1.500000, $0.000000 an hour now, no call yet"),
            "{text}"
        );
        assert!(!text.contains("i-2"), "{text}");
        let told = "launching fails (3 times in 1m01s): AST-S060: no\u{fffd} more\nNext: ask for more\n";
        assert!(text.contains(told), "{text}");
        assert!(describe(&fleet, true).contains("i-2"));
    }
}
