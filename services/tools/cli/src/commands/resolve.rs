//! Flows and prompts as people name them: a file or folder of theirs, or something published, by name or id.

use std::path::{Path, PathBuf};

use asterism_domain::logic::{self, Flow};
use asterism_domain::media::{self, ManifestDoc};
use asterism_media_sync::commands::{FlowLine, ManifestLine};
use asterism_media_sync::publish::{self, Set};
use asterism_object_store::{ObjectName, ObjectStore};
use asterism_proto::Role;
use serde_json::json;

use super::shown;
use crate::client::Client;
use crate::error::CliError;
use crate::ops;

/// Shortest beginning of an id that names it.
const ID_SHORTEST: usize = 6;

/// What prompts are called on the command line.
pub(super) enum Prompts {
    /// A folder of sounds that is to be published.
    Folder(PathBuf),
    /// Published ones, by name or id.
    Named(String),
}

impl Prompts {
    /// A folder of that name wins.
    pub(super) fn read(text: &str) -> Self {
        let path = Path::new(text);
        if path.is_dir() || text.contains('/') {
            Self::Folder(path.to_owned())
        } else {
            Self::Named(text.to_owned())
        }
    }
}

/// The flow as a file, if it is one.
pub(super) fn flow_file(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let looks_like_a_file = path.exists() || text.contains('/') || text.contains('.');
    looks_like_a_file.then(|| path.to_owned())
}

/// The flow: a file is published, a name or an id is looked up.
pub(super) async fn flow(client: &Client, store: &dyn ObjectStore, text: &str) -> Result<Flow, CliError> {
    if let Some(path) = flow_file(text) {
        return ops::publish_flow(client, store, &path).await;
    }
    let lines: Vec<FlowLine> = client.role_json(Role::MediaSync, "flow.list", &json!({})).await?;
    let found: Vec<&FlowLine> = lines.iter().filter(|line| line.flow == text || line.name == text).collect();
    let line = one("flow", text, &found, |line| &line.flow)?;
    let document = object(store, &line.object, logic::MAX_DOCUMENT_BYTES).await?;
    Flow::parse_bytes(&document).map_err(|problems| {
        let what = format!("the published flow {} cannot be read", line.flow);
        CliError::new("AST-U041", what, problems.first().map(ToString::to_string).unwrap_or_default())
    })
}

/// The manifest: a folder is published, a name or an id is looked up, without either any that has what the flow plays.
pub(super) async fn manifest(
    client: &Client,
    store: &dyn ObjectStore,
    prompts: Option<&Prompts>,
    flow: &Flow,
) -> Result<String, CliError> {
    if let Some(Prompts::Folder(folder)) = prompts {
        let published = ops::publish_prompts(client, store, folder, &name_of(folder)?).await?;
        covers(&published.manifest, flow)?;
        return Ok(published.manifest_id);
    }
    let lines = sets(client).await?;
    if let Some(Prompts::Named(name)) = prompts {
        let line = set(&lines, name)?;
        covers(&document(store, line).await?, flow)?;
        return Ok(line.manifest.clone());
    }
    for line in &lines {
        if covers(&document(store, line).await?, flow).is_ok() {
            return Ok(line.manifest.clone());
        }
    }
    let what = format!("no published prompts have what the flow plays ({})", flow.prompts().join(", "));
    Err(CliError::new("AST-U042", what, "name a folder with --prompts").next("asterism media publish DIR"))
}

/// Whether the prompts have everything the flow can play.
pub(super) fn covers(manifest: &ManifestDoc, flow: &Flow) -> Result<(), CliError> {
    let missing = manifest.missing(flow.prompts());
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("the flow plays prompts that {:?} does not have", manifest.name);
    let why = format!("missing: {}", missing.join(", "));
    Err(CliError::new("AST-U043", what, why).next("asterism media publish DIR"))
}

/// The manifest a folder would become, offline.
pub(super) fn convert(folder: &Path) -> Result<(ManifestDoc, Vec<publish::Sound>), CliError> {
    let sources = publish::read_folder(folder, ops::LANGUAGE)?;
    let set = Set { name: &name_of(folder)?, formats: &publish::DEFAULT_FORMATS };
    Ok(publish::prepare(set, &sources, &publish::untold)?)
}

/// A manifest's name made of its folder's.
pub(super) fn name_of(folder: &Path) -> Result<String, CliError> {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = full.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    if logic::is_name(&name) {
        return Ok(name);
    }
    let what = format!("{} gives the prompts no name", shown(folder));
    Err(CliError::usage("AST-U044", what, "name them: asterism media publish DIR --name NAME"))
}

/// All sets of prompts that are published, the newest first.
pub(super) async fn sets(client: &Client) -> Result<Vec<ManifestLine>, CliError> {
    let mut lines: Vec<ManifestLine> = client.role_json(Role::MediaSync, "media.list", &json!({})).await?;
    lines.sort_by(|a, b| (b.published_at_ms, &b.manifest).cmp(&(a.published_at_ms, &a.manifest)));
    Ok(lines)
}

/// One of them: the newest of a name, or the one whose id begins so.
pub(super) fn set<'a>(lines: &'a [ManifestLine], text: &str) -> Result<&'a ManifestLine, CliError> {
    if let Some(newest) = lines.iter().find(|line| line.name == text) {
        return Ok(newest);
    }
    let begins = |line: &&ManifestLine| text.len() >= ID_SHORTEST && line.manifest.starts_with(text);
    let found: Vec<&ManifestLine> = lines.iter().filter(begins).collect();
    one("prompts", text, &found, |line| &line.manifest)
}

/// What a set has in it, read back from the store.
pub(super) async fn document(store: &dyn ObjectStore, line: &ManifestLine) -> Result<ManifestDoc, CliError> {
    let document = object(store, &line.object, media::MAX_DOCUMENT_BYTES).await?;
    ManifestDoc::parse(&document).map_err(CliError::from_text)
}

async fn object(store: &dyn ObjectStore, name: &str, max_bytes: usize) -> Result<Vec<u8>, CliError> {
    let name = ObjectName::new(name.to_owned())?;
    Ok(store.get(&name, max_bytes as u64).await?.into())
}

fn one<'a, T>(what: &str, text: &str, found: &[&'a T], id: impl Fn(&T) -> &str) -> Result<&'a T, CliError> {
    match found {
        [one] => Ok(one),
        [] => {
            let next =
                if what == "flow" { "name the flow's file with --flow" } else { "asterism media list" };
            Err(CliError::new(
                "AST-U040",
                format!("no {what} of the name or id {text:?}"),
                "nothing like it is published",
            )
            .next(next))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|line| id(line)).collect();
            Err(CliError::new(
                "AST-U045",
                format!("several {what} are named {text:?}"),
                format!("name one by its id: {}", ids.join(", ")),
            ))
        }
    }
}
