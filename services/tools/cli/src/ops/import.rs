//! Contacts of a file into a campaign: read on a thread of its own, sent batch by batch, each under an id that makes a
//! repeat harmless.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use asterism_dialer::commands::ImportContacts;
use asterism_domain::contact::{ContactRow, E164};
use asterism_proto::Role;
use asterism_runtime::keys::random;
use asterism_runtime::seal::PersonalData;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::blocking;
use crate::client::Client;
use crate::error::CliError;
use crate::import::{self, Options, Summary};

/// Batches read ahead of the one being sent.
const BATCHES_AHEAD: usize = 2;

/// Imports a list into a campaign and closes the campaign's import. `limit` takes only the first good rows; `progress`
/// hears how many contacts the log holds so far.
///
/// The import's id is a hash of the file and each batch's command id is made of campaign, import and number, so after a
/// failure the same call goes on where it ended.
///
/// # Errors
/// AST-I0xx the list cannot be read, AST-U020 it has no good row, or the dialer's refusal.
pub async fn import_contacts(
    client: &Client,
    campaign: &str,
    path: &Path,
    options: &Options,
    limit: Option<u64>,
    progress: impl FnMut(u64),
) -> Result<Summary, CliError> {
    let file = path.to_owned();
    let mut import = blocking(move || file_hash(&file))
        .await?
        .map_err(|source| CliError::from(import::Error::Read { path: path.display().to_string(), source }))?;
    import.truncate(32);
    let options = Options { limit: limit.or(options.limit), ..options.clone() };
    if options.dry_run {
        let file = path.to_owned();
        return Ok(blocking(move || import::import_file(&file, &options, |_| Ok::<(), String>(()))).await??);
    }
    let (batches, queue) = mpsc::channel(BATCHES_AHEAD);
    let file = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        import::import_file(&file, &options, |batch| batches.blocking_send(batch).map_err(|_| "not taken"))
    });
    let mut sending = Sending { client, campaign, import: &import, sent: 0, number: 0, progress };
    // The channel closes with the reader, so the end of one is the end of the other.
    let sent = sending.all(queue, reading).await;
    sent.map_err(|error| match error.next_command.as_str() {
        "" => error.next(format!("asterism campaign import {campaign} {}", path.display())),
        _ => error,
    })
}

/// Imports one number and closes the campaign's import. The import's id is random: a hash of one number is soon guessed.
///
/// # Errors
/// The dialer's refusal, AST-D0xx.
pub async fn import_one(client: &Client, campaign: &str, number: E164) -> Result<(), CliError> {
    let import = format!("one-{}", hex::encode(random::<12>()?));
    let contact = ContactRow { number, fields: Vec::new() };
    let mut sending = Sending { client, campaign, import: &import, sent: 0, number: 0, progress: |_| () };
    sending.send(&[contact], true).await
}

struct Sending<'a, P> {
    client: &'a Client,
    campaign: &'a str,
    import: &'a str,
    sent: u64,
    number: u64,
    progress: P,
}

impl<P: FnMut(u64)> Sending<'_, P> {
    async fn all(
        &mut self,
        mut queue: mpsc::Receiver<Vec<ContactRow>>,
        reading: tokio::task::JoinHandle<Result<Summary, import::Error>>,
    ) -> Result<Summary, CliError> {
        // Only the end of the file tells which batch is the last, so one is held back.
        let mut held: Option<Vec<ContactRow>> = None;
        while let Some(batch) = queue.recv().await {
            if let Some(batch) = held.replace(batch) {
                self.send(&batch, false).await?;
            }
        }
        let summary = reading
            .await
            .map_err(|error| CliError::new("AST-U004", "a task ended early", error.to_string()))??;
        let Some(last) = held else {
            let what = "the list has no row that can be dialled";
            let why = format!("{} rows, {} rejected", summary.rows, summary.rejected);
            return Err(CliError::new("AST-U020", what, why));
        };
        self.send(&last, true).await?;
        Ok(summary)
    }

    async fn send(&mut self, batch: &[ContactRow], last: bool) -> Result<(), CliError> {
        let rows = batch.iter().map(|contact| PersonalData {
            number: contact.number.expose(),
            fields: contact.fields.iter().cloned().collect(),
        });
        let args = ImportContacts {
            campaign: self.campaign.to_owned(),
            import: self.import.to_owned(),
            rows: rows.collect(),
            last,
        };
        // The campaign is part of the id: the same list may be imported into several.
        let id = format!("imp-{}-{}-{}", self.campaign, self.import, self.number);
        self.client.role_as(Role::Dialer, "campaign.import", &args, &id).await?;
        self.number += 1;
        self.sent += batch.len() as u64;
        (self.progress)(self.sent);
        Ok(())
    }
}

/// SHA-256 of a file, hex.
fn file_hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use asterism_domain::campaign::decide::SEALED_MAX_BYTES;
    use asterism_domain::contact::{Columns, MAX_CONTACT_BYTES};
    use asterism_runtime::seal;
    use proptest::prelude::*;

    fn sealed_bytes(contact: &ContactRow) -> usize {
        let data = PersonalData {
            number: contact.number.expose(),
            fields: contact.fields.iter().cloned().collect(),
        };
        seal::seal(&[1; 32], [2; 24], "imp", &data).unwrap().len()
    }

    #[test]
    fn the_largest_contact_taken_is_the_largest_that_can_be_sealed() {
        let columns = Columns::read(&["number", "note"], None).unwrap();
        let row = |bytes: usize| columns.row(["+123456789012345", &"x".repeat(bytes)].into_iter());
        let most = (0..MAX_CONTACT_BYTES).rev().find(|bytes| row(*bytes).is_ok()).unwrap();
        assert_eq!(sealed_bytes(&row(most).unwrap()), SEALED_MAX_BYTES);
    }

    proptest! {
        #[test]
        fn every_row_that_is_taken_can_be_sealed(
            digits in "[1-9][0-9]{7,14}",
            values in proptest::collection::vec("\\PC{0,60}", 0..12),
        ) {
            let names: Vec<String> = (0..values.len()).map(|n| format!("column {n}")).chain(["number".to_owned()]).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let number = format!("+{digits}");
            let row: Vec<&str> = values.iter().map(String::as_str).chain([number.as_str()]).collect();
            if let Ok(contact) = Columns::read(&names, None).unwrap().row(row.into_iter()) {
                prop_assert!(sealed_bytes(&contact) <= SEALED_MAX_BYTES);
            }
        }
    }
}
