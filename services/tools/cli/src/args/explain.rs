//! Arguments of `asterism explain`.

use std::path::PathBuf;

use clap::Args;

/// `asterism explain`.
#[derive(Args)]
#[command(before_help = "\
Examples:
  asterism explain +12025550123            # every campaign that has the number
  asterism explain spring/17               # contact 17 of a campaign
  asterism explain spring-17-1             # one attempt
  asterism explain +12025550123 --log copy/ --keys keys/
")]
pub struct ExplainArgs {
    /// +NUMBER, CAMPAIGN/CONTACT, an attempt (CAMPAIGN-CONTACT-ORDINAL), a node, or a time (2026-11-22T10:00:00Z)
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    /// A folder of sealed segments [default: the ledger's on this machine, sealed now]
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// The fleet's key folder, which a number needs [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Check the whole log, also where the index alone finds the answer
    #[arg(long)]
    pub full: bool,
}
