//! `asterism webhook`.

use asterism_domain::webhook::finished::Standing;
use clap::{Args, Subcommand, ValueEnum};

/// `asterism webhook`.
#[derive(Subcommand)]
pub enum WebhookCommand {
    /// List notices: those owed, and the newest 1,000 that were delivered and that were given up
    #[command(
        before_help = "Examples:\n  asterism webhook list\n  asterism webhook list --state given-up --campaign spring\n"
    )]
    List {
        /// Only those that stand so
        #[arg(long, value_name = "STATE")]
        state: Option<StandingArg>,
        /// Only those about this campaign
        #[arg(long, value_name = "ID")]
        campaign: Option<String>,
        /// How many, the newest first
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show what a notice says, without the number and the fields of the contact
    #[command(before_help = "Examples:\n  asterism webhook show 1204-0\n")]
    Show {
        /// The notice, as `asterism webhook list` names it, or as its receiver was told
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Deliver notices once more that were delivered or given up, under the ids they had
    #[command(before_help = "\
Examples:
  asterism webhook resend --given-up --reason \"the receiver is back\" --dry-run
  asterism webhook resend 1204-0 1207-3 --reason \"lost by the receiver\"
")]
    Resend(ResendArgs),
}

/// `asterism webhook resend`.
#[derive(Args)]
pub struct ResendArgs {
    /// The notices
    #[arg(value_name = "ID", required_unless_present = "given_up", conflicts_with = "given_up")]
    pub ids: Vec<String>,
    /// All that were given up and are kept
    #[arg(long)]
    pub given_up: bool,
    /// Of these, those about this campaign
    #[arg(long, value_name = "ID")]
    pub campaign: Option<String>,
    /// Why, for the log
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Say which, and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Where a notice stands.
#[derive(Clone, Copy, ValueEnum)]
pub enum StandingArg {
    /// To be delivered
    Owed,
    /// Taken by its receiver
    Delivered,
    /// Not tried any more
    GivenUp,
}

impl From<StandingArg> for Standing {
    fn from(standing: StandingArg) -> Self {
        match standing {
            StandingArg::Owed => Self::Owed,
            StandingArg::Delivered => Self::Delivered,
            StandingArg::GivenUp => Self::GivenUp,
        }
    }
}
