//! `scale-reaction`: from need to the first slot that is claimed, less the boot: what the plan, the log, the cloud's answer,
//! the registration and the dialler add to a machine's own start.
//!
//! Timed by the log's own record times on a fleet that has no node: from `CampaignStarted` to the first `AttemptIntended`,
//! less the time from `NodeLaunched` to `NodeReady` of the node it is for.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use asterism_domain::Event;
use asterism_domain::wire::decode_bytes;
use asterism_event_log::LogFolder;
use serde_json::json;

use super::demo::Demo;
use super::report::{Figure, median, scratch, spread};

const ROUNDS: usize = 7;
/// A call each, on one node.
const CONTACTS: u64 = 20;
const CAPACITY: u32 = 20;
/// Everyone is busy, and says so at once.
const CALLEES: &str = "[setup]\nmin_ms = 0\nmax_ms = 0\n\n[ring]\nmin_ms = 0\nmax_ms = 0\n\n\
                       [[number]]\nnumber = \"*\"\nhabit = \"busy\"\nring_ms = 0\n";

/// One reaction, in seconds.
struct Reaction {
    without_boot: f64,
    boot: f64,
    to_the_launch: f64,
}

/// Runs the demo several times.
pub fn run() -> anyhow::Result<Figure> {
    let mut reactions = Vec::new();
    for _ in 0..ROUNDS {
        let dir = scratch()?;
        Demo { contacts: CONTACTS, capacity: CAPACITY, max_nodes: 1, callees: CALLEES }.run(dir.path())?;
        reactions.push(reaction(&dir.path().join("demo/log"))?);
    }
    let all = |of: fn(&Reaction) -> f64| reactions.iter().map(of).collect::<Vec<f64>>();
    let (without_boot, boot, launch) =
        (all(|one| one.without_boot), all(|one| one.boot), all(|one| one.to_the_launch));
    Ok(Figure {
        value: median(&without_boot),
        unit: "s",
        baseline: None,
        ratio: None,
        note: format!(
            "from the start of a campaign on a fleet without a node to its first attempt decided, less the node's boot of {:.2} \
             s (a process of this machine); record times of the log",
            median(&boot)
        ),
        detail: json!({
            "s": spread(&without_boot),
            "boot_s": spread(&boot),
            "to_the_launch_s": spread(&launch),
        }),
    })
}

fn reaction(log: &Path) -> anyhow::Result<Reaction> {
    let (mut started, mut intended) = (None, None);
    let (mut launched, mut ready) = (BTreeMap::new(), BTreeMap::new());
    for frame in LogFolder::open(log, None)?.frames() {
        let accepted = frame?;
        let at = accepted.record_time_ms;
        for event in &accepted.frame.events {
            match decode_bytes(event)?.1 {
                Event::CampaignStarted { .. } => started = Some(at),
                Event::NodeLaunched { node, .. } => _ = launched.entry(node).or_insert(at),
                Event::NodeReady { node, .. } => _ = ready.entry(node).or_insert(at),
                Event::AttemptIntended { node, .. } if intended.is_none() => intended = Some((node, at)),
                _ => {}
            }
        }
    }
    let started = started.context("no campaign was started")?;
    let (node, intended) = intended.context("nothing was dialled")?;
    let launched = launched.get(&node).copied().context("the node was never launched")?;
    let ready = ready.get(&node).copied().context("the node was never ready")?;
    ensure!(started <= launched, "the node was there before it was needed: its boot would not count");
    let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1_000.0;
    let boot = seconds(launched, ready);
    Ok(Reaction {
        without_boot: (seconds(started, intended) - boot).max(0.0),
        boot,
        to_the_launch: seconds(started, launched),
    })
}
