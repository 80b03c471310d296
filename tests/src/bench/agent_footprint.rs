//! `agent-footprint`: what an agent needs while 100 calls are up, 20 dials and 50 steps a second come in, and while the
//! bus is gone.
//!
//! The cut is a killed nats-server. A node that is cut off dials what it holds only, at most ten seconds of it: it is
//! given that much just before. The dialplans go on asking; what they hear is the fallback, and every fact waits in the
//! agent's spool until the bus is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use asterism_nats::server::SyncInterval;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::dialplan::Asker;
use super::node::{Node, busy, dial};
use super::probe;
use super::report::{Figure, rounded};
use super::world::{World, announce_checkpoint, call, now_ms};

/// Calls that stay up.
const CALLS: usize = 100;
/// Between two questions of one call: 100 calls ask 50 times a second.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Contacts dialled in a second.
const DIALS_PER_S: usize = 20;
/// Length of each phase.
const PHASE: Duration = Duration::from_secs(60);
/// What an agent may dial without the bus.
const WINDOW_S: usize = 9;
/// How often orders leave.
const ORDER_EVERY: Duration = Duration::from_millis(500);
/// How often the ledger's part is played: its own interval.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// Slots: the calls, and what is dialled in one window.
const CAPACITY: u32 = 400;
const HELD: &str = "hold";
const BUSY: &str = "busy";

/// What a phase cost.
struct Phase {
    peak_mb: f64,
    resident_mb: f64,
    cpu_percent: f64,
    steps: u64,
    dials: usize,
}

/// The tasks around the agent.
struct Load {
    steps: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// Measures one node in both phases.
pub async fn run() -> anyhow::Result<Figure> {
    let mut world = World::start(SyncInterval::Always).await?;
    let node = Node::start(&world, CAPACITY).await?;
    let askers = node.hold(&world, HELD, CALLS).await?;
    let pid = node.agent_pid()?;
    let load = Load::start(&world, askers);

    let began = Measure::begin(pid, &load)?;
    let mut dialled = dial_for(&world, PHASE).await?;
    let connected = began.end(dialled, &load)?;
    load.check("connected")?;

    let ahead = WINDOW_S * DIALS_PER_S;
    dial_ahead(&world, dialled, ahead).await?;
    dialled += ahead;
    world.server.kill9();
    let began = Measure::begin(pid, &load)?;
    tokio::time::sleep(PHASE).await; // the cut's length is the measure's
    let cut = began.end(ahead, &load)?;
    load.check("cut off")?;
    world.server.restart().await?;
    let back = Instant::now();
    ensure!(node.agent_pid()? == pid, "the agent was started again");
    let asked = load.stop().await?;
    check(&world, &node, asked, dialled).await?;
    let healed_s = back.elapsed().as_secs_f64();
    let after_mb = probe::resident_mb(pid)?;
    Ok(Figure {
        value: probe::peak_resident_mb(pid)?,
        unit: "MB",
        baseline: None,
        ratio: None,
        note: "peak resident memory of the agent process (10^6 bytes) with 100 calls up, 20 dials and 50 steps a second for \
               60 s, and another 60 s without the nats-server (steps from the fallback, dials for the 9 s it may)"
            .to_owned(),
        detail: json!({
            "connected": connected.detail(),
            "cut": cut.detail(),
            "resident_after_mb": rounded(after_mb),
            "all_facts_in_the_stream_after_s": rounded(healed_s),
            "events": world.traffic.look(|counts| counts.events),
            "rounds": 1,
            "fsync_probe": probe::fsync(world.path())?,
        }),
    })
}

impl Load {
    fn start(world: &World, askers: Vec<Asker>) -> Self {
        let steps = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for (index, asker) in (0u32..).zip(askers) {
            let offset = ASK_EVERY * index / CALLS as u32;
            tasks.push(tokio::spawn(keep_asking(asker, offset, Arc::clone(&steps))));
        }
        let (bus, traffic) = (world.bus.clone(), Arc::clone(&world.traffic));
        tasks.push(tokio::spawn(async move { traffic.follow(&bus).await }));
        let (bus, traffic, log_key) = (world.bus.clone(), Arc::clone(&world.traffic), world.log_key.clone());
        tasks.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(CHECKPOINT_EVERY);
            loop {
                ticks.tick().await;
                announce_checkpoint(&bus, &traffic, &log_key).await?;
            }
        }));
        Self { steps, tasks }
    }

    /// None of them ends by itself unless something is wrong.
    fn check(&self, phase: &str) -> anyhow::Result<()> {
        let ended = self.tasks.iter().filter(|task| task.is_finished()).count();
        ensure!(ended == 0, "{ended} calls or readers failed while the node was {phase}");
        Ok(())
    }

    /// Stops the dialplans; the stream is still read. Gives back how many steps were answered.
    async fn stop(mut self) -> anyhow::Result<u64> {
        for task in self.tasks.drain(..CALLS) {
            task.abort();
            if let Ok(Err(error)) = task.await {
                return Err(error);
            }
        }
        for task in self.tasks.drain(..) {
            drop(task); // detached: they end with the runtime
        }
        Ok(self.steps.load(Ordering::Relaxed))
    }
}

async fn keep_asking(mut asker: Asker, offset: Duration, steps: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, ASK_EVERY);
    loop {
        ticks.tick().await;
        asker.ask().await?;
        steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// Orders contacts for a while, spread over the time; gives back how many.
async fn dial_for(world: &World, length: Duration) -> anyhow::Result<usize> {
    let (began, began_ms) = (tokio::time::Instant::now(), now_ms());
    let each = ORDER_EVERY.as_millis() as usize * DIALS_PER_S / 1000;
    let orders = (length.as_millis() / ORDER_EVERY.as_millis()) as usize;
    let mut ticks = tokio::time::interval_at(began, ORDER_EVERY);
    for order in 0..orders {
        ticks.tick().await;
        order_from(world, began_ms + (order * each * 1000 / DIALS_PER_S) as u64, order * each, each).await?;
    }
    tokio::time::sleep_until(began + length).await; // the phase's length
    Ok(orders * each)
}

/// What the node may dial when it is cut off.
async fn dial_ahead(world: &World, first: usize, count: usize) -> anyhow::Result<()> {
    order_from(world, now_ms() + 100, first, count).await
}

async fn order_from(world: &World, from_ms: u64, first: usize, count: usize) -> anyhow::Result<()> {
    // The node takes no window that is over, however late we are.
    let from_ms = from_ms.max(now_ms());
    let at = |index: usize| from_ms + (index * 1000 / DIALS_PER_S) as u64;
    let window = |index: usize| busy(world, BUSY, first + index, at(index).min(now_ms() + 7_900));
    dial(world, (0..count).map(window).collect()).await
}

/// A measure under way.
struct Measure {
    pid: i32,
    began: Instant,
    cpu_s: f64,
    steps: u64,
}

impl Measure {
    fn begin(pid: i32, load: &Load) -> anyhow::Result<Self> {
        let steps = load.steps.load(Ordering::Relaxed);
        Ok(Self { pid, began: Instant::now(), cpu_s: probe::cpu_s(pid)?, steps })
    }

    fn end(self, dials: usize, load: &Load) -> anyhow::Result<Phase> {
        let cpu_s = probe::cpu_s(self.pid)? - self.cpu_s;
        let steps = load.steps.load(Ordering::Relaxed) - self.steps;
        // 50 a second; the last of each call may still be on its way.
        let least = (PHASE.as_millis() / ASK_EVERY.as_millis()) as u64 * CALLS as u64 - CALLS as u64;
        ensure!(steps >= least, "{steps} steps were answered, at least {least} were due");
        Ok(Phase {
            peak_mb: probe::peak_resident_mb(self.pid)?,
            resident_mb: probe::resident_mb(self.pid)?,
            cpu_percent: cpu_s * 100.0 / self.began.elapsed().as_secs_f64(),
            steps,
            dials,
        })
    }
}

impl Phase {
    fn detail(&self) -> Value {
        json!({
            "peak_since_start_mb": rounded(self.peak_mb),
            "resident_at_end_mb": rounded(self.resident_mb),
            "cpu_percent_of_one_core": rounded(self.cpu_percent),
            "steps": self.steps,
            "dials": self.dials,
        })
    }
}

/// Everything that happened is in the stream once: each dial ended busy, each step was taken, the calls are still up.
async fn check(world: &World, node: &Node, asked: u64, dialled: usize) -> anyhow::Result<()> {
    world
        .until("the node's facts are in the stream", || async {
            let counts = world.traffic.counts();
            ensure!(counts.refused == 0, "{} attempts were refused", counts.refused);
            let held: Vec<_> = (0..CALLS).map(|contact| call(HELD, contact)).collect();
            ensure!(held.iter().all(|id| !counts.ended.contains_key(id)), "a held call ended");
            ensure!(counts.answered == CALLS as u64, "{} calls were answered", counts.answered);
            let ended = (0..dialled).filter(|n| is_busy_once(counts.ended.get(&call(BUSY, *n)))).count();
            ensure!(
                ended == dialled && counts.ended.len() == dialled,
                "{ended} of {dialled} dials ended busy"
            );
            let taken = counts.by_responder.len() as u64 + counts.by_fallback;
            // The first step of each held call was the simulator's own question; one each may be cut by our stop.
            let (least, most) = (asked + CALLS as u64, asked + 2 * CALLS as u64);
            ensure!((least..=most).contains(&taken), "{taken} steps in the stream, {least} were answered");
            ensure!(counts.by_fallback > 0, "no step took the fallback, so there was no cut");
            Ok(())
        })
        .await?;
    let rings = node.rings()?;
    let expected = (CALLS + dialled) as u64;
    ensure!(rings.double_rings == 0 && rings.attempts <= expected, "rings: {rings:?}");
    Ok(())
}

fn is_busy_once(end: Option<&(u32, String)>) -> bool {
    end.is_some_and(|(times, outcome)| *times == 1 && outcome == "Busy")
}
