//! `media-playback-cpu`: what Asterisk spends on 100 calls that hear a prompt in their trunk's own format, against the same
//! calls hearing one that it must transcode for each of them. Real Asterisk on a node of a whole system, SIPp as the carrier.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use asterism_cli::{import, ops};
use asterism_dialer::commands::CreateCampaign;
use asterism_domain::State;
use serde_json::json;

use super::probe;
use super::report::{Figure, median, rounded, spread};
use crate::asterisk::RealParts;
use crate::commands::done;
use crate::sipp::{Carrier, Habits};
use crate::stack::{CALLER, Stack, StackOptions, StackPbx};

const CALLS: usize = 100;
const ROUNDS: usize = 2;
/// Of a prompt, in one piece; calls begin within the first seconds of it.
const PROMPT_S: usize = 30;
const PERIOD: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(2);
/// Nobody presses or leaves.
const HABITS: Habits = Habits { press_ms: 90_000, leave_ms: 90_000 };
const FORMATS: [&str; 2] = ["ulaw", "sln16"];
const FLOW: &str = "name = \"long\"\nstart = \"hello\"\nfallback = \"end\"\n[states.hello]\nplay = [\"long\"]\nnext = \"end\"\n\
    [states.end]\nhangup = {}\n";

/// Measures both in turn.
pub async fn run() -> anyhow::Result<Figure> {
    let parts = RealParts::from_env().map_err(anyhow::Error::msg)?;
    let carrier = Carrier::start(&parts.sipp, HABITS);
    let pbx = StackPbx::Asterisk { root: parts.root, carrier: carrier.port };
    let stack = Box::pin(Stack::start_with(StackOptions { max_nodes: 1, capacity: CALLS as u32, pbx })).await;
    let folder = stack.path().join("long");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("long.wav"), tone())?;
    let (mut native, mut transcoded) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        native.push(Box::pin(cpu_of(&stack, round, FORMATS[0])).await?);
        transcoded.push(Box::pin(cpu_of(&stack, round, FORMATS[1])).await?);
    }
    let ratios: Vec<f64> = native.iter().zip(&transcoded).map(|(own, other)| other / own).collect();
    Ok(Figure {
        value: median(&native),
        unit: "% of a core",
        baseline: Some(median(&transcoded)),
        ratio: Some(median(&ratios)),
        note: format!(
            "Asterisk's processor time while {CALLS} calls hear a prompt in the trunk's µ-law, for {} s; baseline: the same prompt \
             as 16,000 samples a second, transcoded for each call",
            PERIOD.as_secs()
        ),
        detail: json!({
            "native": spread(&native),
            "transcoded": spread(&transcoded),
            "native_ms_per_call_s": rounded(median(&native) * 10.0 / CALLS as f64),
        }),
    })
}

/// Calls everybody with the prompt in one format; what Asterisk took while all were up, % of a core.
async fn cpu_of(stack: &Stack, round: usize, format: &str) -> anyhow::Result<f64> {
    let (campaign, prompts) = (format!("{format}-{round}-x"), stack.path().join("long"));
    let words = ["media", "publish", &prompts.display().to_string(), "--name", format, "--format", format];
    let manifest = done(stack, &words)["manifest"].as_str().context("a manifest")?.to_owned();
    let (client, flow) = (&stack.client, stack.path().join("long.toml"));
    fs::write(&flow, FLOW)?;
    let store = asterism_object_store::open(&stack.config.objects_url().map_err(anyhow::Error::msg)?).await?;
    let flow = ops::publish_flow(client, store.as_ref(), &flow).await?;
    let create: CreateCampaign = serde_json::from_value(json!({
        "campaign": campaign, "flow": flow.id(), "manifest": manifest, "trunk": "carrier",
        "ring_timeout_ms": 10_000, "max_attempts": 1, "caller_id": CALLER, "calls_per_second": 25,
    }))?;
    ops::create_campaign(client, &create).await?;
    let list = stack.path().join(format!("{campaign}.csv"));
    let csv = (0..CALLS).fold("number\n".to_owned(), |mut csv, n| {
        let _ = writeln!(csv, "+1{}{}550150", 202 + n % 50, 5 + n / 50);
        csv
    });
    fs::write(&list, csv)?;
    ops::import_contacts(client, &campaign, &list, &import::Options::default(), None, |_| {}).await?;
    ops::start_campaign(client, &campaign).await?;
    let up = |state: &State| state.campaigns[&campaign].counts.up as usize;
    stack.wait("all calls up", PATIENCE, |state| up(state) == CALLS).await;
    let node = stack.log.read(|state| {
        state.fleet.nodes.iter().find(|(_, node)| !node.attempts.is_empty()).map(|(id, _)| id.clone())
    });
    let node = node.context("a node with calls")?;
    let file = stack.path().join("data/nodes/instances").join(node).join("asterisk.pid");
    let pid: i32 = fs::read_to_string(file)?.trim().parse()?;
    let before = probe::cpu_s(pid)?;
    tokio::time::sleep(PERIOD).await; // what is measured
    let used = probe::cpu_s(pid)? - before;
    ensure!(stack.log.read(up) == CALLS, "calls ended while they were measured");
    let ended = |state: &State| state.campaigns[&campaign].ended_at.is_some();
    stack.wait("the end of all calls", PATIENCE, ended).await;
    Ok(used / PERIOD.as_secs_f64() * 100.0)
}

/// A tone of 16,000 samples a second, so that neither format is made of the other.
fn tone() -> Vec<u8> {
    let (rate, samples) = (16_000_u32, 16_000 * PROMPT_S);
    let size = (samples * 2) as u32;
    let mut bytes = Vec::with_capacity(44 + samples * 2);
    bytes.extend(b"RIFF");
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend([1_u16, 1].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend([rate, rate * 2].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend([2_u16, 16].iter().flat_map(|field| field.to_le_bytes()));
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    let wave = |at: usize| (at as f64 / f64::from(rate) * 440.0 * std::f64::consts::TAU).sin() * 9_000.0;
    bytes.extend((0..samples).flat_map(|at| (wave(at) as i16).to_le_bytes()));
    bytes
}
