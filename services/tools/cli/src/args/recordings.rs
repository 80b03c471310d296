//! `asterism recordings`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

/// `asterism recordings`.
#[derive(Subcommand)]
pub enum RecordingsCommand {
    /// List what is in the store, what nodes still have, and how many were lost or erased
    #[command(
        before_help = "Examples:\n  asterism recordings list\n  asterism --json recordings list --campaign spring\n"
    )]
    List {
        /// Those of one campaign
        #[arg(long, value_name = "ID")]
        campaign: Option<String>,
    },
    /// Fetch recordings into a folder, each checked against its hash. What is there already and whole is left
    #[command(before_help = "\
Examples:
  asterism recordings fetch recordings/ --campaign spring
  asterism recordings fetch . spring-17-1-4
  asterism recordings fetch recordings/ --campaign spring --identity key.txt   # sealed ones, opened
")]
    Fetch {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// What opens sealed recordings: a file of identities of the age format. Without it they stay sealed, NAME.wav.age
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
        #[command(flatten)]
        #[allow(missing_docs)]
        which: Which,
    },
    /// Make a key pair for sealed recordings: the file opens them, the recipient it prints is for the nodes
    #[command(before_help = "\
Examples:
  asterism recordings keygen key.txt   # then ASTERISM_RECORDINGS_RECIPIENT=age1... for the agents
")]
    Keygen {
        /// The file; it must not be there yet. Keep it off the fleet: whoever has it can listen
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Erase recordings for good: the log says so first, then their objects go
    #[command(before_help = "\
Examples:
  asterism recordings erase spring-17-1-4 --reason \"asked for it\"
  asterism recordings erase --campaign spring --older-than-days 30 --dry-run
")]
    Erase {
        #[command(flatten)]
        #[allow(missing_docs)]
        which: Which,
        /// Only those stored longer ago
        #[arg(long, value_name = "DAYS", requires = "campaign")]
        older_than_days: Option<u32>,
        /// Why, for the log
        #[arg(long, default_value = "asked for by an operator")]
        reason: String,
        /// Say what would go, and erase nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Say for how many days a campaign's recordings are kept; then they are erased by themselves
    #[command(
        before_help = "Examples:\n  asterism recordings keep spring 90 --reason \"contract\"\n  asterism recordings keep spring 0\n"
    )]
    Keep {
        /// The campaign
        #[arg(value_name = "CAMPAIGN")]
        campaign: String,
        /// Days from when each was stored; 0 = until somebody erases them
        #[arg(value_name = "DAYS")]
        days: u32,
        /// Why, for the log
        #[arg(long, default_value = "asked for by an operator")]
        reason: String,
        /// Say what would be erased by it today, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which recordings.
#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true).args(["names", "campaign"])))]
pub struct Which {
    /// Recordings, as `list` names them
    #[arg(value_name = "RECORDING")]
    pub names: Vec<String>,
    /// All of a campaign
    #[arg(long, value_name = "ID")]
    pub campaign: Option<String>,
}
