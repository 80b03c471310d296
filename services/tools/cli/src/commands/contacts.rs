//! `asterism contacts`: imports, and erasing one.

use std::io::{BufRead, IsTerminal, Write};

use asterism_dialer::commands::EraseContacts;
use asterism_domain::report::ImportReport;
use asterism_proto::Role;
use serde_json::json;

use super::Context;
use crate::args::ContactsCommand;
use crate::client::Client;
use crate::error::CliError;
use crate::output::{Align, table};

/// What has to be typed on a terminal.
const CONFIRMATION: &str = "erase";

pub(super) async fn run(context: &Context, command: ContactsCommand) -> Result<(), CliError> {
    match command {
        ContactsCommand::List => list(context).await,
        ContactsCommand::Erase { import, reason, dry_run, yes } => {
            erase(context, import, reason, dry_run, yes).await
        }
    }
}

async fn imports(client: &Client) -> Result<Vec<ImportReport>, CliError> {
    client.role_json(Role::Dialer, "contacts.list", &json!({})).await
}

async fn list(context: &Context) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let imports = imports(&client).await?;
    context.out.result(&imports, || {
        if imports.is_empty() {
            return "There are no contacts yet. Next: asterism campaign import --help\n".to_owned();
        }
        rows(&imports)
    })
}

fn rows(imports: &[ImportReport]) -> String {
    let columns = [
        ("import", Align::Left),
        ("campaign", Align::Left),
        ("contacts", Align::Right),
        ("waiting", Align::Right),
        ("in flight", Align::Right),
        ("erased", Align::Right),
    ];
    let row = |one: &ImportReport| {
        let mut row = vec![one.import.clone(), one.campaign.clone()];
        row.extend([one.contacts, one.waiting, one.in_flight, one.erased].map(|count| count.to_string()));
        row
    };
    table(&columns, &imports.iter().map(row).collect::<Vec<_>>())
}

async fn erase(
    context: &Context,
    import: String,
    reason: String,
    dry_run: bool,
    yes: bool,
) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let meant: Vec<ImportReport> =
        imports(&client).await?.into_iter().filter(|one| one.import == import).collect();
    if meant.is_empty() {
        let what = format!("there is no import {import:?}");
        return Err(
            CliError::new("AST-U110", what, "no campaign has contacts of it").next("asterism contacts list")
        );
    }
    if dry_run {
        return context.out.result(&json!({ "erased": false, "imports": meant }), || {
            format!("{}nothing was erased; --yes instead of --dry-run erases it\n", rows(&meant))
        });
    }
    if !yes {
        confirm(context, &meant)?;
    }
    let asked = EraseContacts { import: import.clone(), reason };
    let reply = client.role(Role::Dialer, "contacts.erase", &asked).await.map_err(|error| {
        if error.next_command.is_empty() { error.next("asterism contacts list") } else { error }
    })?;
    let (contacts, position) = (meant.iter().map(|one| one.contacts).sum::<u32>(), reply.position);
    let done = json!({ "erased": true, "import": import, "contacts": contacts, "log_position": position });
    context.out.result(&done, || {
        format!(
            "{contacts} contacts are erased, at position {position} of the log; the key of their import is deleted here.\n\
             Calls that are up end in their own time. Copies of the key folder, backups among them, are yours to erase.\n"
        )
    })
}

/// Asks on a terminal; refuses elsewhere.
fn confirm(context: &Context, meant: &[ImportReport]) -> Result<(), CliError> {
    let refused = |why: &str| CliError::usage("AST-U111", "nothing was erased", why);
    if !std::io::stdin().is_terminal() || context.out.json {
        return Err(refused("an erasure cannot be undone; add --yes, or look first with --dry-run"));
    }
    context.out.say(&rows(meant));
    let _ = write!(std::io::stderr(), "This cannot be undone. Type \"{CONFIRMATION}\" to erase: ");
    let mut typed = String::new();
    let read = std::io::stdin().lock().read_line(&mut typed);
    if read.is_ok() && typed.trim() == CONFIRMATION { Ok(()) } else { Err(refused("it was not confirmed")) }
}
