//! Where a test kills the agent: before and after what it writes down and sends of an attempt.

use asterism_nats::crash;

use crate::fact::{Body, Fact};
use crate::machine::Effect;

/// The points before facts are written, and after.
fn around(body: &Body) -> Option<(&'static str, &'static str)> {
    Some(match body {
        Body::Accepted(_) => ("accepted.unwritten", "accepted.written"),
        Body::Refused(_) => ("refused.unwritten", "refused.written"),
        Body::Originating(_) => ("originating.unwritten", "originating.written"),
        Body::Answered(_) => ("answered.unwritten", "answered.written"),
        Body::Ended(_) => ("ended.unwritten", "ended.written"),
        Body::Uncertain(_) => ("uncertain.unwritten", "uncertain.written"),
        Body::StepTaken(_) => ("step.unwritten", "step.written"),
        Body::RecordingMade(_) => ("recording.unwritten", "recording.written"),
        _ => return None,
    })
}

/// Nothing of these facts is anywhere but in this process.
pub(super) fn unwritten(facts: &[Fact]) {
    if crash::listens() {
        facts.iter().filter_map(|fact| around(&fact.body)).for_each(|(before, _)| crash::point(before));
    }
}

/// They outlive this process, and nothing was done yet that follows from them.
pub(super) fn written(facts: &[Fact]) {
    if crash::listens() {
        facts.iter().filter_map(|fact| around(&fact.body)).for_each(|(_, after)| crash::point(after));
    }
}

/// They outlive the machine, and the effect is what comes next.
pub(super) fn synced(effect: &Effect) {
    match effect {
        Effect::ReplyOrder { .. } => crash::point("reply.unsent"),
        Effect::Originate(_) => crash::point("originating.synced"),
        _ => {}
    }
}
