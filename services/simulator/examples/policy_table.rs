//! Prints the lab's table: `cargo run --release -p asterism-simulator --example policy_table [FAMILY] [SEEDS] [SVG]`.

use std::io::Write as _;

use asterism_simulator::{chart, lab, workload};

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let wanted = args.next();
    let seeds = args.next().and_then(|seeds| seeds.parse().ok()).unwrap_or(6);
    let (svg, mut all) = (args.next(), Vec::new());
    for family in workload::FAMILIES {
        if wanted.as_deref().is_none_or(|wanted| wanted == family.name || wanted == "all") {
            let rows = lab::table(family, 1..=seeds, |_| {});
            write!(std::io::stdout(), "{}", lab::text(&rows))?;
            all.extend(rows);
        }
    }
    if let Some(path) = svg {
        std::fs::write(path, chart::svg(&all))?;
    }
    Ok(())
}
