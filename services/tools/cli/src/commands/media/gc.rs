//! `asterism media gc`: what nothing needs, removed by media-sync in as many questions as it takes.

use std::fmt::Write as _;

use asterism_media_sync::sweep::{CollectGarbage, Collected};
use asterism_proto::Role;
use serde_json::json;

use super::super::Context;
use crate::bar::grouped;
use crate::error::CliError;

pub(super) async fn run(context: &Context, keep: u32, reason: String, dry_run: bool) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let mut all = Collected::default();
    let mut asked = CollectGarbage { keep, dry_run, after: None, reason };
    loop {
        let part: Collected = client.role_json(Role::MediaSync, "media.gc", &asked).await?;
        all.retired.extend(part.retired);
        all.objects += part.objects;
        all.size_bytes += part.size_bytes;
        if part.next.is_none() {
            break;
        }
        asked.after = part.next;
        context.out.say(&format!("{} objects so far", grouped(all.objects)));
    }
    let value = json!({
        "dry_run": dry_run, "retired": all.retired, "objects": all.objects, "size_bytes": all.size_bytes,
    });
    context.out.result(&value, || {
        let (retired, removed) =
            if dry_run { ("would be retired", "would be removed") } else { ("retired", "removed") };
        let sets = all.retired.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{retired}: {} ({})", line.name, line.manifest);
            text
        });
        format!(
            "{sets}{} sets {retired}, {} objects with {} bytes {removed}\n",
            all.retired.len(),
            grouped(all.objects),
            grouped(all.size_bytes)
        )
    })
}
