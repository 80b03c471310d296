//! `asterism logic`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `asterism logic`.
#[derive(Subcommand)]
pub enum LogicCommand {
    /// Check a flow: every problem with its line, path and reason. Works offline
    #[command(
        before_help = "Examples:\n  asterism logic check flow.toml\n  asterism --json logic check flow.toml\n"
    )]
    Check {
        /// The flow's file
        #[arg(value_name = "FLOW")]
        file: PathBuf,
    },
    /// Draw a flow as SVG: every state, what it does and where it leads. Works offline
    #[command(
        before_help = "Examples:\n  asterism logic draw flow.toml --out flow.svg\n  asterism logic draw flow.toml | display svg:-\n"
    )]
    Draw {
        /// The flow's file
        #[arg(value_name = "FLOW")]
        file: PathBuf,
        /// Where the picture goes [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Walk a flow without a phone: each step in words, keys from standard input (a line for each question)
    #[command(
        before_help = "Examples:\n  asterism logic try flow.toml\n  asterism logic try flow.toml --field language=de\n  printf '1\\n\\n5\\n' | asterism --json logic try flow.toml\n"
    )]
    Try(TryArgs),
}

/// `asterism logic try`.
#[derive(Args)]
pub struct TryArgs {
    /// The flow's file; its back end, if it has one, is asked as in a call (not one on the bus)
    #[arg(value_name = "FLOW")]
    pub file: PathBuf,
    /// A field of the contact; may be given again
    #[arg(long = "field", value_name = "NAME=VALUE")]
    pub fields: Vec<String>,
    /// A key that signs what the back end is asked, by the name the flow has for it; may be given again
    #[arg(long = "key", value_name = "NAME=FILE")]
    pub keys: Vec<String>,
    /// How long one step may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 800, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    pub deadline_ms: u64,
}
