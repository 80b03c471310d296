//! Contacts of a file into a campaign: read on a thread of its own, sent batch by batch, each under an id that makes a
//! repeat harmless.

use std::path::Path;

use asterism_dialer::commands::{ImportContacts, Imported};
use asterism_domain::contact::{ContactRow, E164};
use asterism_proto::Role;
use asterism_runtime::keys::random;
use asterism_runtime::seal::PersonalData;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::blocking;
use crate::client::Client;
use crate::error::CliError;
use crate::import::{self, Options, Summary, Survey, Taken};

/// Batches read ahead of the one being sent.
const BATCHES_AHEAD: usize = 2;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Contacts that are safe in the log.
    pub contacts: u64,
    /// Lines of the file: about as many rows as there are.
    pub lines: u64,
}

/// Imports a list into a campaign and closes the campaign's import. `limit` takes only the first good rows; `progress`
/// hears how many contacts the log holds so far.
///
/// The import's id is a hash of the file and of how it is read, and each batch's command id is made of campaign, import and
/// number, so after a failure the same call goes on where it ended. A file that is in the campaign already, whole, is
/// no failure: [`Taken::whole`] says so.
///
/// # Errors
/// AST-I0xx the list cannot be read, AST-U020 it has no good row, or the dialer's refusal.
pub async fn import_contacts(
    client: &Client,
    campaign: &str,
    path: &Path,
    options: &Options,
    limit: Option<u64>,
    progress: impl FnMut(Progress),
) -> Result<Summary, CliError> {
    let options = Options { limit: limit.or(options.limit), ..options.clone() };
    let (file, look) = (path.to_owned(), options.clone());
    let survey = blocking(move || import::survey_file(&file, &look)).await??;
    if options.dry_run {
        return read_only(path, survey, options).await;
    }
    let import = format!("{}{}", &survey.sha256[..32], how(&options));
    let (batches, queue) = mpsc::channel(BATCHES_AHEAD);
    let (file, known, reading) = (path.to_owned(), survey.clone(), options.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let sink = |batch| batches.blocking_send(batch).map_err(|_| "not taken");
        import::import_file(&file, &known, &reading, sink)
    });
    let mut sending = Sending {
        client,
        campaign,
        import: &import,
        skip_known: &options.skip_known,
        lines: survey.lines,
        sent: 0,
        number: 0,
        taken: Taken::default(),
        progress,
    };
    // The channel closes with the reader, so the end of one is the end of the other.
    match sending.all(queue, reading).await {
        // The campaign has all of this list.
        Err(error) if error.code == "AST-D013" => {
            let look = Options { dry_run: true, rejects: None, ..options };
            let summary = read_only(path, survey, look).await?;
            let taken = Taken { there: summary.good, whole: true, ..Taken::default() };
            Ok(Summary { taken, dry_run: false, ..summary })
        }
        sent => sent.map_err(|error| match error.next_command.as_str() {
            "" => error.next(format!("asterism campaign import {campaign} {}", path.display())),
            _ => error,
        }),
    }
}

/// Reads a list as `options` say and sends nothing.
///
/// # Errors
/// AST-I0xx the list cannot be read.
pub async fn read_list(path: &Path, options: &Options) -> Result<Summary, CliError> {
    let (file, look) = (path.to_owned(), options.clone());
    let survey = blocking(move || import::survey_file(&file, &look)).await??;
    read_only(path, survey, Options { dry_run: true, ..options.clone() }).await
}

async fn read_only(path: &Path, survey: Survey, options: Options) -> Result<Summary, CliError> {
    let file = path.to_owned();
    Ok(blocking(move || import::import_file(&file, &survey, &options, |_| Ok::<(), String>(()))).await??)
}

/// How a file is read, in a few letters: under the same id a batch always has the same rows.
fn how(options: &Options) -> String {
    let Options { mapping, numbers, encoding, limit, skip_known, .. } = options;
    let plain = Options::default();
    let same = *mapping == plain.mapping && *limit == plain.limit && skip_known.is_empty();
    if same && encoding.is_none() && numbers.is_plain() {
        return String::new();
    }
    let text = format!(
        "{mapping:?} {numbers:?} {:?} {limit:?} {skip_known:?}",
        encoding.map(encoding_rs::Encoding::name)
    );
    format!("-{}", hex::encode(&Sha256::digest(text)[..4]))
}

/// Imports one number and closes the campaign's import. The import's id is random: a hash of one number is soon guessed.
///
/// # Errors
/// The dialer's refusal, AST-D0xx.
pub async fn import_one(client: &Client, campaign: &str, number: E164) -> Result<(), CliError> {
    let import = format!("one-{}", hex::encode(random::<12>()?));
    let contact = ContactRow { number, fields: Vec::new() };
    let mut sending = Sending {
        client,
        campaign,
        import: &import,
        skip_known: &[],
        lines: 1,
        sent: 0,
        number: 0,
        taken: Taken::default(),
        progress: |_| (),
    };
    sending.send(&[contact], true).await
}

struct Sending<'a, P> {
    client: &'a Client,
    campaign: &'a str,
    import: &'a str,
    skip_known: &'a [String],
    lines: u64,
    sent: u64,
    number: u64,
    taken: Taken,
    progress: P,
}

impl<P: FnMut(Progress)> Sending<'_, P> {
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
        Ok(Summary { taken: self.taken, ..summary })
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
            skip_known: self.skip_known.to_vec(),
        };
        // The campaign is part of the id: the same list may be imported into several.
        let id = format!("imp-{}-{}-{}", self.campaign, self.import, self.number);
        let reply = self.client.role_as(Role::Dialer, "campaign.import", &args, &id).await?;
        let count = batch.len() as u64;
        match serde_json::from_slice::<Imported>(&reply.json) {
            Ok(imported) if !imported.before => {
                self.taken.fresh += u64::from(imported.contacts);
                self.taken.there += u64::from(imported.there);
                self.taken.known += u64::from(imported.known);
            }
            _ => self.taken.before += count,
        }
        self.number += 1;
        self.sent += count;
        (self.progress)(Progress { contacts: self.sent, lines: self.lines });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use asterism_domain::campaign::decide::SEALED_MAX_BYTES;
    use asterism_domain::contact::{Columns, MAX_CONTACT_BYTES, Mapping};
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
        let columns = Columns::read(&["number", "note"], &Mapping::default()).unwrap();
        let row =
            |bytes: usize| columns.row(["+123456789012345", &"x".repeat(bytes)].into_iter(), E164::parse);
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
            if let Ok(contact) = Columns::read(&names, &Mapping::default()).unwrap().row(row.into_iter(), E164::parse) {
                prop_assert!(sealed_bytes(&contact) <= SEALED_MAX_BYTES);
            }
        }
    }
}
