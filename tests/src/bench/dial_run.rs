//! `dial-rate`, `dial-commit` and `dial-smooth`: a campaign through all the programs, with simulated nodes whose callees are
//! busy at once; the log is on, JetStream syncs always, and the carrier's recorder says when and whom each attempt rang.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use asterism_domain::campaign::CampaignStatus;
use asterism_domain::wire::decode_bytes;
use asterism_domain::{AttemptId, Event, invariant};
use asterism_event_log::LogFolder;
use asterism_pbx_sim::recorder::read_rings;
use asterism_proto::Role;
use serde_json::{Value, json};

use super::probe;
use super::report::{Figure, rounded, scratch};
use crate::stack::{CAMPAIGN, Stack, StackOptions, StackPbx};

/// What a carrier of 680 calls a second is: the aim of `dial-rate`, the cap of the others.
const CARRIER: u32 = 680;
const NODES: u32 = 6;
const SLOTS: u32 = 150;
/// What a trunk is set to where nothing is to hold it: far above what this machine can.
const UNCAPPED: u32 = 2_000;
/// Left out at the beginning: nodes come up, and a cap's first second.
const WARM_MS: u64 = 3_000;
const PATIENCE: Duration = Duration::from_secs(240);
const CALLEES: &str =
    "[setup]\nmin_ms = 0\nmax_ms = 0\n\n[[number]]\nnumber = \"*\"\nhabit = \"busy\"\nring_ms = 0\n";

/// Longest from the first node that dials to the last, s.
const BOOT_S: u64 = 20;

/// What one campaign showed.
struct Seen {
    /// When each attempt rang, ms, in order; those of the warm-up are left out.
    rings: Vec<u64>,
    /// From decision to custody of each attempt that was accepted, ms; the same.
    accepted_ms: Vec<u64>,
    refused: u32,
    uncertain: u32,
    seconds: u64,
    fsync: Value,
}

/// Dials for so long, at a cap or as fast as it goes.
async fn dial(seconds: u64, cap: Option<u32>) -> anyhow::Result<Seen> {
    let dir = scratch()?;
    let fsync = probe::fsync(dir.path())?;
    let (callees, list) = (dir.path().join("callees.toml"), dir.path().join("contacts.csv"));
    fs::write(&callees, CALLEES)?;
    // More than can be dialled in the time, and until the last node is there, while the first ones dial.
    let most = u64::from(cap.unwrap_or(UNCAPPED)) * (seconds + 2 * WARM_MS / 1000 + BOOT_S);
    fs::write(&list, contacts(most)?)?;
    let env = [
        ("ASTERISM_CALLEES", callees.display().to_string()),
        ("ASTERISM_TRUNKS__CARRIER__CALLS_PER_SECOND", cap.unwrap_or(UNCAPPED).to_string()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let options = StackOptions { max_nodes: NODES, capacity: SLOTS, pbx: StackPbx::Sim };
    let stack = Box::pin(Stack::start_with_env(options, env)).await;
    Box::pin(stack.campaign_of(&list, None, 1)).await;
    let dialling = |state: &asterism_domain::State| {
        state.fleet.nodes.values().filter(|node| node.dialable() && !node.manifests.is_empty()).count()
            == NODES as usize
            && state.campaigns[CAMPAIGN].counts.rang > 0
    };
    stack.wait("every node dials", PATIENCE, dialling).await;
    tokio::time::sleep(Duration::from_millis(2 * WARM_MS) + Duration::from_secs(seconds)).await; // the measure's length
    let stop = json!({ "campaign": CAMPAIGN, "reason": "measured" });
    let over = stack.log.read(|state| state.campaigns[CAMPAIGN].status == CampaignStatus::Completed);
    ensure!(!over, "there were too few contacts");
    stack.client.role(Role::Dialer, "campaign.stop", &stop).await?;
    stack.wait("all attempts end", PATIENCE, |state| state.in_flight == 0).await;
    checked(&stack, seconds, fsync).await
}

/// The log proves itself, nobody was rung twice, and each ring is in the log.
async fn checked(stack: &Stack, seconds: u64, fsync: Value) -> anyhow::Result<Seen> {
    stack.replay_agrees().await;
    let differences = stack.ring_differences();
    ensure!(differences.is_empty(), "{differences:?}");
    let count = stack.rings();
    ensure!(count.double_rings == 0, "{} attempts rang twice", count.double_rings);
    let broken = stack.log.read(invariant::broken);
    ensure!(broken.is_empty(), "{broken:?}");
    let mut all = Vec::new();
    read_rings(&stack.path().join("rings.csv"), |ring| all.push(ring.unix_ms))?;
    all.sort_unstable();
    // The last full span of the asked length: the fleet was whole by then.
    let until = all.last().context("nobody was rung")?.saturating_sub(WARM_MS);
    let from = until.saturating_sub(seconds * 1000);
    ensure!(all[0] + WARM_MS <= from, "it dialled for too short a time");
    let rings = all.into_iter().filter(|at| (from..until).contains(at)).collect();
    let (refused, uncertain) = stack.log.read(|state| {
        let counts = &state.campaigns[CAMPAIGN].counts;
        (counts.refused, counts.uncertain)
    });
    let accepted_ms = custody(&stack.path().join("log-observer"), from..until)?;
    Ok(Seen { rings, accepted_ms, refused, uncertain, seconds, fsync })
}

/// From the decision of each attempt, by the dialer's clock, to its custody, by the node's; both follow the stream's.
fn custody(log: &Path, within: std::ops::Range<u64>) -> anyhow::Result<Vec<u64>> {
    let (mut decided, mut took) = (std::collections::BTreeMap::<AttemptId, u64>::new(), Vec::new());
    for frame in LogFolder::open(log, None)?.frames() {
        for bytes in &frame?.frame.events {
            let (wire, event) = decode_bytes(bytes)?;
            match event {
                Event::AttemptIntended { attempt, .. } => drop(decided.insert(attempt, wire.occurred_at_ms)),
                Event::AttemptAccepted { attempt, .. } => {
                    let from = decided.remove(&attempt).context("accepted and not intended")?;
                    if within.contains(&from) {
                        took.push(wire.occurred_at_ms.saturating_sub(from));
                    }
                }
                _ => {}
            }
        }
    }
    took.sort_unstable();
    ensure!(!took.is_empty(), "nothing was accepted");
    Ok(took)
}

fn contacts(many: u64) -> anyhow::Result<String> {
    let mut list = String::from("number\n");
    for n in 0..many {
        writeln!(list, "+1{}{:07}", 202 + n / 1_000_000, 2_000_000 + n % 1_000_000)?;
    }
    Ok(list)
}

impl Seen {
    fn per_s(&self) -> f64 {
        self.rings.len() as f64 / self.seconds as f64
    }

    fn detail(&self) -> Value {
        let at = |permille: usize| self.accepted_ms[self.accepted_ms.len() * permille / 1001];
        let seconds = self.rings.chunk_by(|a, b| a / 1000 == b / 1000).map(<[u64]>::len);
        json!({
            "dials_per_s": rounded(self.per_s()),
            "slowest_second": seconds.clone().skip(1).min(),
            "fastest_second": seconds.max(),
            "rings": self.rings.len(),
            "refused": self.refused,
            "uncertain": self.uncertain,
            "decision_to_custody_ms": { "p50": at(500), "p90": at(900), "p99": at(990), "max": at(1000) },
            "nodes": NODES,
            "seconds": self.seconds,
            "fsync_probe": self.fsync,
        })
    }

    /// Most rings in any sliding window of this length.
    fn most_within(&self, window_ms: u64) -> usize {
        let (mut most, mut first) = (0, 0);
        for (last, at) in self.rings.iter().enumerate() {
            while self.rings[first] + window_ms <= *at {
                first += 1;
            }
            most = most.max(last - first + 1);
        }
        most
    }
}

/// As fast as it goes.
pub async fn rate() -> anyhow::Result<Figure> {
    let seen = Box::pin(dial(60, None)).await?;
    Ok(Figure {
        value: seen.per_s(),
        unit: "dials/s",
        baseline: Some(f64::from(CARRIER)),
        ratio: Some(seen.per_s() / f64::from(CARRIER)),
        note: format!(
            "rings at the carrier over 60 s, at a pace of {UNCAPPED}, {NODES} agents and simulators, services, an observing copy and nats-server on \
             this machine at sync_interval always; no attempt rang twice, the log proves it"
        ),
        detail: seen.detail(),
    })
}

/// From decision to custody.
pub async fn commit() -> anyhow::Result<Figure> {
    let seen = Box::pin(dial(30, Some(CARRIER))).await?;
    let p50 = seen.accepted_ms[seen.accepted_ms.len() / 2];
    Ok(Figure {
        value: p50 as f64,
        unit: "ms",
        baseline: None,
        ratio: None,
        note: format!(
            "p50 from an attempt's decision to its custody at a node, at a cap of {CARRIER} a second"
        ),
        detail: seen.detail(),
    })
}

/// How even a cap is kept.
pub async fn smooth() -> anyhow::Result<Figure> {
    let seen = Box::pin(dial(30, Some(CARRIER))).await?;
    let (most, even) = (seen.most_within(100) as f64, f64::from(CARRIER) / 10.0);
    let mut detail = seen.detail();
    detail["most_in_10_ms"] = json!(seen.most_within(10));
    detail["most_in_1_s"] = json!(seen.most_within(1_000));
    Ok(Figure {
        value: most,
        unit: "rings in 100 ms",
        baseline: Some(even),
        ratio: Some(most / even),
        note: format!(
            "most rings in any sliding 100 ms at the carrier, at a cap of {CARRIER} a second for 30 s"
        ),
        detail,
    })
}
