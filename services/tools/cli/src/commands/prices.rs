//! `asterism prices`: price books, offline.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use asterism_domain::fleet::prices::book::{EXAMPLE, PriceBook};
use asterism_domain::fleet::{Billing, PriceLine};
use asterism_scaler::prices::{self, PricesError};
use serde_json::json;

use super::{Context, shown};
use crate::args::prices::PricesCommand;
use crate::error::{CliError, EXIT_FAILED};
use crate::output::{Align, table};
use crate::up::progress::dollars;

pub(super) fn run(context: &Context, command: &PricesCommand) -> Result<ExitCode, CliError> {
    match command {
        PricesCommand::Check { file, slots, used } => check(context, file, slots, *used),
        PricesCommand::Example => {
            context.out.raw(EXAMPLE.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn check(context: &Context, file: &Path, slots: &[(String, u32)], used: bool) -> Result<ExitCode, CliError> {
    let config = context.config()?;
    let book = match prices::read(file) {
        Ok(book) if used => prices::used(&config, file).map(|_| book),
        other => other,
    };
    let book = match book {
        Ok(book) => book,
        Err(PricesError::Refused { problems, .. }) => return refused(context, file, &problems),
        Err(other) => return Err(CliError::from_text(other)),
    };
    let mut measured = config.scaler.ec2.call_slots.clone();
    measured.extend(slots.iter().cloned());
    let rows = rows(&book, &measured, config.scaler.node_capacity);
    let value = json!({ "file": shown(file), "ok": true, "dated": book.dated, "source": book.source, "prices": rows });
    context.out.result(&value, || text(file, &book, &rows))?;
    Ok(ExitCode::SUCCESS)
}

fn refused(
    context: &Context,
    file: &Path,
    problems: &[asterism_domain::Rejection],
) -> Result<ExitCode, CliError> {
    let name = shown(file);
    let list: Vec<_> = problems.iter().map(|one| json!({ "code": one.code, "reason": one.reason })).collect();
    context.out.result(&json!({ "file": name, "ok": false, "problems": list }), || {
        let lines: Vec<String> = problems.iter().map(|one| format!("{name}: {one}\n")).collect();
        format!("{}{name}: {} to mend\nNext: asterism prices example\n", lines.concat(), problems.len())
    })?;
    Ok(ExitCode::from(EXIT_FAILED))
}

/// A price as it is shown.
#[derive(serde::Serialize)]
struct Row {
    region: String,
    r#type: String,
    market: String,
    micro_usd_per_hour: u64,
    billing: &'static str,
    slots: u32,
    measured: bool,
    micro_usd_per_slot_hour: u64,
}

/// By region, the cheapest call slot first.
fn rows(book: &PriceBook, measured: &BTreeMap<String, u32>, capacity: u32) -> Vec<Row> {
    let row = |region: &String, line: &PriceLine| {
        let slots = measured.get(&line.instance_type).copied();
        let line = PriceLine { slots: slots.unwrap_or_default(), ..line.clone() };
        Row {
            region: region.clone(),
            micro_usd_per_slot_hour: line.per_slot(capacity),
            r#type: line.instance_type,
            market: line.market,
            micro_usd_per_hour: line.price.micro_usd_per_hour,
            billing: if line.price.billing == Billing::Hour { "hour" } else { "second" },
            slots: slots.unwrap_or(capacity),
            measured: slots.is_some(),
        }
    };
    let mut rows: Vec<Row> = book
        .regions
        .iter()
        .flat_map(|(region, lines)| lines.iter().map(move |line| row(region, line)))
        .collect();
    rows.sort_by(|a, b| (&a.region, a.micro_usd_per_slot_hour).cmp(&(&b.region, b.micro_usd_per_slot_hour)));
    rows
}

fn text(file: &Path, book: &PriceBook, rows: &[Row]) -> String {
    let columns = [
        ("region", Align::Left),
        ("type", Align::Left),
        ("market", Align::Left),
        ("$/h", Align::Right),
        ("billed by", Align::Left),
        ("slots", Align::Right),
        ("$/slot and h", Align::Right),
    ];
    let cells = rows.iter().map(|row| {
        vec![
            row.region.clone(),
            row.r#type.clone(),
            row.market.clone(),
            dollars(row.micro_usd_per_hour),
            row.billing.to_owned(),
            // What nobody measured is said to be so.
            format!("{}{}", row.slots, if row.measured { "" } else { "?" }),
            dollars(row.micro_usd_per_slot_hour),
        ]
    });
    let name = shown(file);
    let about = format!("{name}: ok: {} prices of {}, from {}\n", rows.len(), book.dated, book.source);
    table(&columns, &cells.collect::<Vec<_>>()) + &about
}
