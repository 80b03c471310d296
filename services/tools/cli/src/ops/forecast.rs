//! Whom of a list a campaign would ring: the dialer is asked, in bounded questions, and keeps nothing.

use std::path::Path;

use asterism_dialer::commands::CONSENT_COLUMN;
use asterism_dialer::commands::check::{AskForecast, FORECAST_MAX_ROWS, ForecastRow};
use asterism_domain::campaign::forecast::Forecast;
use asterism_domain::contact::{ContactRow, ZONE_COLUMN};
use asterism_proto::Role;
use tokio::sync::mpsc;

use super::blocking;
use crate::client::Client;
use crate::error::CliError;
use crate::import::{self, MAX_BATCH_CONTACTS, Options};

/// Batches of the reader in one question.
const BATCHES: usize = FORECAST_MAX_ROWS / MAX_BATCH_CONTACTS;

/// Asks about every good row of a list. `asked` names the campaign or what it would be; its rows are filled in.
///
/// # Errors
/// AST-I0xx the list cannot be read, or the dialer's refusal.
pub async fn forecast(
    client: &Client,
    asked: &AskForecast,
    path: &Path,
    options: &Options,
) -> Result<Forecast, CliError> {
    let options = Options { dry_run: false, rejects: None, ..options.clone() };
    let (file, look) = (path.to_owned(), options.clone());
    let survey = blocking(move || import::survey_file(&file, &look)).await??;
    let (batches, mut queue) = mpsc::channel(BATCHES * 2);
    let file = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let sink = |batch| batches.blocking_send(batch).map_err(|_| "not taken");
        import::import_file(&file, &survey, &options, sink)
    });
    let mut said = Forecast::default();
    let mut held = Vec::new();
    while let Some(batch) = queue.recv().await {
        held.push(batch);
        if held.len() == BATCHES {
            said.add(&ask(client, asked, std::mem::take(&mut held)).await?);
        }
    }
    if !held.is_empty() {
        said.add(&ask(client, asked, held).await?);
    }
    reading.await.map_err(|error| CliError::new("AST-U004", "a task ended early", error.to_string()))??;
    Ok(said)
}

async fn ask(client: &Client, asked: &AskForecast, rows: Vec<Vec<ContactRow>>) -> Result<Forecast, CliError> {
    let rows = rows.iter().flatten().map(|contact| ForecastRow {
        number: contact.number.expose(),
        timezone: field(contact, ZONE_COLUMN),
        consent: field(contact, CONSENT_COLUMN),
    });
    let asked = AskForecast { rows: rows.collect(), ..asked.clone() };
    client.role_json(Role::Dialer, "campaign.forecast", &asked).await
}

/// A field by name, in any case, as the dialer finds it.
fn field(contact: &ContactRow, name: &str) -> Option<String> {
    let found = contact.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.clone())
}
