//! `asterism recordings`: list, fetch, erase, keep; sealed ones are opened in `sealed`.

mod sealed;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use asterism_media_sync::records::{
    EraseRecordings, Erased, KeepRecordings, ListRecordings, Listed, RecordingLine,
};
use asterism_object_store::{MAX_OBJECT_BYTES, ObjectName, ObjectStore};
use asterism_proto::Role;
use asterism_proto::hash::sha256;
use asterism_replay::when;
use serde_json::json;

use super::{Context, shown, store};
use crate::args::recordings::{RecordingsCommand, Which};
use crate::bar::{Bar, grouped};
use crate::client::Client;
use crate::error::CliError;
use crate::output::{Align, table};

const DAY_MS: u64 = 86_400_000;

pub(super) async fn run(context: &Context, command: RecordingsCommand) -> Result<(), CliError> {
    match command {
        RecordingsCommand::List { campaign } => list(context, campaign).await,
        RecordingsCommand::Fetch { folder, identity, which } => {
            let opener = identity.as_deref().map(sealed::Opener::read).transpose()?;
            fetch(context, &folder, &which, opener.as_ref()).await
        }
        RecordingsCommand::Keygen { file } => sealed::keygen(context, &file),
        RecordingsCommand::Erase { which, older_than_days, reason, dry_run } => {
            erase(context, &which, older_than_days, &reason, dry_run).await
        }
        RecordingsCommand::Keep { campaign, days, reason, dry_run } => {
            keep(context, KeepRecordings { campaign, days, reason, dry_run }).await
        }
    }
}

/// All of a campaign, or of all, in as many questions as it takes.
async fn all(client: &Client, campaign: Option<&str>) -> Result<Listed, CliError> {
    let mut asked = ListRecordings { campaign: campaign.map(str::to_owned), after: None };
    let mut listed: Listed = client.role_json(Role::MediaSync, "recordings.list", &asked).await?;
    while let Some(next) = listed.next.take() {
        asked.after = Some(next);
        let part: Listed = client.role_json(Role::MediaSync, "recordings.list", &asked).await?;
        listed.stored.extend(part.stored);
        listed.next = part.next;
    }
    Ok(listed)
}

/// Those that are meant; one that is not in the store is an error.
async fn meant(client: &Client, which: &Which) -> Result<Listed, CliError> {
    let mut listed = all(client, which.campaign.as_deref()).await?;
    if which.campaign.is_some() {
        return Ok(listed);
    }
    let line = |name: &String| {
        let found = listed.stored.iter().find(|line| line.recording == *name).cloned();
        found.ok_or_else(|| {
            CliError::new("AST-M087", format!("there is no recording {name} in the store"), "")
                .next("asterism recordings list")
        })
    };
    listed.stored = which.names.iter().map(line).collect::<Result<_, _>>()?;
    Ok(listed)
}

async fn list(context: &Context, campaign: Option<String>) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let listed = all(&client, campaign.as_deref()).await?;
    context.out.result(&listed, || {
        let row = |line: &RecordingLine| {
            let (s, ms) = (line.duration_ms / 1_000, line.duration_ms % 1_000);
            let until = line.erased_at_ms.map_or_else(|| "-".to_owned(), when::shown);
            vec![
                line.recording.clone(),
                format!("{s}.{ms:03}"),
                line.size_bytes.to_string(),
                when::shown(line.stored_at_ms),
                until,
            ]
        };
        let columns = [
            ("recording", Align::Left),
            ("seconds", Align::Right),
            ("bytes", Align::Right),
            ("stored", Align::Left),
            ("erased after", Align::Left),
        ];
        let rows: Vec<_> = listed.stored.iter().map(row).collect();
        let text = if rows.is_empty() { String::new() } else { table(&columns, &rows) };
        format!(
            "{text}{} in the store, {} on nodes and not sent yet, {} lost, {} erased\n",
            grouped(listed.stored.len() as u64),
            grouped(listed.unsent),
            grouped(listed.lost),
            grouped(listed.erased)
        )
    })
}

async fn fetch(
    context: &Context,
    folder: &Path,
    which: &Which,
    opener: Option<&sealed::Opener>,
) -> Result<(), CliError> {
    let (config, client) = context.client().await?;
    let lines = meant(&client, which).await?.stored;
    let store = store(&config).await?;
    let failed = |error: std::io::Error| {
        CliError::new("AST-U150", format!("cannot write into {}", shown(folder)), error.to_string())
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let (mut fetched, mut kept, mut size_bytes, mut closed) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut bar = Bar::new(!context.out.json);
    for line in &lines {
        bar.draw(fetched + kept, lines.len() as u64, "recordings");
        if sealed::is_there(folder, line, opener.is_some()) {
            kept += 1;
            continue;
        }
        let bytes = read(store.as_ref(), line).await?;
        let (name, bytes) = match (sealed::is_sealed(&bytes), opener) {
            (true, Some(opener)) => (sealed::plain(line), opener.open(&bytes, &line.recording)?),
            (true, None) => {
                closed += 1;
                (sealed::closed(line), bytes)
            }
            (false, _) => (sealed::plain(line), bytes),
        };
        write(folder, &name, &bytes).map_err(failed)?;
        fetched += 1;
        size_bytes += bytes.len() as u64;
    }
    bar.clear();
    let value = json!({
        "folder": shown(folder), "fetched": fetched, "kept": kept, "size_bytes": size_bytes, "sealed": closed,
    });
    context.out.result(&value, || {
        let closed = match closed {
            0 => String::new(),
            many => format!("{} of them are sealed: --identity FILE opens them\n", grouped(many)),
        };
        format!(
            "{} recordings fetched into {} ({} bytes), {} were there\n{closed}",
            grouped(fetched),
            shown(folder),
            grouped(size_bytes),
            grouped(kept)
        )
    })
}

/// A file has its name when it is whole.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let beside = folder.join(format!(".{name}.part"));
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))
}

/// A recording as the log has it.
async fn read(store: &dyn ObjectStore, line: &RecordingLine) -> Result<Vec<u8>, CliError> {
    let bytes = store.get(&ObjectName::new(&line.object)?, MAX_OBJECT_BYTES).await?;
    if hex::encode(sha256(&bytes)) == line.sha256 {
        return Ok(bytes.to_vec());
    }
    let what = format!("{} is not what the log says", line.recording);
    Err(CliError::new("AST-M088", what, "its object was changed in the store"))
}

async fn erase(
    context: &Context,
    which: &Which,
    older_than_days: Option<u32>,
    reason: &str,
    dry_run: bool,
) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let Listed { stored: mut lines, now_ms, .. } = meant(&client, which).await?;
    if let Some(days) = older_than_days {
        lines.retain(|line| now_ms.saturating_sub(line.stored_at_ms) >= u64::from(days) * DAY_MS);
    }
    let mut erased = 0_u64;
    for some in lines.chunks(asterism_domain::recording::ERASED_PER_EVENT).filter(|_| !dry_run) {
        let recordings = some.iter().map(|line| line.recording.clone()).collect();
        let asked = EraseRecordings { recordings, reason: reason.to_owned() };
        let done: Erased = client.role_json(Role::MediaSync, "recordings.erase", &asked).await?;
        erased += done.erased;
    }
    let names: Vec<&str> = lines.iter().map(|line| line.recording.as_str()).collect();
    let value = json!({ "dry_run": dry_run, "recordings": names, "erased": erased });
    context.out.result(&value, || {
        if dry_run {
            format!("{} recordings would be erased (dry run: nothing changed)\n", grouped(names.len() as u64))
        } else {
            format!("{} recordings erased\n", grouped(erased))
        }
    })
}

async fn keep(context: &Context, asked: KeepRecordings) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let done: Erased = client.role_json(Role::MediaSync, "recordings.keep", &asked).await?;
    let KeepRecordings { campaign, days, dry_run, .. } = &asked;
    let due = done.due;
    let value = json!({ "campaign": campaign, "days": days, "dry_run": dry_run, "due": due });
    context.out.result(&value, || {
        let kept = match days {
            0 => "until somebody erases them".to_owned(),
            days => format!("{days} days"),
        };
        let done = if *dry_run { "would be kept (dry run: nothing changed)" } else { "are kept" };
        format!("recordings of {campaign} {done} {kept}; {} are due today\n", grouped(due))
    })
}
