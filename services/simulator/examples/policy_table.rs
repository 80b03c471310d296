//! Prints the lab's table: `cargo run --release -p asterism-simulator --example policy_table [FAMILY] [SEEDS]`.

use std::io::Write as _;

use asterism_simulator::{lab, workload};

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let wanted = args.next();
    let seeds = args.next().and_then(|seeds| seeds.parse().ok()).unwrap_or(6);
    for family in workload::FAMILIES {
        if wanted.as_deref().is_none_or(|wanted| wanted == family.name) {
            let rows = lab::table(family, 1..=seeds, |_| {});
            writeln!(std::io::stdout(), "{}", lab::text(&rows))?;
        }
    }
    Ok(())
}
