//! `cdr`: call detail records as rows, in the column order of Asterisk's `cdr_csv`, then ours.
//!
//! One row for each attempt that left its node's hands, when it did; an attempt that its node refused was never a call
//! and has none. What the columns mean, where Asterisk's own meaning leaves a choice:
//!
//! ```text
//! accountcode   the campaign                     src, clid     the caller id, as configured; else empty
//! dst           the number, if its key is given  dcontext      where the call runs in the dialplan
//! channel, dstchannel, lastapp, lastdata         empty: the log does not have them
//! start, answer, end     UTC, by the node's clock; `end` less what it measured of ringing and talking
//! duration, billsec      whole seconds from start and from answer to end; 0 where nobody can tell the end
//! disposition   ANSWERED, NO ANSWER, BUSY, CONGESTION (as Asterisk with congestion=yes), else FAILED; empty: unknown
//! amaflags      DOCUMENTATION, the default       uniqueid      the attempt: the id the channel was given
//! userfield     the flow's last state            attempt       1 for the contact's first, 2 ...
//! outcome       ours, finer; `uncertain`: it may have rung and nobody can prove how it ended
//! cause         Q.850                            never_rang    nothing left for the carrier
//! ```

mod number;

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;

use asterism_domain::campaign::{Attempt, AttemptStatus};
use asterism_domain::{AttemptId, Event, Outcome, Recorded, State};
use asterism_event_log::{AcceptedFrame, LogFolder};
use asterism_proto::v1;
use prost::Message;

pub use number::Keys;

use crate::fold::Pass;
use crate::sheet::{Mode, Sheet};
use crate::{Error, when};

/// Asterisk's columns, then ours.
pub const COLUMNS: [&str; 27] = [
    "accountcode",
    "src",
    "dst",
    "dcontext",
    "clid",
    "channel",
    "dstchannel",
    "lastapp",
    "lastdata",
    "start",
    "answer",
    "end",
    "duration",
    "billsec",
    "disposition",
    "amaflags",
    "uniqueid",
    "userfield",
    "campaign",
    "contact",
    "attempt",
    "node",
    "trunk",
    "outcome",
    "cause",
    "digits",
    "never_rang",
];

/// The context the agents originate into.
const CONTEXT: &str = "asterism";

/// One call. Times are ms since 1970; 0 is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Call {
    start_ms: u64,
    answer_ms: u64,
    end_ms: u64,
    ring_ms: u64,
    talk_ms: u64,
    disposition: &'static str,
    outcome: &'static str,
    cause: String,
    digits: String,
    path: String,
    never_rang: bool,
}

/// How the records are written.
#[derive(Debug, Default)]
pub struct Style {
    /// One JSON object a line, not rows.
    pub json: bool,
    /// See [`Sheet`].
    pub spreadsheet: bool,
    /// No first row with the columns' names: as Asterisk's own file.
    pub no_header: bool,
}

/// Writes the records in the order the calls ended in; returns how many.
pub fn cdr(
    pass: &mut Pass<'_>,
    keys: Option<&mut Keys>,
    style: &Style,
    out: &mut dyn Write,
) -> Result<u64, Error> {
    // No header where there is no log.
    LogFolder::open(pass.folder, pass.anchor)?;
    let mut book = Book { keys, ..Book::default() };
    if style.json {
        return book.keep(pass, &mut |cells| {
            let object: BTreeMap<_, _> = COLUMNS.into_iter().zip(cells).collect();
            serde_json::to_writer(&mut *out, &object).map_err(std::io::Error::from)?;
            Ok(out.write_all(b"\n")?)
        });
    }
    let mut sheet = Sheet::new(out, Mode::of(style.spreadsheet));
    if !style.no_header {
        sheet.row(COLUMNS)?;
    }
    let written = book.keep(pass, &mut |cells| sheet.row(cells))?;
    sheet.finish()?;
    Ok(written)
}

/// The attempts in flight: when each was dialled and answered, by its node's clock.
#[derive(Default)]
struct Book<'a> {
    state: State,
    keys: Option<&'a mut Keys>,
    open: BTreeMap<AttemptId, (u64, u64)>,
    written: u64,
}

type Write27<'a> = dyn FnMut([String; 27]) -> Result<(), Error> + 'a;

impl Book<'_> {
    fn keep(&mut self, pass: &mut Pass<'_>, write: &mut Write27<'_>) -> Result<u64, Error> {
        pass.each(&mut |frame, event| {
            self.hear(frame, event, write)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(self.written)
    }

    fn hear(
        &mut self,
        frame: &AcceptedFrame,
        event: &Recorded,
        write: &mut Write27<'_>,
    ) -> Result<(), Error> {
        let concerned: Vec<AttemptId> = match &event.event {
            Event::NodeTerminated { node, .. } | Event::NodeLost { node, .. } => {
                let node = self.state.fleet.nodes.get(node);
                node.map(|node| node.attempts.iter().cloned().collect()).unwrap_or_default()
            }
            other => other.attempt().cloned().into_iter().collect(),
        };
        let before: Vec<(AttemptId, Attempt)> =
            concerned.iter().filter_map(|id| Some((id.clone(), self.in_flight(id)?.clone()))).collect();
        self.state.apply(event);
        for (id, attempt) in before {
            match self.in_flight(&id).map(|attempt| attempt.status) {
                Some(now) if now != attempt.status => self.advanced(&id, now, clock(frame, event)),
                Some(_) => {}
                None => self.left(&id, &attempt, (frame, event), write)?,
            }
        }
        Ok(())
    }

    fn in_flight(&self, id: &AttemptId) -> Option<&Attempt> {
        self.state.campaigns.get(&id.campaign)?.in_flight.get(id)
    }

    fn advanced(&mut self, id: &AttemptId, now: AttemptStatus, at_ms: u64) {
        let times = self.open.entry(id.clone()).or_default();
        match now {
            AttemptStatus::Originating => times.0 = at_ms,
            AttemptStatus::Answered => times.1 = at_ms,
            AttemptStatus::Intended | AttemptStatus::Accepted => {}
        }
    }

    fn left(
        &mut self,
        id: &AttemptId,
        attempt: &Attempt,
        (frame, event): (&AcceptedFrame, &Recorded),
        write: &mut Write27<'_>,
    ) -> Result<(), Error> {
        let (start_ms, answer_ms) = self.open.remove(id).unwrap_or_default();
        let call = match &event.event {
            Event::AttemptRefused { .. } if attempt.status < AttemptStatus::Originating => return Ok(()),
            ended @ Event::AttemptEnded { .. } => ended_call(ended, attempt, clock(frame, event)),
            _ => Call {
                start_ms,
                answer_ms,
                disposition: if attempt.status == AttemptStatus::Answered { "ANSWERED" } else { "" },
                outcome: "uncertain",
                ..Call::default()
            },
        };
        let cells = self.cells(id, attempt, &call)?;
        self.written += 1;
        write(cells)
    }

    fn cells(&mut self, id: &AttemptId, attempt: &Attempt, call: &Call) -> Result<[String; 27], Error> {
        let campaign = self.state.campaigns.get(&id.campaign);
        let of_campaign = || campaign.map(|campaign| campaign.caller_id.clone()).unwrap_or_default();
        // In logs from before each attempt had one, its campaign's.
        let caller = if attempt.caller_id.is_empty() { of_campaign() } else { attempt.caller_id.clone() };
        let dst = match (&mut self.keys, campaign) {
            (Some(keys), Some(campaign)) => keys.number(campaign, id.contact)?,
            _ => String::new(),
        };
        Ok([
            id.campaign.clone(),
            caller.clone(),
            dst,
            CONTEXT.to_owned(),
            caller,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            second(call.start_ms),
            second(call.answer_ms),
            second(call.end_ms),
            ((call.ring_ms + call.talk_ms) / 1_000).to_string(),
            (call.talk_ms / 1_000).to_string(),
            call.disposition.to_owned(),
            "DOCUMENTATION".to_owned(),
            id.to_string(),
            call.path.clone(),
            id.campaign.clone(),
            id.contact.to_string(),
            id.ordinal.to_string(),
            attempt.node.clone(),
            attempt.trunk.clone(),
            call.outcome.to_owned(),
            call.cause.clone(),
            call.digits.clone(),
            call.never_rang.to_string(),
        ])
    }
}

/// The node's own time of an event; the log's, where it has none.
fn clock(frame: &AcceptedFrame, event: &Recorded) -> u64 {
    let bytes = frame.frame.events.get(event.id.index as usize).unwrap_or_default();
    let own = v1::Event::decode(bytes).map_or(0, |event| event.occurred_at_ms);
    if own > 0 { own } else { event.at }
}

fn ended_call(event: &Event, attempt: &Attempt, end_ms: u64) -> Call {
    let Event::AttemptEnded { outcome, cause, ring_ms, talk_ms, digits, path, never_rang, .. } = event else {
        return Call::default();
    };
    let answered = attempt.status == AttemptStatus::Answered || *outcome == Outcome::Answered;
    let (ring_ms, talk_ms) = (u64::from(*ring_ms), u64::from(*talk_ms));
    let answer_ms = end_ms.saturating_sub(talk_ms);
    Call {
        start_ms: answer_ms.saturating_sub(ring_ms),
        answer_ms: if answered { answer_ms } else { 0 },
        end_ms,
        ring_ms,
        talk_ms,
        disposition: if answered { "ANSWERED" } else { disposition(*outcome) },
        outcome: outcome.name(),
        cause: cause.to_string(),
        digits: digits.clone(),
        path: path.clone(),
        never_rang: *never_rang && !answered,
    }
}

/// What Asterisk would say: it has five words, and FAILED for whatever it does not know.
const fn disposition(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered | Outcome::Machine | Outcome::NoInput => "ANSWERED",
        Outcome::Busy => "BUSY",
        Outcome::NoAnswer => "NO ANSWER",
        Outcome::Congestion => "CONGESTION",
        Outcome::Declined | Outcome::InvalidNumber | Outcome::Unavailable | Outcome::Failed => "FAILED",
    }
}

/// `YYYY-MM-DD HH:MM:SS`, as Asterisk writes it with `usegmtime`; empty if unknown.
fn second(at_ms: u64) -> String {
    if at_ms == 0 {
        return String::new();
    }
    let shown = when::shown(at_ms).replace('T', " ");
    shown.split_once('.').map_or_else(|| shown.clone(), |(second, _)| second.to_owned())
}
