//! `step-rtt`: from the dialplan's question at the agent to its answer.
//!
//! One question at a time, as one call asks. Its way: HTTP to the agent process, NATS to the responder process, the
//! decision committed to the stream, back to the agent, the step written ahead there, the answer. The baseline is a
//! bare async-nats request and reply of the same size on the same server.
//!
//! Two more series say where the time goes: the same questions put on the bus by ourselves (request, decision and commit
//! without any agent), and the same step asked again (HTTP and the agent's loop without bus or store). What is left is
//! one process more that has to wake up with cold caches, twice: the agent makes eight system calls a step and waits for
//! no disk. A step is eight messages one after the other, the baseline four; on a machine where a wake-up is what costs,
//! the ratio is two before any work is done. Sending the stream's acknowledgement to the node as well, so that it need not
//! pass through the responder, was built and brought nothing on two cores: what it saves in a row it costs beside.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use asterism_nats::BusConfig;
use asterism_nats::server::SyncInterval;
use futures_util::StreamExt;
use prost::Message;
use serde_json::{Value, json};

use super::dialplan::Asker;
use super::node::Node;
use super::probe;
use super::report::{Figure, median, quantile, rounded, spread};
use super::traffic::Traffic;
use super::world::{World, call};

/// Rounds; each asks both sides, and both servers.
const ROUNDS: usize = 9;
/// Calls that are up while one of them asks.
const CALLS: usize = 30;
/// Blocks of a round, which alternate between the sides: in each every call asks once.
const BLOCKS: usize = 10;
const BLOCK: usize = CALLS;
/// Campaign of the calls, and of the questions that bypass the agent.
const HELD: &str = "hold";
const DIRECT: &str = "direct";
/// Subject of the bare requests.
const RAW_SUBJECT: &str = "bench.echo";

/// One server with everything on it.
struct Side {
    world: World,
    node: Node,
    askers: Vec<Asker>,
    raw: Raw,
    asked: u32,
    rounds: Vec<Round>,
}

/// Times of one round, µs.
#[derive(Default)]
struct Round {
    agent: Vec<f64>,
    again: Vec<f64>,
    bus: Vec<f64>,
    raw: Vec<f64>,
}

/// Measures both servers.
pub async fn run() -> anyhow::Result<Figure> {
    let mut default = Side::start(SyncInterval::ServerDefault).await?;
    let mut always = Side::start(SyncInterval::Always).await?;
    for side in [&mut default, &mut always] {
        side.round().await?; // connections, caches and branch predictors
        side.rounds.clear();
    }
    for _ in 0..ROUNDS {
        default.round().await?;
        always.round().await?;
    }
    let (probe, always_probe) = (probe::fsync(default.world.path())?, probe::fsync(always.world.path())?);
    default.check().await?;
    always.check().await?;
    let value = median(&default.p50(|round| &round.agent));
    let baseline = median(&default.p50(|round| &round.raw));
    let ratio = median(&default.ratios(|round| &round.agent, 500));
    Ok(Figure {
        value,
        unit: "us",
        baseline: Some(baseline),
        ratio: Some(ratio),
        note: "p50 from question at the agent's step server to its answer, decision committed and step written ahead on \
               the node, server at its default sync interval; baseline: bare async-nats request-reply of the same size"
            .to_owned(),
        detail: json!({
            "default_sync": default.detail(&probe),
            "always": always.detail(&always_probe),
            "questions_a_round": BLOCKS * BLOCK,
        }),
    })
}

impl Side {
    async fn start(sync_interval: SyncInterval) -> anyhow::Result<Self> {
        let world = World::start(sync_interval).await?;
        let node = Node::start(&world, 100).await?;
        let askers = node.hold(&world, HELD, CALLS).await?;
        let question = world.step_question(HELD, 0, 2).encode_to_vec();
        let answer_bytes = world.question(DIRECT, 0, 1).await?;
        let raw = Raw::start(world.server.service("raw")?, question, answer_bytes).await?;
        Ok(Self { world, node, askers, raw, asked: 0, rounds: Vec::new() })
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let mut round = Round::default();
        for _ in 0..BLOCKS {
            for _ in 0..BLOCK {
                round.raw.push(timed(self.raw.ask()).await?);
            }
            for asker in &mut self.askers {
                round.agent.push(timed(asker.ask()).await?);
            }
            for asker in &mut self.askers {
                round.again.push(timed(asker.again()).await?);
            }
            for _ in 0..BLOCK {
                let (contact, step) = direct(self.asked);
                self.asked += 1;
                round.bus.push(timed(self.world.question(DIRECT, contact, step)).await?);
            }
        }
        self.rounds.push(round);
        Ok(())
    }

    /// Every question was decided in the stream, every step of the agent names its decision, and the calls are up.
    async fn check(&self) -> anyhow::Result<()> {
        let steps = u32::try_from((ROUNDS + 1) * BLOCKS * BLOCK / CALLS)?;
        self.world
            .until("every step is in the stream", || async {
                let counts = Traffic::default().read(&self.world.bus).await?;
                let held = (0..CALLS).flat_map(|contact| (1..=steps + 1).map(move |step| (contact, step)));
                let missing = held
                    .map(|(contact, step)| (call(HELD, contact), step))
                    .filter(|step| !counts.decided.contains(step) || !counts.by_responder.contains(step))
                    .count();
                let asked = (0..self.asked).map(direct).map(|(contact, step)| (call(DIRECT, contact), step));
                let undecided = asked.filter(|step| !counts.decided.contains(step)).count();
                ensure!(
                    missing == 0 && undecided == 0,
                    "{missing} steps and {undecided} decisions are missing"
                );
                ensure!(counts.by_fallback == 0, "{} steps took the fallback", counts.by_fallback);
                ensure!(counts.ended.is_empty(), "{} calls ended", counts.ended.len());
                Ok(())
            })
            .await?;
        let rings = self.node.rings()?;
        ensure!(rings.attempts == CALLS as u64 && rings.double_rings == 0, "rings: {rings:?}");
        Ok(())
    }

    fn p50(&self, pick: fn(&Round) -> &Vec<f64>) -> Vec<f64> {
        self.rounds.iter().map(|round| median(pick(round))).collect()
    }

    fn ratios(&self, pick: fn(&Round) -> &Vec<f64>, permille: usize) -> Vec<f64> {
        let ratio = |round: &Round| quantile(pick(round), permille) / quantile(&round.raw, permille);
        self.rounds.iter().map(ratio).collect()
    }

    fn detail(&self, probe: &Value) -> Value {
        let all = |pick: fn(&Round) -> &Vec<f64>| -> Vec<f64> {
            self.rounds.iter().flat_map(pick).copied().collect()
        };
        let p99 = |values: &[f64]| rounded(quantile(values, 990));
        let (agent, bus, raw) = (all(|r| &r.agent), all(|r| &r.bus), all(|r| &r.raw));
        let again = median(&all(|r| &r.again));
        let rest = median(&agent) - median(&bus) - again;
        json!({
            "p50_us": spread(&self.p50(|round| &round.agent)),
            "p99_us": p99(&agent),
            "ratio": spread(&self.ratios(|round| &round.agent, 500)),
            "p99_ratio": rounded(median(&self.ratios(|round| &round.agent, 990))),
            "question_on_the_bus_p50_us": spread(&self.p50(|round| &round.bus)),
            "question_on_the_bus_p99_us": p99(&bus),
            "question_on_the_bus_ratio": spread(&self.ratios(|round| &round.bus, 500)),
            "same_step_again_p50_us": rounded(again),
            "one_process_more_us": rounded(rest),
            "raw_p50_us": spread(&self.p50(|round| &round.raw)),
            "raw_p99_us": p99(&raw),
            "fsync_probe": probe,
        })
    }
}

/// The contact and step of a question that bypasses the agent: no call takes more than a few hundred steps.
fn direct(asked: u32) -> (usize, u32) {
    const STEPS: u32 = 200;
    ((asked / STEPS) as usize + 1, asked % STEPS + 1)
}

async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<f64> {
    let began = Instant::now();
    work.await?;
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

/// Bare request and reply: one client here, one on a thread of its own.
pub(super) struct Raw {
    client: async_nats::Client,
    question: bytes::Bytes,
    answer_bytes: usize,
}

impl Raw {
    pub(super) async fn start(
        config: BusConfig,
        question: Vec<u8>,
        answer_bytes: usize,
    ) -> anyhow::Result<Self> {
        let echo = config.clone();
        std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Err(error) =
                runtime.map_err(Into::into).and_then(|r| r.block_on(answer(echo, answer_bytes)))
            {
                eprintln!("asterism-bench: echo: {error:#}");
            }
        })?;
        let raw = Self { client: connect(&config).await?, question: question.into(), answer_bytes };
        let began = Instant::now();
        while let Err(error) = raw.ask().await {
            ensure!(began.elapsed() < Duration::from_secs(10), "no echo: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await; // the pause of a poll
        }
        Ok(raw)
    }

    pub(super) async fn ask(&self) -> anyhow::Result<()> {
        let reply = self.client.request(RAW_SUBJECT, self.question.clone()).await?;
        ensure!(reply.payload.len() == self.answer_bytes, "an answer of {} bytes", reply.payload.len());
        Ok(())
    }
}

/// Answers until the server is gone for good, which is when the process ends.
async fn answer(config: BusConfig, answer_bytes: usize) -> anyhow::Result<()> {
    let client = connect(&config).await?;
    let mut requests = client.subscribe(RAW_SUBJECT).await?;
    let payload = bytes::Bytes::from(vec![b'x'; answer_bytes]);
    while let Some(request) = requests.next().await {
        let reply = request.reply.context("a request without a reply subject")?;
        client.publish(reply, payload.clone()).await?;
    }
    Ok(())
}

async fn connect(config: &BusConfig) -> anyhow::Result<async_nats::Client> {
    let (user, password) = (config.user.clone(), config.password.as_ref());
    let password = password.context("no password")?.reveal().to_owned();
    let options = async_nats::ConnectOptions::with_user_and_password(user.context("no user")?, password);
    Ok(options.connect(&config.url).await?)
}
