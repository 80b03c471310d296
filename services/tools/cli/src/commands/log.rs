//! `asterism log`: where the log stands, what it misses, and sealing it, so that an auditor can read what there is.

use asterism_ledger::commands::{AcceptLoss, Accepted, Head, Incidents, Sealed};
use asterism_ledger::losses::GapShown;
use asterism_proto::Role;
use serde_json::json;

use super::{Context, shown};
use crate::args::LogCommand;
use crate::error::CliError;
use crate::output::{Align, pairs, table};

pub(super) async fn run(context: &Context, command: &LogCommand) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    match command {
        LogCommand::Head => {
            let head: Head = client.role_json(Role::Ledger, "ledger.head", &json!({})).await?;
            context.out.result(&head, || {
                pairs(&[
                    ("events", head.size.to_string()),
                    ("root", head.root.clone()),
                    ("durable", format!("{} events in the ledger's copy", head.durable)),
                    ("checkpoint", format!("at {} events", head.checkpoint)),
                    ("archived", format!("{} events", head.archived)),
                    ("stream", format!("{} at {}", head.stream_id, head.stream_sequence)),
                    (
                        "dialling",
                        if head.hold.is_empty() { "not held".to_owned() } else { head.hold.clone() },
                    ),
                    ("incidents", head.incidents.to_string()),
                ])
            })
        }
        LogCommand::Incidents => {
            let found: Incidents = client.role_json(Role::Ledger, "ledger.incidents", &json!({})).await?;
            context.out.result(&found, || incidents(&found))
        }
        LogCommand::Seal => {
            let sealed: Sealed = client.role_json(Role::Ledger, "ledger.seal", &json!({})).await?;
            context.out.result(&sealed, || describe(&sealed))
        }
        LogCommand::Gaps => {
            let gaps: Vec<GapShown> = client.role_json(Role::Ledger, "ledger.gaps", &json!({})).await?;
            context.out.result(&gaps, || missing(&gaps))
        }
        LogCommand::AcceptLoss(args) => {
            let (origin, to, dry_run) = (args.origin.clone(), args.to, args.dry_run);
            let body = AcceptLoss { origin, to, reason: args.reason.clone(), dry_run };
            let accepted: Accepted = client.role_json(Role::Ledger, "ledger.accept-loss", &body).await?;
            context.out.result(&accepted, || {
                let Accepted { origin, from, to, committed } = &accepted;
                let done = if *committed { "are given up" } else { "would be given up (dry run)" };
                format!("frames {from} to {to} of {origin} {done}\n")
            })
        }
    }
}

fn incidents(found: &Incidents) -> String {
    if found.all == 0 {
        return "the log has no incidents\n".to_owned();
    }
    let columns = [("event", Align::Right), ("origin", Align::Left), ("what", Align::Left)];
    let rows: Vec<Vec<String>> = found
        .newest
        .iter()
        .map(|one| vec![one.sequence.to_string(), one.origin.clone(), one.reason.clone()])
        .collect();
    let (all, shown) = (found.all, rows.len());
    format!("{}{shown} of {all} incidents\n", table(&columns, &rows))
}

fn missing(gaps: &[GapShown]) -> String {
    if gaps.is_empty() {
        return "the log misses nothing\n".to_owned();
    }
    let columns = [
        ("origin", Align::Left),
        ("from", Align::Right),
        ("seen", Align::Right),
        ("open", Align::Right),
        ("its origin", Align::Left),
    ];
    let row = |gap: &GapShown| {
        let said = match gap.lost_to {
            _ if gap.closed => "is closed".to_owned(),
            0 => "has not said that they are lost".to_owned(),
            to => format!("has nothing up to {to}"),
        };
        let open = format!("{} s", gap.open_ms / 1_000);
        vec![gap.origin.clone(), gap.from.to_string(), gap.seen.to_string(), open, said]
    };
    let rows: Vec<Vec<String>> = gaps.iter().map(row).collect();
    format!(
        "{}Next: asterism log accept-loss --origin ORIGIN --reason WHY --dry-run\n",
        table(&columns, &rows)
    )
}

fn describe(sealed: &Sealed) -> String {
    let rows: Vec<Vec<String>> = sealed
        .segments
        .iter()
        .map(|segment| {
            let numbers = [segment.first, segment.end - segment.first, segment.size_bytes];
            let mut row: Vec<String> = numbers.iter().map(u64::to_string).collect();
            row.push(shown(&segment.path));
            row
        })
        .collect();
    let columns =
        [("first", Align::Right), ("events", Align::Right), ("bytes", Align::Right), ("file", Align::Left)];
    let segments =
        if rows.is_empty() { "nothing new since the last seal\n".to_owned() } else { table(&columns, &rows) };
    let folder = sealed.segments.first().and_then(|segment| segment.path.parent()).map(shown);
    let next = folder.map_or_else(String::new, |folder| format!("Next: asterism replay verify {folder}\n"));
    format!("{segments}checkpoint at {} events, root {}\n{next}", sealed.checkpoint, sealed.root)
}
