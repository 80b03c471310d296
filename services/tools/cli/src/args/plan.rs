//! `asterism plan`.

use std::path::PathBuf;

use clap::Args;

use super::Millis;

/// `asterism plan`.
#[derive(Args)]
#[command(before_help = "\
Examples:
  asterism plan spring
  asterism plan --calls 20000 --within 4h
  asterism plan --campaign-file spring.toml --spot-share 50
")]
pub struct PlanArgs {
    /// The campaign: what is left of it from now on, as if it ran
    #[arg(value_name = "CAMPAIGN", required_unless_present_any = ["calls", "campaign_file"], conflicts_with_all = ["calls", "campaign_file"])]
    pub campaign: Option<String>,
    /// Instead of it: a campaign as a file describes it, before it exists. Works offline
    #[arg(long, value_name = "FILE", conflicts_with = "calls")]
    pub campaign_file: Option<PathBuf>,
    /// Instead of a campaign that exists: so many calls. Works offline
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub calls: Option<u32>,
    /// With --calls: until when they must have started, from now on
    #[arg(long, value_name = "TIME", requires = "calls")]
    pub within: Option<Millis>,
    /// With --calls: how long a call holds its slot, ringing included [default: 30s]
    #[arg(long, value_name = "TIME", requires = "calls")]
    pub holding: Option<Millis>,
    /// With --calls: what a node takes to boot [default: 90s]
    #[arg(long, value_name = "TIME", requires = "calls")]
    pub boot: Option<Millis>,
    /// With --calls: calls at once [default: no cap]
    #[arg(long, value_name = "N", requires = "calls")]
    pub max_channels: Option<u32>,
    /// With --calls: calls started in a second [default: no pace]
    #[arg(long, value_name = "N", requires = "calls")]
    pub calls_per_second: Option<u32>,
    /// Nodes of a hundred that are launched as spot; the price book has both prices of their type
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub spot_share: Option<u32>,
    /// Runs with other draws of what nobody knows
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub seeds: u64,
    /// Only the plan, no alternatives
    #[arg(long)]
    pub alone: bool,
}
