//! `stats`: a log in numbers, from one verified pass.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;

use asterism_domain::{Recorded, State};
use asterism_event_log::{AcceptedFrame, LogFolder};
use asterism_proto::v1::{self, EventType};
use prost::Message;
use serde::Serialize;

use crate::fold::Pass;
use crate::{Error, when};

const HOUR_MS: u64 = 3_600_000;

/// A log in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Fleet whose log it is.
    pub fleet: String,
    /// Record time of the first and the last event, ms since 1970.
    pub first_ms: u64,
    /// See `first_ms`.
    pub last_ms: u64,
    /// Events.
    pub events: u64,
    /// Signed frames they came in.
    pub frames: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Bytes of the events.
    pub event_bytes: u64,
    /// Bytes of the frames: events, headers, signatures.
    pub frame_bytes: u64,
    /// Bytes of the files, compressed.
    pub file_bytes: u64,
    /// Events by type.
    pub types: BTreeMap<String, u64>,
    /// Events by origin.
    pub origins: BTreeMap<String, u64>,
    /// Events by the hour (UTC) they were recorded in.
    pub hours: BTreeMap<String, u64>,
    /// Calls.
    pub calls: Calls,
    /// Nodes there ever were.
    pub nodes: u64,
    /// Most nodes at once.
    pub peak_nodes: u32,
    /// What the nodes cost by the prices in the log, micro-dollars; none if it has no price.
    pub cost_micro_usd: Option<u64>,
    /// Decisions that came too late to take effect.
    pub voids: u64,
    /// Events that fit nothing.
    pub incidents: u64,
}

/// Calls, over all campaigns, as the reducers count them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Attempts that took effect.
    pub attempts: u64,
    /// Of these, refused by their node: never dialled.
    pub refused: u64,
    /// Failed in the PBX before anything left for the carrier.
    pub never_rang: u64,
    /// Seizures: may have reached the carrier.
    pub seizures: u64,
    /// Answered.
    pub answered: u64,
    /// Contacts nobody can tell the end of.
    pub uncertain: u64,
    /// Most calls up at once.
    pub peak_up: u32,
    /// Answer-seizure ratio: answered of 1,000 seizures. None without seizures.
    pub answer_seizure_permille: Option<u64>,
}

/// Counts a log.
pub fn stats(pass: &mut Pass<'_>) -> Result<Stats, Error> {
    let log = LogFolder::open(pass.folder, pass.anchor)?;
    let mut counted = Stats { fleet: log.fleet().to_owned(), ..Stats::default() };
    for (_, _, path) in log.segments() {
        let length = std::fs::metadata(path)
            .map_err(|error| Error::File { path: path.clone(), why: error.to_string() })?
            .len();
        counted.segments += 1;
        counted.file_bytes += length;
    }
    let mut state = State::default();
    pass.each(&mut |frame, event| {
        counted.count(frame, event);
        state.apply(event);
        Ok(ControlFlow::Continue(()))
    })?;
    counted.finish(&state);
    Ok(counted)
}

fn type_name(bytes: &[u8]) -> String {
    let number = v1::Event::decode(bytes).map_or(0, |event| event.r#type);
    let kind = EventType::try_from(number.cast_signed());
    kind.map_or_else(|_| format!("type {number}"), |kind| kind.as_str_name().to_owned())
}

impl Stats {
    fn count(&mut self, frame: &AcceptedFrame, event: &Recorded) {
        let inner = &frame.frame;
        if event.id.index == 0 {
            self.frames += 1;
            self.frame_bytes += (inner.header_bytes.len() + inner.signature.len()) as u64;
        }
        let bytes = inner.events.get(event.id.index as usize).unwrap_or_default();
        self.event_bytes += bytes.len() as u64;
        self.frame_bytes += bytes.len() as u64;
        if self.events == 0 {
            self.first_ms = event.at;
        }
        self.events += 1;
        self.last_ms = event.at;
        *self.types.entry(type_name(bytes)).or_default() += 1;
        *self.origins.entry(inner.header.origin.clone()).or_default() += 1;
        let hour = when::shown(event.at - event.at % HOUR_MS);
        *self.hours.entry(hour.replace(":00:00.000Z", ":00Z")).or_default() += 1;
    }

    fn finish(&mut self, state: &State) {
        let calls = &mut self.calls;
        for counts in state.campaigns.values().map(|campaign| &campaign.counts) {
            calls.attempts += u64::from(counts.attempts);
            calls.refused += u64::from(counts.refused);
            calls.never_rang += u64::from(counts.never_rang);
            calls.seizures += u64::from(counts.rang);
            calls.answered += u64::from(counts.answered);
            calls.uncertain += u64::from(counts.uncertain);
        }
        calls.peak_up = state.peak_up;
        calls.answer_seizure_permille = (calls.answered * 1_000).checked_div(calls.seizures);
        self.nodes = state.fleet.nodes.len() as u64;
        self.peak_nodes = state.fleet.peak_nodes;
        self.cost_micro_usd = state.fleet.spent_micro_usd(state.at);
        (self.voids, self.incidents) = (state.voids, state.incidents);
    }

    /// For people.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "log of fleet {}", self.fleet)?;
        writeln!(out, "  from         {}", when::shown(self.first_ms))?;
        writeln!(out, "  to           {}", when::shown(self.last_ms))?;
        writeln!(
            out,
            "  events       {} in {} frames, {} segments",
            self.events, self.frames, self.segments
        )?;
        writeln!(
            out,
            "  bytes        {} of events, {} of frames, {} of files",
            self.event_bytes, self.frame_bytes, self.file_bytes
        )?;
        writeln!(out, "  nodes        {}, at most {} at once", self.nodes, self.peak_nodes)?;
        let dollars = |micro: u64| format!("${}.{:06}", micro / 1_000_000, micro % 1_000_000);
        if let Some(cost) = self.cost_micro_usd {
            let each =
                cost.checked_div(self.calls.answered).map(|each| format!(", {} a call", dollars(each)));
            writeln!(out, "  cost         {}{}", dollars(cost), each.unwrap_or_default())?;
        }
        writeln!(out, "  voids        {}, incidents {}", self.voids, self.incidents)?;
        let calls = &self.calls;
        writeln!(
            out,
            "calls\n  attempts     {}: {} refused by a node, {} failed before they left, {} seizures",
            calls.attempts, calls.refused, calls.never_rang, calls.seizures
        )?;
        let ratio =
            calls.answer_seizure_permille.map_or("none: no seizures".to_owned(), |n| format!("{n} of 1000"));
        writeln!(out, "  answered     {}, at most {} up at once", calls.answered, calls.peak_up)?;
        writeln!(out, "  answer-seizure ratio {ratio}")?;
        writeln!(out, "  uncertain    {}", calls.uncertain)?;
        for (name, counts) in [("type", &self.types), ("origin", &self.origins), ("hour", &self.hours)] {
            writeln!(out, "events by {name}")?;
            counts.iter().try_for_each(|(key, events)| writeln!(out, "  {events:>9}  {key}"))?;
        }
        Ok(())
    }
}
