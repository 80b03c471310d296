//! `asterism dnc`: do-not-call lists.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use asterism_dialer::commands::ChangeList;
use asterism_domain::contact::E164;
use asterism_domain::report::ListReport;
use asterism_proto::Role;
use serde_json::json;

use super::{Context, number, shown};
use crate::args::dnc::{ChangeArgs, DncCommand};
use crate::error::CliError;
use crate::output::{Align, table};

/// Entries of one command, as the dialer takes them.
const BATCH: usize = 1_000;
/// Longest line of a file of numbers, in bytes.
const LINE_MAX_BYTES: usize = 256;
/// Lines named when they are no numbers; all are counted.
const BAD_LINES_SHOWN: usize = 10;

pub(super) async fn run(context: &Context, command: DncCommand) -> Result<(), CliError> {
    match command {
        DncCommand::Add(args) => change(context, &args, "dnc.add").await,
        DncCommand::Remove(args) => change(context, &args, "dnc.remove").await,
        DncCommand::List => list(context).await,
    }
}

async fn list(context: &Context) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let lists: Vec<ListReport> = client.role_json(Role::Dialer, "dnc.list", &json!({})).await?;
    context.out.result(&lists, || {
        if lists.is_empty() {
            return "There is no do-not-call list yet. Next: asterism dnc add --help\n".to_owned();
        }
        let row = |one: &ListReport| {
            vec![one.list.clone(), one.numbers.to_string(), one.prefixes.join(" "), one.campaigns.join(" ")]
        };
        let columns = [
            ("list", Align::Left),
            ("numbers", Align::Right),
            ("prefixes", Align::Left),
            ("obeyed by", Align::Left),
        ];
        table(&columns, &lists.iter().map(row).collect::<Vec<_>>())
    })
}

async fn change(context: &Context, args: &ChangeArgs, verb: &str) -> Result<(), CliError> {
    let mut numbers: Vec<E164> =
        args.numbers.iter().map(|text| number(text, "+NUMBER")).collect::<Result<_, _>>()?;
    if let Some(path) = &args.file {
        numbers.extend(read(path)?);
    }
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() && args.prefixes.is_empty() {
        let why = "name numbers, a --file of them or a --prefix";
        return Err(CliError::usage("AST-U120", "there is nothing to put on a list or take off", why));
    }
    let (count, prefixes) = (numbers.len(), args.prefixes.len());
    let mut value =
        json!({ "list": args.list, "numbers": count, "prefixes": args.prefixes, "dry_run": args.dry_run });
    let done = if verb == "dnc.add" { "on" } else { "off" };
    if args.dry_run {
        return context.out.result(&value, || {
            format!(
                "{count} numbers and {prefixes} prefixes would go {done} the list {}; nothing changed\n",
                args.list
            )
        });
    }
    let (_, client) = context.client().await?;
    let mut position = 0;
    let mut batches: Vec<ChangeList> = numbers
        .chunks(BATCH)
        .map(|chunk| asked(args, chunk.iter().map(|number| number.expose()).collect(), Vec::new()))
        .collect();
    batches.extend(args.prefixes.chunks(BATCH).map(|chunk| asked(args, Vec::new(), chunk.to_vec())));
    for (index, batch) in batches.iter().enumerate() {
        let reply = client.role(Role::Dialer, verb, batch).await.map_err(|mut error| {
            // Each batch stands by itself, and saying it again changes nothing.
            error.why = format!("{}; {} of {count} numbers are done, run it again", error.why, index * BATCH);
            error
        })?;
        position = position.max(reply.position);
        if context.out.verbose {
            context.out.say(&format!("{} of {count} numbers", ((index + 1) * BATCH).min(count)));
        }
    }
    value["log_position"] = json!(position);
    context.out.result(&value, || {
        format!(
            "{count} numbers and {prefixes} prefixes are {done} the list {}, at position {position} of the log\n",
            args.list
        )
    })
}

fn asked(args: &ChangeArgs, numbers: Vec<String>, prefixes: Vec<String>) -> ChangeList {
    ChangeList { list: args.list.clone(), numbers, prefixes, reason: args.reason.clone() }
}

/// One number a line. A file with a line that is none changes nothing: half a do-not-call list is a trap.
fn read(path: &Path) -> Result<Vec<E164>, CliError> {
    let unreadable = |error: std::io::Error| {
        CliError::new("AST-U121", format!("the list {} cannot be read", shown(path)), error.to_string())
    };
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut numbers, mut bad, mut line) = (Vec::new(), Vec::new(), Vec::new());
    for at in 1.. {
        line.clear();
        let mut bounded = std::io::Read::take(&mut reader, LINE_MAX_BYTES as u64 + 1);
        if bounded.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        if line.len() > LINE_MAX_BYTES {
            let what = format!("{}:{at}: the line is longer than {LINE_MAX_BYTES} bytes", shown(path));
            return Err(CliError::new("AST-U122", what, "one number a line"));
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match E164::parse(text) {
            Ok(number) => numbers.push(number),
            Err(problem) => bad.push(format!("{}:{at}: {}: {problem}", shown(path), problem.code())),
        }
    }
    if bad.is_empty() {
        return Ok(numbers);
    }
    let more = bad.len().saturating_sub(BAD_LINES_SHOWN);
    let mut text = bad.into_iter().take(BAD_LINES_SHOWN).collect::<Vec<_>>().join("\n");
    if more > 0 {
        let _ = write!(text, "\nand {more} more");
    }
    Err(CliError::new("AST-U122", format!("nothing was changed: lines that are no numbers\n{text}"), ""))
}
