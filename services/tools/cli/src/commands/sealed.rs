//! The log as files: the folder that is named, or the ledger's own on this machine, sealed up to now.

use std::path::PathBuf;
use std::time::Duration;

use asterism_ledger::commands::Sealed;
use asterism_proto::Role;
use serde_json::json;

use super::Context;
use crate::error::CliError;

/// How long the ledger is waited for: what was sealed before is of use without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A folder of sealed segments. The ledger's is sealed first; where it does not answer, what is sealed is all there is, and
/// that is said.
pub(super) async fn folder(context: &Context, named: Option<&PathBuf>) -> Result<PathBuf, CliError> {
    if let Some(folder) = named {
        return Ok(folder.clone());
    }
    let folder = context.config()?.paths.data_dir.join("log-ledger");
    if let Err(error) = seal(context).await {
        context.out.say(&format!("the log is read as far as it is sealed: {error}"));
    }
    Ok(folder)
}

async fn seal(context: &Context) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let client = client.patience(PATIENCE);
    client.role_json::<Sealed>(Role::Ledger, "ledger.seal", &json!({})).await.map(drop)
}

/// The folder of keys that is named, or the configuration's.
pub(super) fn keys(context: &Context, named: Option<&PathBuf>) -> Result<PathBuf, CliError> {
    named.map_or_else(|| Ok(context.config()?.keys_dir()), |folder| Ok(folder.clone()))
}
