//! The report: what the log says, what the carrier says, and what an independent replay of the sealed log says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use asterism_domain::report::campaigns;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::progress::{cost, dollars, per_call};
use super::system::{System, sibling};

/// The report's figures; the same names in `report.json`, micro-dollars as dollars.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Contacts imported.
    pub contacts: u32,
    /// Contacts settled, excluded ones included.
    pub settled: u32,
    /// Contacts excluded by a rule.
    pub excluded: u32,
    /// Contacts whose last attempt nobody can explain.
    pub uncertain: u32,
    /// Contacts by outcome.
    pub outcomes: BTreeMap<String, u32>,
    /// Answered contacts by digits pressed.
    pub digits: BTreeMap<String, u32>,
    /// Attempts that reached the carrier, by the log.
    pub attempts: u32,
    /// Attempts answered.
    pub answered: u32,
    /// Rings the carrier saw.
    pub rings: u64,
    /// Attempts the carrier saw more than once.
    pub double_rings: u64,
    /// Most attempts in flight at once.
    pub peak_calls: u32,
    /// Most nodes at once.
    pub peak_nodes: u32,
    /// Node seconds.
    pub node_seconds: u64,
    /// What they would have cost.
    #[serde(rename = "cost_usd", serialize_with = "as_dollars")]
    pub cost_micro_usd: u64,
    /// Dialplan steps answered.
    pub steps: u64,
    /// Events in the log.
    pub events: u64,
    /// Events that fit nothing.
    pub incidents: u64,
    /// Decisions that came too late and had no effect.
    pub voids: u64,
    /// Folder of the sealed log.
    pub log_dir: String,
    /// The carrier's own record; empty with real Asterisk.
    pub rings_file: String,
    /// Root of the log.
    pub log_root: String,
    /// Hash of the live state.
    pub state_hash: String,
    /// Root the replay found.
    pub replay_root: String,
    /// Hash of the state the replay folded.
    pub replay_state_hash: String,
    /// Whether the replay found the log whole, its root and state equal, and every invariant held.
    pub replay_ok: bool,
    /// Wall time, seconds.
    pub duration_s: f64,
}

/// What `asterism-replay verify --json` says, as far as the report needs it.
#[derive(Debug, Deserialize)]
#[allow(clippy::struct_field_names)] // the names are the other program's
struct Replay {
    events: u64,
    root: String,
    state_hash: String,
    replay_ok: bool,
}

impl Report {
    /// Ends the services, seals the log, replays it in a separate process, and counts.
    pub async fn make(system: &System, took: Duration) -> anyhow::Result<Self> {
        system.client.role(asterism_proto::Role::Ledger, "ledger.seal", &serde_json::json!({})).await?;
        system.stop_services().await?;
        let log = &system.deps.log;
        log.sync().await.context("AST-U090: the log could not be made durable")?;
        log.seal().await?;
        let folder = system.dir.join("log");
        let replay = replay(&folder, &hex::encode(system.deps.keyring.anchor())).await?;
        let rings = if system.rings_file.exists() {
            Some(asterism_pbx_sim::recorder::read_rings(&system.rings_file, |_| {})?)
        } else {
            None
        };
        let (events, root) =
            log.sequencer(|sequencer, _, _| (sequencer.size(), hex::encode(sequencer.root())));
        let report = log.read(|state| {
            let mut report = Self::of_campaigns(&campaigns(state, state.at));
            report.peak_calls = state.peak_in_flight;
            report.peak_nodes = state.fleet.peak_nodes;
            report.node_seconds = state.fleet.node_ms(state.at) / 1000;
            report.cost_micro_usd = cost(system, state);
            report.steps = state.steps;
            report.incidents = state.incidents;
            report.voids = state.voids;
            report.state_hash = hex::encode(state.hash());
            report
        });
        let agrees = replay.root == root && replay.events == events && replay.state_hash == report.state_hash;
        Ok(Self {
            rings: rings.as_ref().map_or(0, |count| count.rings),
            double_rings: rings.as_ref().map_or(0, |count| count.double_rings),
            rings_file: rings.map(|_| system.rings_file.display().to_string()).unwrap_or_default(),
            events,
            log_dir: folder.display().to_string(),
            log_root: root,
            replay_root: replay.root,
            replay_state_hash: replay.state_hash,
            replay_ok: replay.replay_ok && agrees,
            duration_s: took.as_secs_f64(),
            ..report
        })
    }

    fn of_campaigns(all: &[asterism_domain::report::CampaignReport]) -> Self {
        let mut outcomes = BTreeMap::new();
        let mut digits = BTreeMap::new();
        for campaign in all {
            for (outcome, count) in &campaign.outcomes {
                *outcomes.entry((*outcome).to_owned()).or_default() += count;
            }
            for (pressed, count) in &campaign.digits {
                let name = if pressed.is_empty() { "none" } else { pressed };
                *digits.entry(name.to_owned()).or_default() += count;
            }
        }
        let sum = |pick: fn(&asterism_domain::report::CampaignReport) -> u32| all.iter().map(pick).sum();
        Self {
            contacts: sum(|campaign| campaign.contacts),
            settled: sum(|campaign| campaign.settled),
            excluded: sum(|campaign| campaign.excluded),
            uncertain: sum(|campaign| campaign.uncertain),
            attempts: sum(|campaign| campaign.rang),
            answered: sum(|campaign| campaign.answered),
            outcomes,
            digits,
            rings: 0,
            double_rings: 0,
            peak_calls: 0,
            peak_nodes: 0,
            node_seconds: 0,
            cost_micro_usd: 0,
            steps: 0,
            events: 0,
            incidents: 0,
            voids: 0,
            log_dir: String::new(),
            rings_file: String::new(),
            log_root: String::new(),
            state_hash: String::new(),
            replay_root: String::new(),
            replay_state_hash: String::new(),
            replay_ok: false,
            duration_s: 0.0,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let list = |map: &BTreeMap<String, u32>| {
            let all: Vec<String> = map.iter().map(|(name, count)| format!("{count} {name}")).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        let lines = [
            String::new(),
            format!(
                "Contacts      {} imported, {} settled, {} excluded, {} uncertain",
                self.contacts, self.settled, self.excluded, self.uncertain
            ),
            format!("Outcomes      {}", list(&self.outcomes)),
            format!("Digits        {}", self.pressed()),
            format!(
                "Attempts      {} reached the carrier, {} answered, {}",
                self.attempts,
                self.answered,
                count(self.steps, "flow step")
            ),
            format!("Carrier       {}", self.carrier()),
            format!(
                "Fleet         peak {} in flight on {}",
                count(self.peak_calls.into(), "call"),
                count(self.peak_nodes.into(), "node")
            ),
            format!(
                "Cost          {}, would have cost {}, {}",
                count(self.node_seconds, "node-second"),
                dollars(self.cost_micro_usd),
                per_call(self.cost_micro_usd, self.answered.into())
            ),
            format!("Log           {}, root {}", count(self.events, "event"), self.log_root),
            format!(
                "State         {} ({}, {})",
                self.state_hash,
                count(self.incidents, "incident"),
                count(self.voids, "void decision")
            ),
            format!(
                "Replay        {}",
                if self.replay_ok {
                    "agrees: same root, same state, every invariant holds"
                } else {
                    "DOES NOT AGREE"
                }
            ),
            format!("Took          {:.1} s", self.duration_s),
        ];
        lines.join("\n") + "\n"
    }

    /// Keys, each with how many callees pressed it.
    fn pressed(&self) -> String {
        let all: Vec<String> = self.digits.iter().map(|(keys, count)| format!("{keys}: {count}")).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }

    /// What the far end saw. Behind real Asterisk nobody here can count it.
    fn carrier(&self) -> String {
        if self.rings_file.is_empty() {
            return "its count is not known here; its own records must show no attempt twice".to_owned();
        }
        let twice = match self.double_rings {
            0 => "no attempt rang twice".to_owned(),
            some => format!("{} RANG TWICE", count(some, "attempt")),
        };
        format!("{} recorded, {twice}", count(self.rings, "ring"))
    }
}

/// A number with its noun.
fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Serde's signature asks for the reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn as_dollars<S: serde::Serializer>(micro_usd: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*micro_usd as f64 / 1e6)
}

/// Writes `report.json`, whole or not at all.
pub fn write(report: &Report, path: &Path) -> anyhow::Result<()> {
    let temporary = path.with_extension("json.new");
    std::fs::write(&temporary, serde_json::to_vec_pretty(report)?)
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("AST-U091: {} cannot be written", path.display()))
}

/// Another program, another process: it sees the folder and the anchor, nothing else.
async fn replay(folder: &Path, anchor: &str) -> anyhow::Result<Replay> {
    let output = Command::new(sibling("asterism-replay")?)
        .arg("verify")
        .arg(folder)
        .args(["--anchor", anchor, "--json"])
        .stdin(Stdio::null())
        .output()
        .await
        .context("AST-U092: asterism-replay cannot be started")?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("AST-U093: asterism-replay said: {}", String::from_utf8_lossy(&output.stderr).trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let map = |pairs: &[(&str, u32)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        Report {
            contacts: 30,
            settled: 29,
            uncertain: 1,
            outcomes: map(&[("answered", 20), ("busy", 9)]),
            digits: map(&[("1", 12), ("2", 5), ("none", 3)]),
            attempts: 30,
            answered: 20,
            rings: 30,
            peak_calls: 12,
            peak_nodes: 1,
            node_seconds: 61,
            cost_micro_usd: 704,
            steps: 71,
            events: 412,
            voids: 1,
            rings_file: "rings.csv".to_owned(),
            log_root: "5f1c".to_owned(),
            state_hash: "0a2b".to_owned(),
            replay_ok: true,
            duration_s: 12.34,
            ..Report::of_campaigns(&[])
        }
    }

    #[test]
    fn the_report_of_a_simulated_fleet_is_as_it_was_agreed() {
        assert_eq!(
            report().text(),
            "
Contacts      30 imported, 29 settled, 0 excluded, 1 uncertain
Outcomes      20 answered, 9 busy
Digits        1: 12, 2: 5, none: 3
Attempts      30 reached the carrier, 20 answered, 71 flow steps
Carrier       30 rings recorded, no attempt rang twice
Fleet         peak 12 calls in flight on 1 node
Cost          61 node-seconds, would have cost $0.000704, $0.000035 a call
Log           412 events, root 5f1c
State         0a2b (0 incidents, 1 void decision)
Replay        agrees: same root, same state, every invariant holds
Took          12.3 s
"
        );
        let twice = Report { rings: 31, double_rings: 1, ..report() };
        assert_eq!(twice.carrier(), "31 rings recorded, 1 attempt RANG TWICE");
    }

    #[test]
    fn behind_real_asterisk_the_report_claims_no_count_of_the_carrier() {
        let real = Report { rings: 0, rings_file: String::new(), digits: BTreeMap::new(), ..report() };
        let text = real.text();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert_eq!(line("Digits"), "Digits        none");
        assert_eq!(
            line("Carrier"),
            "Carrier       its count is not known here; its own records must show no attempt twice"
        );
    }
}
