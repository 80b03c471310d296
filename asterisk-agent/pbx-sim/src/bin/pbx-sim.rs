//! `pbx-sim`: a simulated Asterisk as a program.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Context as _;
use asterism_pbx_sim::callees::Callees;
use asterism_pbx_sim::{Sim, SimConfig, start};
use clap::Parser;

/// A simulated Asterisk: speaks AMI, dials callees from a table, walks the dialplan's steps.
///
/// SIGTERM hangs every call up and ends; SIGUSR1 takes no new calls and ends with the last.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where AMI listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:5038")]
    ami_listen: SocketAddr,
    /// The AMI user.
    #[arg(long, default_value = "asterism")]
    ami_user: String,
    /// File with the AMI secret: one line.
    #[arg(long, required_unless_present = "print_callees")]
    ami_secret_file: Option<PathBuf>,
    /// The agent's step server, http://ADDRESS:PORT.
    #[arg(long, default_value = "http://127.0.0.1:8088")]
    step_url: String,
    /// File with the secret sent with each question: one line.
    #[arg(long, required_unless_present = "print_callees")]
    step_secret_file: Option<PathBuf>,
    /// The carrier recorder each ring is reported to.
    #[arg(long)]
    carrier: Option<SocketAddr>,
    /// The node's name.
    #[arg(long, default_value = "sim")]
    node: String,
    /// A trunk that exists; may be repeated. Without any, every trunk does.
    #[arg(long = "trunk")]
    trunks: Vec<String>,
    /// File with the endpoints the agent writes; while it is not there, every trunk exists.
    #[arg(long)]
    trunks_file: Option<PathBuf>,
    /// Table of callees (TOML).
    #[arg(long)]
    callees: Option<PathBuf>,
    /// Changes which number has which habit.
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for end reports that nobody took.
    #[arg(long)]
    journal_dir: Option<PathBuf>,
    /// Folder for what `record` records; without one it fails.
    #[arg(long)]
    recordings_dir: Option<PathBuf>,
    /// Folder of the sounds: a prompt whose file is not in it fails. Without one no prompt does.
    #[arg(long)]
    sounds_dir: Option<PathBuf>,
    /// File to write the AMI port to once it listens.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// Divides every simulated duration (tests only).
    #[arg(long, default_value = "1")]
    clock_scale: NonZeroU32,
    /// End when standard input ends, that is when the parent is gone.
    #[arg(long)]
    exit_on_stdin_eof: bool,
    /// Print the table of callees in use and end.
    #[arg(long)]
    print_callees: bool,
}

/// Told to drain, refuses new calls and returns once the last has ended.
async fn drain(sim: &Sim) -> Result<(), asterism_pbx_sim::Error> {
    start::until_told_to_drain().await?;
    sim.refuse_new();
    sim.all_ended().await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    start::log();
    let mut callees = args.callees.as_deref().map_or_else(|| Ok(Callees::default()), Callees::load)?;
    callees.seed = args.seed.unwrap_or(callees.seed);
    if args.print_callees {
        return start::print(&callees.to_toml()).context("cannot print");
    }
    let secret = |path: Option<PathBuf>| start::read_secret(&path.unwrap_or_default());
    let config = SimConfig {
        ami_listen: args.ami_listen,
        ami_user: args.ami_user,
        ami_secret: secret(args.ami_secret_file)?,
        step_url: args.step_url,
        step_secret: secret(args.step_secret_file)?,
        carrier: args.carrier,
        node: args.node,
        trunks: args.trunks,
        trunks_file: args.trunks_file,
        journal_dir: args.journal_dir,
        recordings_dir: args.recordings_dir,
        sounds_dir: args.sounds_dir,
        clock_scale: args.clock_scale,
    };
    start::block_on(async move {
        let sim = Sim::start(config, callees).await?;
        if let Some(path) = &args.port_file {
            start::write_port(path, sim.ami_addr().port())?;
        }
        tracing::info!(ami = %sim.ami_addr(), "simulated asterisk ready");
        tokio::select! {
            told = start::until_told(args.exit_on_stdin_eof) => told?,
            drained = drain(&sim) => drained?,
        }
        sim.stop().await;
        Ok(())
    })
}
