//! Benchmarks: what the product costs, against what its parts cost bare, both sides in the same call.
//!
//! Each figure is one JSON line, on standard output and at the end of `target/bench/results.jsonl`. A bench checks that
//! the work it timed was really done, and fails if it was not. They want the release build.

mod agent_footprint;
mod cache_gain;
mod corpus;
mod demo;
mod demo_throughput;
mod dial_decide;
mod dial_run;
mod dialplan;
mod flow_eval;
mod import_rows;
mod lab_speed;
mod log_append;
mod log_disk;
mod log_framing;
mod log_ingest;
mod log_memory;
mod log_rebuild;
mod log_reopen;
mod log_stream;
mod log_verify;
mod media_cold;
mod media_noop;
mod media_one;
mod media_playback;
mod media_publish;
mod media_set;
mod node;
mod plan_latency;
mod probe;
mod replay_fold;
mod report;
mod scale_reaction;
mod step_rate;
mod step_rtt;
mod traffic;
mod world;

use anyhow::{Context, bail, ensure};
use report::Figure;

type Bench = (&'static str, fn() -> anyhow::Result<Figure>);

/// Every benchmark, in the order in which all are run.
const BENCHES: [Bench; 28] = [
    ("step-rtt", || on_a_runtime(step_rtt::run())),
    ("step-rate", || on_a_runtime(step_rate::run())),
    ("flow-eval", flow_eval::run),
    ("cache-gain", || on_a_runtime(cache_gain::run())),
    ("agent-footprint", || on_a_runtime(agent_footprint::run())),
    ("demo-throughput", demo_throughput::run),
    ("log-append", log_append::run),
    ("log-verify", log_verify::run),
    ("log-framing", || on_a_runtime(log_framing::run())),
    ("log-ingest", || on_a_runtime(log_ingest::run())),
    ("log-reopen", log_reopen::run),
    ("log-rebuild", || on_a_runtime(log_rebuild::run())),
    ("log-disk", log_disk::run),
    ("log-memory", log_memory::run),
    ("replay-fold", replay_fold::run),
    ("import-rows", import_rows::run),
    ("plan-latency", plan_latency::run),
    ("scale-reaction", scale_reaction::run),
    ("lab-speed", lab_speed::run),
    ("dial-decide", dial_decide::run),
    ("dial-commit", || on_a_runtime(dial_run::commit())),
    ("dial-rate", || on_a_runtime(dial_run::rate())),
    ("dial-smooth", || on_a_runtime(dial_run::smooth())),
    ("media-cold", || on_a_runtime(media_cold::run())),
    ("media-noop", || on_a_runtime(media_noop::run())),
    ("media-one", || on_a_runtime(media_one::run())),
    ("media-publish", media_publish::run),
    ("media-playback-cpu", || on_a_runtime(media_playback::run())),
];

/// The names, for people.
pub fn names() -> String {
    BENCHES.map(|(name, _)| name).join(", ")
}

/// Runs one benchmark or all. A bench that fails is said so at its end, and does not keep the others from running.
///
/// # Errors
/// No such name, or what went wrong in the first bench that failed.
pub fn run(only: Option<&str>) -> anyhow::Result<()> {
    let chosen: Vec<Bench> =
        BENCHES.into_iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    ensure!(!chosen.is_empty(), "there is no benchmark of that name; there are: {}", names());
    if cfg!(debug_assertions) {
        bail!("this is not the release build, so its figures mean nothing: make bench");
    }
    let mut failed = Ok(());
    for (name, bench) in chosen {
        eprintln!("asterism-bench: {name}");
        match bench().and_then(|figure| report::write(name, &figure)).context(name) {
            Ok(()) => {}
            Err(error) if failed.is_ok() => failed = Err(error),
            Err(error) => eprintln!("asterism-bench: {error:#}"),
        }
    }
    failed
}

/// What this process does if it is a part of a benchmark that wants processes of its own.
pub fn part() -> Option<anyhow::Result<()>> {
    media_cold::node()
}

fn on_a_runtime<T>(bench: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(bench)
}
