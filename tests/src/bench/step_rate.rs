//! `step-rate`: steps per second with 64 calls asking at once, from the agent's step server to the committed answer.
//!
//! The baseline is bare async-nats request and reply of the same size on the same server, 64 at once. Both alternate.

use std::time::Instant;

use anyhow::ensure;
use asterism_nats::server::SyncInterval;
use futures_util::future::try_join_all;
use prost::Message;
use serde_json::json;

use super::node::Node;
use super::report::{Figure, median, spread};
use super::step_rtt::Raw;
use super::traffic::Traffic;
use super::world::{World, call};

const CALLS: usize = 64;
const ROUNDS: usize = 7;
/// Steps each call takes in one round: all rounds together stay below what one call may take.
const STEPS: usize = 25;
const HELD: &str = "hold";

pub async fn run() -> anyhow::Result<Figure> {
    let world = World::start(SyncInterval::ServerDefault).await?;
    let node = Node::start(&world, 100).await?;
    let mut askers = node.hold(&world, HELD, CALLS).await?;
    let question = world.step_question(HELD, 0, 2).encode_to_vec();
    let answer_bytes = world.question("direct", 0, 1).await?;
    let raw = Raw::start(world.server.service("raw")?, question, answer_bytes).await?;
    let (mut rates, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let asks = (0..CALLS).map(|_| async {
            for _ in 0..STEPS {
                raw.ask().await?;
            }
            anyhow::Ok(())
        });
        try_join_all(asks).await?;
        let bare_s = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let asks = askers.iter_mut().map(|asker| async {
            for _ in 0..STEPS {
                asker.ask().await?;
            }
            anyhow::Ok(())
        });
        try_join_all(asks).await?;
        if round > 0 {
            let count = (CALLS * STEPS) as f64;
            rates.push(count / began.elapsed().as_secs_f64()); // the first round warms up
            bare.push(count / bare_s);
        }
    }
    check(&world).await?;
    let ratios: Vec<f64> = rates.iter().zip(&bare).map(|(rate, bare)| rate / bare).collect();
    Ok(Figure {
        value: median(&rates),
        unit: "steps/s",
        baseline: Some(median(&bare)),
        ratio: Some(median(&ratios)),
        note: "64 calls at once, question at the agent's step server to its answer, decision committed and step written \
               ahead on the node, default sync interval; baseline: bare async-nats request-reply, 64 at once"
            .to_owned(),
        detail: json!({
            "steps_per_s": spread(&rates), "raw_per_s": spread(&bare), "ratio": spread(&ratios),
            "steps_a_round": CALLS * STEPS,
        }),
    })
}

/// Every step is decided in the stream and taken by its decision, none by the fallback, and the calls are up.
async fn check(world: &World) -> anyhow::Result<()> {
    let steps = u32::try_from((ROUNDS + 1) * STEPS)?;
    world
        .until("every step is in the stream", || async {
            let counts = Traffic::default().read(&world.bus).await?;
            let missing = (0..CALLS)
                .flat_map(|contact| (1..=steps + 1).map(move |step| (call(HELD, contact), step)))
                .filter(|step| !counts.decided.contains(step) || !counts.by_responder.contains(step))
                .count();
            ensure!(missing == 0, "{missing} steps are missing");
            ensure!(counts.by_fallback == 0, "{} steps took the fallback", counts.by_fallback);
            ensure!(counts.ended.is_empty(), "{} calls ended", counts.ended.len());
            Ok(())
        })
        .await
}
