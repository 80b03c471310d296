//! Steps: one answer takes effect per (call, step), and it is durable before the dialplan hears it.

use asterism_domain::logic::{MAX_TAGS, are_vars, is_name};
use asterism_proto::v1;

use super::{Effect, Machine, Output, Phase};
use crate::dialplan::{self, Heard, Listened, Question, Reply, Verb};
use crate::fact::{Body, Fact};

/// Ends a call whose fallback is used up, or that is none of ours.
const GOODBYE: &str = "hangup|16";
/// Longest flow state.
const STATE_MAX_BYTES: usize = 64;
/// `StepTaken.source`.
const FROM_RESPONDER: u32 = 1;
const FROM_FALLBACK: u32 = 2;

impl Machine {
    /// The dialplan asks what to do next.
    pub fn on_question(&mut self, question: &Question, now_ms: u64) -> Output {
        let mut out = Output::default();
        let (id, step) = (question.channel_id.as_str(), question.step);
        let answer = |line| Effect::Answer { call: id.to_owned(), step, line };
        if self.active.get(id).is_none_or(|a| a.phase == Phase::Accepted) {
            // A channel nobody ordered, or one that is settled already: it may not go on by itself.
            out.effects.push(answer(line(step, GOODBYE, "").ok()));
            return out;
        }
        self.answer(id, now_ms, &mut out); // only an answered channel runs the dialplan
        self.note_listened(id, question.listened.as_ref(), &mut out);
        let node = self.node.clone();
        let Some(attempt) = self.active.get_mut(id) else { return out };
        if attempt.judged == Some(Listened::Machine) {
            // Nobody is there to walk the flow.
            out.effects.push(answer(line(step, GOODBYE, "").ok()));
            return out;
        }
        if step <= attempt.talk.step {
            let same = (step == attempt.talk.step).then(|| attempt.talk.line.clone());
            out.effects.push(answer(same));
            return out;
        }
        if attempt.watch.asking == Some(step) {
            return out; // on its way; whoever asks again waits for the same answer
        }
        if step > attempt.watch.heard_step {
            attempt.watch.heard_step = step;
            if question.last_verb.has_digits() {
                attempt.talk.press(&question.digits);
            }
        }
        attempt.watch.asking = Some(step);
        attempt.watch.input =
            [question.status.as_str(), question.digits.as_str()].join(" ").trim_end().into();
        out.effects.push(Effect::Ask(v1::StepQuestion {
            call: id.to_owned(),
            step,
            flow: attempt.flow.clone(),
            state: attempt.talk.state.clone(),
            verb: question.last_verb.as_str().to_owned(),
            status: question.status.clone(),
            digits: question.digits.clone(),
            campaign: attempt.campaign.clone(),
            node,
            manifest: attempt.manifest.clone(),
            deadline_ms: 0,
            fields: attempt.fields.asked(),
            vars: attempt.talk.vars.iter().map(var).collect(),
        }));
        out
    }

    /// What the PBX made of who answered, told to the log once.
    pub(super) fn note_listened(&mut self, id: &str, heard: Option<&Heard>, out: &mut Output) {
        let Some(attempt) = self.active.get_mut(id) else { return };
        let Some(heard) = heard.filter(|_| attempt.detect_machine && attempt.judged.is_none()) else {
            return;
        };
        attempt.judged = Some(heard.verdict);
        let judged = v1::MachineJudged {
            attempt: id.to_owned(),
            verdict: heard.verdict.number(),
            cause: heard.cause.clone(),
            took_ms: heard.took_ms,
        };
        out.facts.push(Fact::of_campaign(&attempt.campaign, Body::MachineJudged(judged)));
        self.save(id, out);
    }

    /// The responder's answer, or why there is none. The first one for a step wins; later ones change nothing.
    pub fn on_answer(&mut self, call: &str, step: u32, answer: Result<v1::StepAnswer, String>) -> Output {
        let mut out = Output::default();
        let Some(attempt) = self.active.get_mut(call).filter(|a| a.watch.asking == Some(step)) else {
            return out;
        };
        attempt.watch.asking = None;
        let (line, taken) = match usable(step, answer, &attempt.manifest) {
            Ok((line, answer)) if !attempt.talk.on_fallback => {
                answer.next_state.clone_into(&mut attempt.talk.state);
                attempt.talk.vars = answer.vars.into_iter().map(|var| (var.name, var.value)).collect();
                let decision = v1::EventRef {
                    origin: answer.origin,
                    epoch: answer.epoch,
                    frame: answer.frame,
                    index: answer.index,
                };
                let taken = v1::StepTaken {
                    reply: answer.reply,
                    source: FROM_RESPONDER,
                    decision: Some(decision),
                    tags: answer.tags,
                    ..v1::StepTaken::default()
                };
                (line, taken)
            }
            other => {
                let why = other.err().unwrap_or_else(|| "the call is on its fallback".to_owned());
                let own = if attempt.talk.on_fallback { "" } else { attempt.fallback.as_str() };
                let (body, line) = fallback(step, own, &attempt.manifest);
                attempt.talk.on_fallback = true;
                (
                    line,
                    v1::StepTaken {
                        reply: body,
                        source: FROM_FALLBACK,
                        reason: why,
                        ..v1::StepTaken::default()
                    },
                )
            }
        };
        let input = std::mem::take(&mut attempt.watch.input);
        attempt.talk.step = step;
        line.clone_into(&mut attempt.talk.line);
        let recorded = taken.reply.clone();
        let body = Body::StepTaken(v1::StepTaken { call: call.to_owned(), step, input, ..taken });
        out.facts.push(Fact::of_campaign(&attempt.campaign, body));
        self.save(call, &mut out);
        self.expect_recording(call, step, &recorded, &mut out);
        out.effects.push(Effect::Answer { call: call.to_owned(), step, line: Some(line) });
        out
    }
}

fn usable(
    step: u32,
    answer: Result<v1::StepAnswer, String>,
    manifest: &str,
) -> Result<(String, v1::StepAnswer), String> {
    let answer = answer?;
    if !answer.code.is_empty() {
        return Err(format!("the responder said {}", printable(&answer.code)));
    }
    let state_ok = answer.next_state.len() <= STATE_MAX_BYTES
        && answer.next_state.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    if !state_ok {
        return Err("the answer names no usable flow state".to_owned());
    }
    if !are_vars(answer.vars.iter().map(|var| (var.name.as_str(), var.value.as_str()))) {
        return Err("the answer's variables are none".to_owned());
    }
    if answer.tags.len() > MAX_TAGS || !answer.tags.iter().all(|tag| is_name(tag)) {
        return Err("the answer's tags are none".to_owned());
    }
    match line(step, &answer.reply, manifest) {
        Ok(line) => Ok((line, answer)),
        Err(error) => Err(format!("the answer is no reply: {error}")),
    }
}

fn var((name, value): &(String, String)) -> v1::ContactField {
    v1::ContactField { name: name.clone(), value: value.clone() }
}

fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(32).collect()
}

/// The flow's own fallback once, then goodbye. Returns body and line.
fn fallback(step: u32, own: &str, manifest: &str) -> (String, String) {
    match line(step, own, manifest) {
        Ok(line) if !own.is_empty() => (own.to_owned(), line),
        _ => (GOODBYE.to_owned(), line(step, GOODBYE, "").unwrap_or_default()),
    }
}

/// The line that answers `step` with a reply body (`verb|A1|A2...`), its prompts prefixed by the manifest.
pub(super) fn line(step: u32, body: &str, manifest: &str) -> Result<String, dialplan::Error> {
    let mut verb = Verb::parse(body).map_err(dialplan::Error::from)?;
    verb.within(manifest);
    Reply { step, verb }.encode()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bodies_become_lines_with_the_manifest_before_each_prompt() {
        for (body, manifest, expected) in [
            ("hangup|16", "m1", "1|3|hangup|16|||||."),
            ("play|thanks|0", "m1", "1|3|play|m1/thanks|0||||."),
            ("play|a&b|1|||", "m1", "1|3|play|m1/a&m1/b|1||||."),
            ("gather|menu|1|5|2|none", "", "1|3|gather|menu|1|5|2|none|."),
        ] {
            assert_eq!(line(3, body, manifest).unwrap(), expected);
        }
        for body in ["", "play", "hangup|16|||||", "hangup|16\n", "system|rm", "play|../x|0"] {
            assert!(line(3, body, "m1").is_err(), "{body}");
        }
    }
}
