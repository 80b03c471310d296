//! `asterism prices`.

use std::path::PathBuf;

use clap::Subcommand;

/// `asterism prices`.
#[derive(Subcommand)]
pub enum PricesCommand {
    /// Check a price book, and list it by what a call slot costs. Works offline
    #[command(
        before_help = "Examples:\n  asterism prices check prices.toml\n  asterism prices check prices.toml --slots m7g.large=110 --slots t3.large=90\n  asterism prices check prices.toml --used        # has everything this fleet may launch a price?\n"
    )]
    Check {
        /// The price book
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[allow(clippy::doc_markdown)] // help shows no backticks
        /// Call slots a type was measured to have [default: scaler.ec2.call_slots, then scaler.node_capacity]
        #[arg(long, value_name = "TYPE=N", value_parser = slots)]
        slots: Vec<(String, u32)>,
        /// Check too that everything the configuration may launch has a price
        #[arg(long)]
        used: bool,
    },
    /// Print an example of a price book
    #[command(before_help = "Examples:\n  asterism prices example > prices.toml\n")]
    Example,
}

fn slots(text: &str) -> Result<(String, u32), String> {
    let wrong = || "expected TYPE=N, N from 1 to 10000".to_owned();
    let (name, count) = text.split_once('=').ok_or_else(wrong)?;
    let count = count.parse().ok().filter(|count| (1..=10_000).contains(count)).ok_or_else(wrong)?;
    Ok((name.to_owned(), count))
}
