//! The table of outcomes as a text that is compared: whoever changes it sees what else changes, and that the state of old
//! logs does (raise REDUCER). `UPDATE_EXPECT=1 cargo test -p asterism-domain --test outcomes` writes it anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fmt::Write as _;

use asterism_domain::outcome::{CAUSES, SILENT, SIP, of};
use asterism_domain::wire::{self, Envelope};
use asterism_domain::{Event, Outcome};
use asterism_proto::v1::{self, EventType};
use prost::Message as _;

/// What Asterisk 22 makes of a response that has no place in its table (`hangup_sip2cause` of `chan_pjsip`).
fn asterisk_cause(status: u32) -> u32 {
    if (500..600).contains(&status) { 34 } else { 127 }
}

fn table() -> String {
    let mut text = "# final response -> outcome, whatever the cause\n".to_owned();
    for (status, outcome, source) in SIP {
        writeln!(text, "sip {status} {:14} {source}", outcome.name()).unwrap();
    }
    text.push_str("# Q.850 cause -> outcome, where no response says it\n");
    for cause in 0..128 {
        let named = CAUSES.iter().find(|(known, ..)| *known == cause);
        let name = named.map_or("", |(.., name)| name);
        let kind = if SILENT.contains(&cause) { "says nothing" } else { name };
        let [failed, timed_out] = [0, 3].map(|reason| of(reason, cause, 0).name());
        writeln!(text, "cause {cause:3} {failed:14} timed out {timed_out:14} {kind}").unwrap();
    }
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[test]
fn the_table_is_the_one_that_was_agreed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/outcomes.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, table()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), table());
}

#[test]
fn every_response_and_cause_there_can_be_has_an_outcome_and_an_answer_beats_them_all() {
    for status in 0..1_000 {
        for cause in 0..160 {
            assert_ne!(of(0, cause, status), Outcome::Answered);
            assert_eq!(of(4, cause, status), Outcome::Answered);
        }
        let listed = SIP.iter().any(|(known, ..)| *known == status);
        let by_cause = of(0, asterisk_cause(status), status);
        assert!(listed || by_cause == of(0, asterisk_cause(status), 0), "{status}");
    }
    assert_eq!(of(u32::MAX, u32::MAX, u32::MAX), Outcome::Failed);
}

/// What a node writes, and what one of before the table was the domain's wrote.
#[test]
fn an_end_that_names_no_outcome_gets_that_of_its_codes_and_one_that_names_one_keeps_it() {
    let read = |outcome: u32| {
        let body = v1::AttemptEnded {
            attempt: "c-0-1".into(),
            outcome,
            cause: 27,
            sip_status: 502,
            ..v1::AttemptEnded::default()
        };
        let bytes = wire::envelope(EventType::AttemptEnded, body.encode_to_vec(), &Envelope::default());
        match wire::decode_bytes(&bytes.encode_to_vec()).unwrap().1 {
            Event::AttemptEnded { outcome, cause: 27, sip_status: 502, .. } => outcome,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(0), Outcome::Congestion);
    assert_eq!(read(Outcome::Unavailable.number()), Outcome::Unavailable);
}
