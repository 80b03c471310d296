//! `asterism emergency`.

use clap::{Args, Subcommand};

/// `asterism emergency`.
#[derive(Subcommand)]
pub enum EmergencyCommand {
    /// Stop all dialling now, on every node. Calls that are up go on; so does what rings, unless told otherwise
    #[command(before_help = "\
Examples:
  asterism emergency stop --reason \"wrong prompt\" --dry-run
  asterism emergency stop --reason \"wrong prompt\" --cancel-ringing
  asterism emergency stop --reason \"legal order\" --cancel-ringing --cut-calls
")]
    Stop(StopArgs),
    /// Let dialling go on
    #[command(before_help = "Examples:\n  asterism emergency resume --reason \"prompt is mended\"\n")]
    Resume {
        /// Why, for the log
        #[arg(long)]
        reason: String,
    },
    /// Whether a stop holds, who stopped and why, and what is in flight
    #[command(before_help = "Examples:\n  asterism emergency show\n  asterism --json emergency show\n")]
    Show,
}

/// `asterism emergency stop`.
#[derive(Args)]
pub struct StopArgs {
    /// Why, for the log; it keeps who stopped too
    #[arg(long)]
    pub reason: String,
    /// Hang up what rings
    #[arg(long)]
    pub cancel_ringing: bool,
    /// Hang up calls that are up: people are cut off in the middle of a word
    #[arg(long)]
    pub cut_calls: bool,
    /// Say what would end, and stop nothing
    #[arg(long)]
    pub dry_run: bool,
}
