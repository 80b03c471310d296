//! Export: one JSON object a line and event, or one row of CSV or Parquet, in log order, from verified frames.
//!
//! The log keeps what it has of a person that was erased: sealed bytes, whose key is gone, under the signatures that prove
//! what happened. The export says so of each event about such a person, also where the erasure came later in the log: it
//! reads the log twice.

use std::io::Write;

use asterism_domain::{State, wire};
use asterism_event_log::{AcceptedFrame, LogFolder};
use asterism_proto::v1::{self, EventType};
use prost::Message;
use serde_json::{Map, Value, json};

use crate::fold::Pass;
use crate::sheet::{Mode, Sheet};
use crate::table::{self, Kind};
use crate::{Error, fold};

/// What there is of an event, in the order of the columns of CSV.
pub const COLUMNS: [&str; 22] = [
    "sequence",
    "record_time_ms",
    "origin",
    "epoch",
    "frame",
    "index",
    "term",
    "based_on",
    "leaf",
    "type",
    "schema",
    "occurred_at_ms",
    "causation",
    "correlation",
    "campaign",
    "node",
    "actor",
    "command_id",
    "traceparent",
    "body",
    "raw",
    // Numbers of the contacts it is about that are erased by the end of the log: what names them cannot be read any more.
    "erased",
];

/// What a column holds.
const fn kind(column: &str) -> Kind {
    match column.as_bytes() {
        b"record_time_ms" | b"occurred_at_ms" => Kind::Time,
        b"sequence" | b"frame" | b"index" | b"term" | b"based_on" | b"schema" => Kind::Number,
        b"epoch" | b"leaf" | b"traceparent" | b"body" | b"raw" => Kind::Bytes,
        _ => Kind::Text,
    }
}

/// Writes every sealed event as one row of Parquet under [`COLUMNS`]; what an event does not have is null. Builds without
/// the feature say how to get one.
pub fn parquet(pass: &mut Pass<'_>, out: &mut dyn Write) -> Result<u64, Error> {
    // Nothing is written where there is no log.
    LogFolder::open(pass.folder, pass.anchor)?;
    let columns = COLUMNS.map(|column| (column, kind(column)));
    table::write("event", &columns, table::Format::Parquet, out, |sink| each(pass, sink))
}

/// Writes every sealed event as one JSON line; returns how many. Bodies are hexadecimal: what names a person in them
/// is sealed or hashed, and stays so.
pub fn jsonl(pass: &mut Pass<'_>, out: &mut dyn Write) -> Result<u64, Error> {
    each(pass, &mut |event| {
        serde_json::to_writer(&mut *out, &event).map_err(std::io::Error::from)?;
        Ok(out.write_all(b"\n")?)
    })
}

/// Writes every sealed event as one row under [`COLUMNS`]; what an event does not have is empty. With `spreadsheet`,
/// see [`Sheet`].
pub fn csv(pass: &mut Pass<'_>, spreadsheet: bool, out: &mut dyn Write) -> Result<u64, Error> {
    // No header where there is no log.
    LogFolder::open(pass.folder, pass.anchor)?;
    let mut sheet = Sheet::new(out, Mode::of(spreadsheet));
    sheet.row(COLUMNS)?;
    let written = each(pass, &mut |mut event| {
        sheet.row(COLUMNS.map(|column| match event.get_mut(column).map(Value::take) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        }))
    })?;
    sheet.finish()?;
    Ok(written)
}

fn each(pass: &mut Pass<'_>, write: &mut table::Sink<'_>) -> Result<u64, Error> {
    let log = LogFolder::open(pass.folder, pass.anchor)?;
    let people = people(&log)?;
    let mut written = 0;
    for frame in log.frames() {
        let frame = frame?;
        for index in 0..frame.frame.events.len() {
            let mut line = line(&frame, index);
            let erased = erased(&people, &frame, index);
            if !erased.is_empty() {
                line.insert("erased".into(), json!(erased));
            }
            write(line)?;
            written += 1;
        }
        (pass.progress)(frame.end());
    }
    Ok(written)
}

/// The state at the end of the log, or where an event of a newer version stops the reducers: who is erased by then.
fn people(log: &LogFolder) -> Result<State, Error> {
    let mut state = State::default();
    for frame in log.frames() {
        for event in fold::events(&frame?) {
            match event {
                Ok(event) => state.apply(&event),
                Err(_) => return Ok(state),
            }
        }
    }
    Ok(state)
}

/// The erased among the contacts that an event is about.
fn erased(people: &State, frame: &AcceptedFrame, index: usize) -> Vec<u64> {
    let mut found = Vec::new();
    let bytes = frame.frame.events.get(index).unwrap_or_default();
    if people.erasures.is_empty() {
        return found;
    }
    if let Ok(event) = v1::Event::decode(bytes) {
        wire::contacts_of(&event, &mut |campaign, contact| {
            let person = usize::try_from(contact)
                .ok()
                .and_then(|contact| people.campaigns.get(campaign)?.contacts.get(contact));
            if person.is_some_and(|person| person.erased) {
                found.push(contact);
            }
        });
    }
    found
}

fn line(frame: &AcceptedFrame, index: usize) -> Map<String, Value> {
    let header = &frame.frame.header;
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.into(), value);
    put("sequence", json!(frame.first + index as u64));
    put("record_time_ms", json!(frame.record_time_ms));
    put("origin", json!(header.origin));
    put("epoch", json!(hex::encode(&header.epoch)));
    put("frame", json!(header.number));
    put("index", json!(index));
    put("term", json!(header.term));
    put("based_on", json!(header.based_on));
    put("leaf", json!(frame.leaves.get(index).map(hex::encode)));
    let bytes = frame.frame.events.get(index).unwrap_or_default();
    let Ok(event) = v1::Event::decode(bytes) else {
        put("raw", json!(hex::encode(bytes)));
        return object;
    };
    let kind = i32::try_from(event.r#type).ok().and_then(|kind| EventType::try_from(kind).ok());
    put("type", kind.map_or_else(|| json!(event.r#type), |kind| json!(kind.as_str_name())));
    put("schema", json!(event.schema));
    put("occurred_at_ms", json!(event.occurred_at_ms));
    if let Some(id) = &event.causation {
        let text = format!("{}.{}.{}.{}", id.origin, hex::encode(&id.epoch), id.frame, id.index);
        put("causation", json!(text));
    }
    let texts = [
        ("correlation", &event.correlation),
        ("campaign", &event.campaign),
        ("node", &event.node),
        ("actor", &event.actor),
        ("command_id", &event.command_id),
    ];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        put(key, json!(text));
    }
    if !event.traceparent.is_empty() {
        put("traceparent", json!(hex::encode(&event.traceparent)));
    }
    put("body", json!(hex::encode(&event.body)));
    object
}
