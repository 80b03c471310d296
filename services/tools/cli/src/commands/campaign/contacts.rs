//! Contact lists on the command line: how they are read, importing one, and what is said about it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use asterism_dialer::commands::check::AskForecast;
use asterism_domain::campaign::forecast::Forecast;
use asterism_domain::contact::Mapping;
use serde_json::json;

use super::forecast::{self, Missing};
use super::{Context, list_next, shown};
use crate::args::campaign::{ImportArgs, ListArgs};
use crate::bar::{Bar, grouped};
use crate::client::Client;
use crate::error::CliError;
use crate::import::{Numbers, Options, Summary, numbers};
use crate::ops;
use crate::output::{pairs, plain};

/// Time zones shown one by one.
const ZONES_SHOWN: usize = 8;

pub(super) async fn import(context: &Context, args: ImportArgs) -> Result<(), CliError> {
    let options = options(&args.contacts, &args.list, args.dry_run)?;
    if args.dry_run {
        return dry_run(context, &args, &options).await;
    }
    let (_, client) = context.client().await?;
    let sent = send(context, &client, &args.campaign, &args.contacts, &args.list, &options).await;
    let summary = sent.map_err(list_next)?;
    let value =
        json!({ "campaign": args.campaign, "import": summary_json(&summary, &args.contacts, &options) });
    context.out.result(&value, || summary_text(&summary, &args.contacts, &options))
}

/// What would be imported, and whom of it the campaign would ring.
async fn dry_run(context: &Context, args: &ImportArgs, options: &Options) -> Result<(), CliError> {
    let summary = ops::read_list(&args.contacts, options).await?;
    let said = whom(context, args, options, &summary).await;
    let mut value =
        json!({ "campaign": args.campaign, "import": summary_json(&summary, &args.contacts, options) });
    forecast::put(&mut value, &said);
    context.out.result(&value, || {
        let list = summary_text(&summary, &args.contacts, options);
        format!("{list}{}dry run: nothing changed\n", forecast::text(&said))
    })?;
    usable(&summary)
}

async fn whom(
    context: &Context,
    args: &ImportArgs,
    options: &Options,
    summary: &Summary,
) -> Result<Forecast, Missing> {
    if summary.good == 0 {
        return Err(Missing("the list has no row that can be dialled".to_owned()));
    }
    let (_, client) = forecast::client(context).await?;
    let asked = AskForecast {
        campaign: args.campaign.clone(),
        skip_known: options.skip_known.clone(),
        ..AskForecast::default()
    };
    Ok(ops::forecast(&client, &asked, &args.contacts, options).await?)
}

/// A list without a good row makes no campaign.
pub(super) fn usable(list: &Summary) -> Result<(), CliError> {
    if list.good > 0 {
        return Ok(());
    }
    let why = format!("{} rows, {} rejected", list.rows, list.rejected);
    Err(CliError::new("AST-U020", "the list has no row that can be dialled", why))
}

/// Sends a list, with a bar on a terminal. Ctrl-C ends it between two answers: what is in the log stays there.
pub(super) async fn send(
    context: &Context,
    client: &Client,
    campaign: &str,
    contacts: &Path,
    list: &ListArgs,
    options: &Options,
) -> Result<Summary, CliError> {
    let sent = Cell::new(0);
    let mut bar = Bar::new(!context.out.json);
    let again = again(campaign, contacts, list);
    let said = |progress: ops::Progress| {
        sent.set(progress.contacts);
        bar.draw(progress.contacts, progress.lines, "contacts");
        if context.out.verbose {
            context.out.say(&format!("{} contacts imported", progress.contacts));
        }
    };
    tokio::select! {
        done = ops::import_contacts(client, campaign, contacts, options, None, said) => {
            done.map_err(|error| if error.code == "AST-D013" { error } else { error.next(again) })
        }
        Ok(()) = tokio::signal::ctrl_c() => {
            let what = format!("stopped on request: {} contacts of the list are in the campaign", grouped(sent.get()));
            let why = "nothing is lost; the same command goes on where it ended and imports none twice";
            Err(CliError::new("AST-U027", what, why).next(again))
        }
    }
}

/// The command that goes on with an import.
fn again(campaign: &str, contacts: &Path, list: &ListArgs) -> String {
    let quoted = |text: &str| {
        let harmless = |c: char| c.is_alphanumeric() || "-_./=+,:".contains(c);
        if !text.is_empty() && text.chars().all(harmless) {
            text.to_owned()
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    };
    let mut text = format!("asterism campaign import {campaign} {}", quoted(&shown(contacts)));
    let mut flag = |name: &str, value: Option<&str>| {
        let _ = match value {
            Some(value) => write!(text, " --{name} {}", quoted(value)),
            None => write!(text, " --{name}"),
        };
    };
    let one = |value: &Option<String>| value.clone();
    for (name, value) in [
        ("number-column", one(&list.number_column)),
        ("region", one(&list.region)),
        ("encoding", one(&list.encoding)),
        ("rejects", list.rejects.as_deref().map(shown)),
    ] {
        if let Some(value) = value {
            flag(name, Some(&value));
        }
    }
    list.map.iter().for_each(|map| flag("map", Some(map)));
    list.omit.iter().for_each(|column| flag("omit", Some(column)));
    list.skip_known.iter().for_each(|campaign| flag("skip-known", Some(campaign)));
    for (name, set) in
        [("add-plus", list.add_plus), ("mend", list.mend), ("assigned-only", list.assigned_only)]
    {
        if set {
            flag(name, None);
        }
    }
    text
}

/// How the list is read. A dry run writes rejects only where it is told to.
pub(super) fn options(contacts: &Path, list: &ListArgs, dry_run: bool) -> Result<Options, CliError> {
    let renamed = list.map.iter().map(|text| match text.split_once('=') {
        Some((field, column)) => Ok((field.trim().to_owned(), column.trim().to_owned())),
        None => {
            Err(CliError::usage("AST-U025", format!("--map {text:?} names no column"), "--map FIELD=COLUMN"))
        }
    });
    let mapping = Mapping {
        number_column: list.number_column.clone(),
        renamed: renamed.collect::<Result<_, _>>()?,
        omitted: list.omit.clone(),
    };
    let region = match &list.region {
        None => None,
        Some(text) => Some(numbers::region(text).ok_or_else(|| {
            let why = "two letters of ISO 3166, like GB (not UK), US, DE";
            CliError::usage(
                "AST-U026",
                format!("--region {text:?} is no country with telephone numbers"),
                why,
            )
        })?),
    };
    let encoding = match &list.encoding {
        None => None,
        Some(label) => Some(encoding_rs::Encoding::for_label(label.as_bytes()).ok_or_else(|| {
            let why = "names are those of the web, like utf-8, utf-16le, windows-1252, iso-8859-2, shift_jis";
            CliError::usage("AST-U028", format!("--encoding {label:?} is not known"), why)
        })?),
    };
    let beside = || (!dry_run).then(|| rejects_beside(contacts));
    Ok(Options {
        mapping,
        numbers: Numbers {
            region,
            add_plus: list.add_plus,
            mend: list.mend,
            assigned_only: list.assigned_only,
        },
        encoding,
        dry_run,
        rejects: list.rejects.clone().or_else(beside),
        skip_known: list.skip_known.clone(),
        limit: None,
    })
}

fn rejects_beside(contacts: &Path) -> PathBuf {
    let mut name = contacts.as_os_str().to_owned();
    name.push(".rejects.csv");
    PathBuf::from(name)
}

pub(super) fn summary_json(summary: &Summary, contacts: &Path, options: &Options) -> serde_json::Value {
    let samples: Vec<_> = summary
        .samples
        .iter()
        .map(|contact| {
            let fields: Vec<&str> = contact.fields.iter().map(|(name, _)| name.as_str()).collect();
            json!({ "number": contact.number.mask(), "fields": fields })
        })
        .collect();
    let fields: Vec<_> = summary
        .fields
        .iter()
        .map(|field| json!({ "name": field.name, "filled": field.filled, "longest_bytes": field.longest_bytes }))
        .collect();
    let zones = &summary.zones;
    json!({
        "file": contacts, "sha256": summary.file_sha256, "encoding": summary.encoding,
        "separator": summary.separator.to_string(), "columns": summary.columns,
        "number_column": summary.number_column, "fields": fields, "rows": summary.rows, "good": summary.good,
        "rejected": summary.rejected, "duplicates": summary.duplicates, "rejected_by_code": summary.rejected_by_code,
        "national": summary.national, "unassigned": summary.unassigned, "mended": summary.mended,
        "zones": { "named": zones.named, "several": zones.several, "unknown": zones.unknown },
        "samples": samples, "rejects": options.rejects, "dry_run": summary.dry_run,
        "new": summary.taken.fresh, "there_already": summary.taken.there, "sent_before": summary.taken.before,
        "known_elsewhere": summary.taken.known,
        "nothing_new": nothing_new(summary),
    })
}

fn nothing_new(summary: &Summary) -> bool {
    let taken = summary.taken;
    taken.whole || (taken.fresh == 0 && taken.there + taken.before + taken.known > 0)
}

pub(super) fn summary_text(summary: &Summary, contacts: &Path, options: &Options) -> String {
    let mut text = format!(
        "{}: {} rows: {} good, {} rejected, {} {} left out\n",
        plain(&shown(contacts)),
        summary.rows,
        summary.good,
        summary.rejected,
        summary.duplicates,
        if summary.duplicates == 1 { "duplicate" } else { "duplicates" }
    );
    let separator = match summary.separator {
        '\t' => "tab".to_owned(),
        other => format!("{other:?}"),
    };
    text.push_str(&pairs(&[
        (
            "read as",
            format!("{} ({}), columns separated by {separator}", summary.encoding, summary.encoding_known),
        ),
        ("columns", summary.columns.join(", ")),
        ("number", format!("column {:?}", summary.number_column)),
        ("fields", fields_text(summary)),
        ("zones", zones_text(summary)),
    ]));
    notes(&mut text, summary, options);
    for (code, count) in &summary.rejected_by_code {
        let _ = writeln!(text, "rejected {count:>7}  {code}: {}", reason_of(code));
    }
    for contact in &summary.samples {
        let fields: Vec<&str> = contact.fields.iter().map(|(name, _)| name.as_str()).collect();
        let _ = writeln!(text, "sample   {}  {}", contact.number.mask(), plain(&fields.join(", ")));
    }
    if summary.rejected > 0 {
        let place = match &options.rejects {
            Some(rejects) => format!("are in {}", shown(rejects)),
            None => {
                format!("would go to {} (--rejects FILE writes them now)", shown(&rejects_beside(contacts)))
            }
        };
        let _ = writeln!(text, "rejected rows {} with line, column, reason and fix", plain(&place));
    }
    text
}

fn fields_text(summary: &Summary) -> String {
    let fields: Vec<String> = summary
        .fields
        .iter()
        .map(|field| {
            format!("{} ({} filled, longest {} bytes)", field.name, field.filled, field.longest_bytes)
        })
        .collect();
    if fields.is_empty() { "none".to_owned() } else { fields.join(", ") }
}

fn zones_text(summary: &Summary) -> String {
    let zones = &summary.zones;
    let mut named: Vec<_> = zones.named.iter().collect();
    named.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), **name));
    let mut parts: Vec<String> =
        named.iter().take(ZONES_SHOWN).map(|(name, count)| format!("{name} {count}")).collect();
    let rest: u64 = named.iter().skip(ZONES_SHOWN).map(|(_, count)| **count).sum();
    for (count, what) in [
        (rest, "in other zones"),
        (zones.several, "in one of several zones of their country"),
        (zones.unknown, "in no known zone"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn numbers_text(count: u64) -> String {
    format!("{count} {}", if count == 1 { "number" } else { "numbers" })
}

/// What was done to numbers, and what to look at.
fn notes(text: &mut String, summary: &Summary, options: &Options) {
    let mut note = |line: String| {
        let _ = writeln!(text, "note     {line}");
    };
    if summary.national > 0
        && let Some(region) = options.numbers.region
    {
        note(format!(
            "{} numbers were in national form and are read as numbers of {region}",
            summary.national
        ));
    }
    for (mark, count) in &summary.mended {
        note(format!("{} with {mark}, which was taken off", numbers_text(*count)));
    }
    if summary.unassigned > 0 {
        note(format!(
            "{} in no range their country has given out, as those reserved for fiction are; imported all the same \
             (--assigned-only refuses them)",
            numbers_text(summary.unassigned)
        ));
    }
    if summary.encoding != "UTF-8" && summary.encoding_known == "by its bytes" {
        note(format!(
            "the file is no UTF-8; if names look wrong, --encoding names another one than {}",
            summary.encoding
        ));
    }
    if summary.dry_run {
        return;
    }
    let taken = summary.taken;
    if taken.whole {
        note(format!(
            "the whole file was imported before ({} contacts): nothing to do, nothing changed",
            taken.there
        ));
    } else if nothing_new(summary) {
        note(match taken.known {
            0 => "every contact of the file is in the campaign already: nothing changed".to_owned(),
            known => format!(
                "no contact of the file is new; {known} are in other campaigns and left out, as asked"
            ),
        });
    } else {
        if taken.known > 0 {
            note(format!("{} of these contacts are in other campaigns and left out, as asked", taken.known));
        }
        if taken.before > 0 {
            note(format!(
                "{} of these contacts were imported by an earlier try; the import went on behind them",
                taken.before
            ));
        }
        if taken.there > 0 {
            note(format!("{} of these contacts were in the campaign already and are left out", taken.there));
        }
    }
}

/// What a code means, in one phrase. The file of rejects has the exact reason of each row.
fn reason_of(code: &str) -> &'static str {
    match code {
        "AST-I001" => "bytes that are no text",
        "AST-I002" => "another number of columns than the header",
        "AST-I003" => "the row is too long",
        "AST-I004" => "a quote is not closed",
        "AST-I005" => "a value is too long",
        "AST-I006" => "number and fields together are too long; --omit leaves columns out",
        "AST-I007" => "no number",
        "AST-I008" => "a spreadsheet made the number scientific",
        "AST-I009" => "letters in the number",
        "AST-I010" => "a character that has no place in a number",
        "AST-I011" => "no + and country code; --region CC reads national numbers",
        "AST-I012" => "a country code beginning with 0",
        "AST-I013" => "too few digits",
        "AST-I014" => "too many digits",
        "AST-I015" => "a spreadsheet's mark around the number; --mend takes it off",
        "AST-I016" => "no +, but a country code; --add-plus reads them",
        "AST-I017" => "a 0 at the start is missing",
        "AST-I018" => "a number that cannot be",
        "AST-I019" => "a number in no range its country has given out",
        "AST-I027" => "no time zone of the IANA list",
        _ => "see the file of rejects",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_goes_on_is_the_one_that_was_stopped() {
        let list = ListArgs {
            number_column: Some("Tel. mobil".to_owned()),
            map: vec!["city=Ort".to_owned()],
            omit: vec!["it's".to_owned()],
            region: Some("DE".to_owned()),
            add_plus: false,
            mend: true,
            assigned_only: false,
            skip_known: vec!["winter".to_owned()],
            encoding: None,
            rejects: None,
        };
        assert_eq!(
            again("spring", Path::new("my list.csv"), &list),
            "asterism campaign import spring 'my list.csv' --number-column 'Tel. mobil' --region DE --map city=Ort \
             --omit 'it'\\''s' --skip-known winter --mend"
        );
    }
}
