//! `asterism dnc`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values::Number;

/// `asterism dnc`.
#[derive(Subcommand)]
pub enum DncCommand {
    /// Put numbers or prefixes on a list. From the log position told on, no order to dial them is made
    #[command(before_help = "\
Examples:
  asterism dnc add +12025550123 --reason \"asked to on 3 May\"
  asterism dnc add --file robinson.txt --list robinson --reason \"list of 1 December\"
  asterism dnc add --prefix 1900 --reason \"premium numbers\"
")]
    Add(ChangeArgs),
    /// Take numbers or prefixes off a list
    #[command(
        before_help = "Examples:\n  asterism dnc remove +12025550123 --reason \"put there by mistake\"\n"
    )]
    Remove(ChangeArgs),
    /// List the lists: how many numbers, which prefixes, which campaigns obey them
    #[command(before_help = "Examples:\n  asterism dnc list\n  asterism --json dnc list\n")]
    List,
}

/// What goes on a list, or off it.
#[derive(Args)]
pub struct ChangeArgs {
    /// Numbers with + and country code
    #[arg(value_name = "+NUMBER")]
    pub numbers: Vec<Number>,
    /// A file of numbers, one a line; lines that begin with # are left out
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// First digits of numbers, country code first; may be given several times
    #[arg(long = "prefix", value_name = "DIGITS")]
    pub prefixes: Vec<String>,
    /// The list; every campaign obeys the global one, others where their rules name them
    #[arg(long, value_name = "NAME", default_value = asterism_domain::rules::GLOBAL_LIST)]
    pub list: String,
    /// Why, for the log; write nothing personal, the log is for ever
    #[arg(long)]
    pub reason: String,
    /// Read and check everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
}
