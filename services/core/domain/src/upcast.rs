//! Bodies of older schemas, raised to the newest one step by step.
//!
//! An event's type means the same for ever; when its body must change in a way a new field cannot express, its schema
//! is raised by one and a step is added to [`STEPS`]. A step is a pure function of bytes: no clock, no state, no guess.
//! The log itself is never rewritten; its hashes are over the bytes as they were received.

use std::borrow::Cow;

use asterism_proto::v1::EventType;

use crate::wire::DecodeError;

/// One step up.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The type of event.
    pub kind: EventType,
    /// The schema the step reads; it writes the next one.
    pub from: u32,
    /// Body in, body out. An error says that the body is none of schema `from`.
    pub raise: fn(&[u8]) -> Result<Vec<u8>, &'static str>,
}

/// Every step there is: each second schema has words that readers of the first do not know. Exclusions: the deadline, then
/// windows that never open.
/// Campaigns: the outcome `no-input`, and retries on another trunk.
pub const STEPS: &[Step] = &[
    Step { kind: EventType::ContactsExcluded, from: 1, raise: same },
    Step { kind: EventType::ContactsExcluded, from: 2, raise: same },
    Step { kind: EventType::CampaignCreated, from: 1, raise: same },
    Step { kind: EventType::CampaignChanged, from: 1, raise: same },
];

/// A body that means the same in the next schema, whose vocabulary is larger.
#[allow(clippy::unnecessary_wraps)] // as every step
fn same(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    Ok(body.to_vec())
}

/// The schema in which events of this type are written.
pub fn newest(steps: &[Step], kind: EventType) -> u32 {
    1 + steps.iter().filter(|step| step.kind == kind).count() as u32
}

/// A body in the newest schema of its type.
///
/// # Errors
/// [`DecodeError::UnknownSchema`] for a schema from the future, [`DecodeError::Field`] from a step.
pub fn raise<'a>(
    steps: &[Step],
    kind: EventType,
    schema: u32,
    body: &'a [u8],
) -> Result<Cow<'a, [u8]>, DecodeError> {
    let number = kind as u32;
    let newest = newest(steps, kind);
    if schema == 0 || schema > newest {
        return Err(DecodeError::UnknownSchema(number, schema));
    }
    let mut body = Cow::Borrowed(body);
    for at in schema..newest {
        let step = steps.iter().find(|step| step.kind == kind && step.from == at);
        let step = step.ok_or(DecodeError::UnknownSchema(number, at))?;
        body = Cow::Owned((step.raise)(&body).map_err(|what| DecodeError::Field(number, what))?);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use asterism_proto::v1;
    use prost::Message;

    /// As if seconds had become milliseconds, and then a reason had been added.
    #[derive(Clone, PartialEq, Message)]
    struct First {
        #[prost(uint32, tag = "1")]
        seconds: u32,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Second {
        #[prost(uint64, tag = "2")]
        ms: u64,
    }

    fn to_ms(body: &[u8]) -> Result<Vec<u8>, &'static str> {
        let old = First::decode(body).map_err(|_| "seconds")?;
        Ok(Second { ms: u64::from(old.seconds) * 1_000 }.encode_to_vec())
    }

    fn with_reason(body: &[u8]) -> Result<Vec<u8>, &'static str> {
        let old = Second::decode(body).map_err(|_| "milliseconds")?;
        let reason = format!("after {} ms", old.ms);
        Ok(v1::NodeStopped { node: "i-1".into(), reason }.encode_to_vec())
    }

    const KIND: EventType = EventType::NodeStopped;
    const OLD: &[Step] =
        &[Step { kind: KIND, from: 2, raise: with_reason }, Step { kind: KIND, from: 1, raise: to_ms }];

    #[test]
    fn an_old_body_goes_up_all_its_steps_and_a_new_one_none() {
        let newest_body = v1::NodeStopped { node: "i-1".into(), reason: "after 7000 ms".into() };
        let raised = |schema, body: &[u8]| raise(OLD, KIND, schema, body).map(Cow::into_owned);
        assert_eq!(raised(1, &First { seconds: 7 }.encode_to_vec()), Ok(newest_body.encode_to_vec()));
        assert_eq!(raised(2, &Second { ms: 7_000 }.encode_to_vec()), Ok(newest_body.encode_to_vec()));
        assert_eq!(raised(3, &newest_body.encode_to_vec()), Ok(newest_body.encode_to_vec()));
        assert_eq!((newest(OLD, KIND), newest(OLD, EventType::NodeReady)), (3, 1));
    }

    #[test]
    fn a_schema_from_the_future_and_a_body_of_another_one_are_errors() {
        let number = KIND as u32;
        assert_eq!(raise(OLD, KIND, 4, &[]), Err(DecodeError::UnknownSchema(number, 4)));
        assert_eq!(raise(OLD, KIND, 0, &[]), Err(DecodeError::UnknownSchema(number, 0)));
        assert_eq!(raise(OLD, KIND, 1, &[0xff]), Err(DecodeError::Field(number, "seconds")));
        assert_eq!(raise(&OLD[..1], KIND, 1, &[]), Err(DecodeError::UnknownSchema(number, 1)), "a lost step");
    }

    #[test]
    fn the_steps_of_each_type_begin_at_schema_1_and_leave_none_out() {
        for step in STEPS {
            for from in 1..newest(STEPS, step.kind) {
                let here = STEPS.iter().filter(|other| other.kind == step.kind && other.from == from);
                assert_eq!(here.count(), 1, "{:?} from schema {from}", step.kind);
            }
        }
    }
}
