//! `asterism lab`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `asterism lab`.
#[derive(Subcommand)]
pub enum LabCommand {
    /// Scaling policies on generated days, or on yours: what each costs against the best possible, and whom it harms
    #[command(before_help = "\
Examples:
  asterism lab policy                             # every family, 6 seeds each; takes minutes
  asterism lab policy --family smooth --seeds 20 --svg smooth.svg
  asterism lab policy --calls x.calls.csv --fleet x.fleet.json --history x.history.csv \\
      --nodes nodes.csv --placements placements.csv
")]
    Policy(PolicyArgs),
    /// A recorded log under another policy: its calls, boots and hours again, other nodes and another bill
    #[command(before_help = "\
Examples:
  asterism lab what-if --log asterism-data/log --policy other.toml

A policy file says what is otherwise; what it leaves out is as in the log:
  rule = \"target-tracking\"   # or asterism, buffer, step-scaling, threshold, static-peak
  percent = 70                # of target-tracking and buffer
  node_capacity = 100         # min_nodes, max_nodes, launch_per_minute, boot_ms
  billing = \"hour\"            # or second; budget_micro_usd, max_micro_usd_per_hour,
                              # price_micro_usd_per_hour
")]
    WhatIf(WhatIfArgs),
}

/// What is replayed.
#[derive(Args)]
pub struct WhatIfArgs {
    /// Folder of the sealed log
    #[arg(long, value_name = "DIR")]
    pub log: PathBuf,
    /// The other policy (TOML)
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
}

/// What is simulated.
#[derive(Args)]
pub struct PolicyArgs {
    /// Only this family of workloads
    #[arg(long, value_name = "NAME", conflicts_with = "calls")]
    pub family: Option<String>,
    /// Seeds of each family, from 1
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=1000), conflicts_with = "calls")]
    pub seeds: u64,
    /// Where to draw cost against blocking (SVG)
    #[arg(long, value_name = "FILE", conflicts_with = "calls")]
    pub svg: Option<PathBuf>,
    /// Calls of a workload of yours (CSV); our policy alone is run on it
    #[arg(long, value_name = "FILE", requires = "fleet")]
    pub calls: Option<PathBuf>,
    /// Its fleet (JSON)
    #[arg(long, value_name = "FILE", requires = "calls")]
    pub fleet: Option<PathBuf>,
    /// Its past week (CSV)
    #[arg(long, value_name = "FILE", requires = "calls")]
    pub history: Option<PathBuf>,
    /// Where to write the nodes' lives (CSV)
    #[arg(long, value_name = "FILE", requires_all = ["calls", "placements"])]
    pub nodes: Option<PathBuf>,
    /// Where to write what became of each call (CSV)
    #[arg(long, value_name = "FILE", requires_all = ["calls", "nodes"])]
    pub placements: Option<PathBuf>,
}
