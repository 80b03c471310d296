//! `asterism lab`: scaling policies in virtual time. Nothing is connected to, nothing is launched.

mod whatif;

use std::path::Path;

use asterism_simulator::account::account;
use asterism_simulator::policies::Ours;
use asterism_simulator::{LabError, chart, engine, lab, optimum, workload};
use serde_json::json;

use super::Context;
use crate::args::lab::{LabCommand, PolicyArgs};
use crate::bar::Bar;
use crate::error::CliError;

pub(super) fn run(context: &Context, command: &LabCommand) -> Result<(), CliError> {
    let args = match command {
        LabCommand::Policy(args) => args,
        LabCommand::WhatIf(args) => return whatif::run(context, args),
    };
    match (&args.calls, &args.fleet) {
        (Some(calls), Some(fleet)) => own(context, args, calls, fleet),
        _ => table(context, args),
    }
}

/// The table over generated workloads.
fn table(context: &Context, args: &PolicyArgs) -> Result<(), CliError> {
    let families = match &args.family {
        Some(name) => std::slice::from_ref(workload::family(name).map_err(CliError::from_text)?),
        None => workload::FAMILIES,
    };
    let (mut bar, mut done) = (Bar::new(!context.out.json), 0);
    let mut rows = Vec::new();
    for family in families {
        rows.extend(lab::table(family, 1..=args.seeds, |_| {
            done += 1;
            bar.draw(done, families.len() as u64 * args.seeds, family.name);
        }));
    }
    bar.clear();
    if let Some(path) = &args.svg {
        std::fs::write(path, chart::svg(&rows)).map_err(|source| {
            CliError::from_text(LabError::File { path: path.display().to_string(), source })
        })?;
    }
    context.out.result(&json!({ "rows": rows }), || lab::text(&rows))
}

/// Our policy on a workload from files.
fn own(context: &Context, args: &PolicyArgs, calls: &Path, fleet: &Path) -> Result<(), CliError> {
    let workload = workload::read(calls, fleet, args.history.as_deref()).map_err(CliError::from_text)?;
    let run = engine::run(&workload, &mut Ours::new(&workload));
    let account = account(&workload, &run);
    let bound = optimum::lower_bound(&workload);
    if let (Some(nodes), Some(placements)) = (&args.nodes, &args.placements) {
        workload::write_result(&run, workload.fleet.capacity, nodes, placements)
            .map_err(CliError::from_text)?;
    }
    let cost = account.cost_ms as f64 / bound;
    let value = json!({ "name": workload.fleet.name, "cost": cost, "bound_ms": bound, "account": account });
    context.out.result(&value, || {
        format!(
            "{}: {:.0} node-seconds, {cost:.3} times the least possible; {} of {} inbound calls turned away ({:.4} %), {} of \
             {} outbound calls late, {} cut, {} other rules broken\n",
            workload.fleet.name,
            account.cost_ms as f64 / 1_000.0,
            account.blocked,
            account.inbound,
            account.blocked_percent(),
            account.late,
            account.outbound,
            account.cut,
            account.fouls,
        )
    })
}
