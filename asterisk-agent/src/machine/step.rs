//! Steps: one answer takes effect per (call, step), and it is durable before the dialplan hears it.
//!
//! While no logic answers a call runs its flow's fallback once; where the flow says so it is then held in pauses, and asks
//! what nobody has answered until somebody does, or its time is over.

use asterism_domain::logic::{Address, LastVerb, MAX_TAGS, are_vars, is_name};
use asterism_domain::media::{LANGUAGE, is_language};
use asterism_proto::v1;

use super::attempt::{Attempt, Unanswered, Whom};
use super::{Effect, Machine, Number, Output, Phase};
use crate::dialplan::{self, Heard, Leg, Listened, Question, Reply, Verb};
use crate::fact::{Body, Fact};

/// Ends a call whose fallback is used up, or that is none of ours.
const GOODBYE: &str = "hangup|16";
/// Of no prompts, in no language.
const NOTHING: (&str, &str) = ("", "");
/// Longest flow state.
const STATE_MAX_BYTES: usize = 64;
/// `StepTaken.source`.
const FROM_RESPONDER: u32 = 1;
const FROM_FALLBACK: u32 = 2;
/// How long a call that is held waits before it asks again, in seconds.
const HOLD_PAUSE_S: u32 = 2;

impl Machine {
    /// The dialplan asks what to do next.
    pub fn on_question(&mut self, question: &Question, now_ms: u64) -> Output {
        let mut out = Output::default();
        let (id, step) = (question.channel_id.as_str(), question.step);
        let answer = |line| Effect::Answer { call: id.to_owned(), step, line };
        if self.active.get(id).is_none_or(|a| a.phase == Phase::Accepted) {
            // A channel nobody ordered, or one that is settled already: it may not go on by itself.
            out.effects.push(answer(line(step, GOODBYE, NOTHING).ok()));
            return out;
        }
        self.answer(id, now_ms, &mut out); // only an answered channel runs the dialplan
        self.note_listened(id, question.listened.as_ref(), &mut out);
        if question.last_verb == LastVerb::Dial {
            self.note_leg(id, &question.status, question.leg, &mut out);
        }
        let node = self.node.clone();
        let Some(attempt) = self.active.get_mut(id) else { return out };
        if attempt.judged == Some(Listened::Machine) {
            // Nobody is there to walk the flow.
            out.effects.push(answer(line(step, GOODBYE, NOTHING).ok()));
            return out;
        }
        if step <= attempt.talk.step {
            let same = (step == attempt.talk.step).then(|| effect(id, step, attempt));
            out.effects.push(same.unwrap_or_else(|| answer(None)));
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
        let asked = match &attempt.talk.unanswered {
            Some(unanswered) => unanswered.clone(),
            None => Unanswered {
                verb: question.last_verb.as_str().to_owned(),
                status: question.status.clone(),
                digits: question.digits.clone(),
                pauses: 0,
            },
        };
        attempt.watch.input = [asked.status.as_str(), asked.digits.as_str()].join(" ").trim_end().into();
        attempt.watch.asked = asked.clone();
        out.effects.push(Effect::Ask(v1::StepQuestion {
            call: id.to_owned(),
            step,
            flow: attempt.flow.clone(),
            state: attempt.talk.state.clone(),
            verb: asked.verb,
            status: asked.status,
            digits: asked.digits,
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

    /// How the leg ended that a step dialled, told to the log once.
    pub(super) fn note_leg(&mut self, id: &str, status: &str, leg: Option<Leg>, out: &mut Output) {
        let Some(attempt) = self.active.get_mut(id) else { return };
        let Some(step) = attempt.talk.joined.take() else { return };
        let leg = leg.unwrap_or_default();
        let ended = v1::BridgeEnded {
            attempt: id.to_owned(),
            step,
            status: status.to_owned(),
            cause: leg.cause,
            ring_ms: leg.ring_ms(),
            talk_ms: leg.talk_ms,
        };
        out.facts.push(Fact::of_campaign(&attempt.campaign, Body::BridgeEnded(ended)));
        self.save(id, out);
    }

    /// The responder's answer, or why there is none. The first one for a step wins; later ones change nothing.
    pub fn on_answer(&mut self, call: &str, step: u32, answer: Result<v1::StepAnswer, String>) -> Output {
        let mut out = Output::default();
        let Some(attempt) = self.active.get_mut(call).filter(|a| a.watch.asking == Some(step)) else {
            return out;
        };
        attempt.watch.asking = None;
        let is_late = attempt.talk.on_fallback && attempt.talk.unanswered.is_none();
        let (line, taken) = match usable(step, answer, attempt) {
            Ok(usable) if !is_late => take(attempt, step, usable),
            Ok(_) => fall_back(attempt, step, No::Use("the call is on its fallback".to_owned())),
            Err(why) => fall_back(attempt, step, why),
        };
        let input = std::mem::take(&mut attempt.watch.input);
        attempt.talk.step = step;
        attempt.talk.line = line;
        let recorded = taken.reply.clone();
        let body = Body::StepTaken(v1::StepTaken { call: call.to_owned(), step, input, ..taken });
        out.facts.push(Fact::of_campaign(&attempt.campaign, body));
        let answer = effect(call, step, attempt);
        self.save(call, &mut out);
        self.expect_recording(call, step, &recorded, &mut out);
        out.effects.push(answer);
        out
    }
}

/// What whoever asks for the last answered step is given.
fn effect(call: &str, step: u32, attempt: &Attempt) -> Effect {
    let (call, line) = (call.to_owned(), attempt.talk.line.clone());
    match attempt.talk.whom.clone() {
        Some(whom) => Effect::Join { call, step, body: line, whom, trunk: attempt.trunk.clone() },
        None => Effect::Answer { call, step, line: Some(line) },
    }
}

/// An answer that can be used: the line for the dialplan, or the verb that dials somebody.
struct Usable {
    line: String,
    whom: Option<Whom>,
    answer: v1::StepAnswer,
}

/// Why there is none.
enum No {
    /// Nobody answered, which may pass.
    Answer(String),
    /// Somebody did, and it cannot be used.
    Use(String),
}

/// The flow goes on.
fn take(attempt: &mut Attempt, step: u32, usable: Usable) -> (String, v1::StepTaken) {
    let Usable { line, whom, answer } = usable;
    let talk = &mut attempt.talk;
    (talk.on_fallback, talk.unanswered) = (false, None);
    answer.next_state.clone_into(&mut talk.state);
    talk.vars = answer.vars.into_iter().map(|var| (var.name, var.value)).collect();
    talk.joined = whom.as_ref().map(|_| step);
    talk.whom = whom;
    let decision =
        v1::EventRef { origin: answer.origin, epoch: answer.epoch, frame: answer.frame, index: answer.index };
    let taken = v1::StepTaken {
        reply: answer.reply,
        source: FROM_RESPONDER,
        decision: Some(decision),
        tags: answer.tags,
        ..v1::StepTaken::default()
    };
    (line, taken)
}

/// The flow's own fallback once; then goodbye, or pauses while the flow lets the call be held and nobody answers.
fn fall_back(attempt: &mut Attempt, step: u32, why: No) -> (String, v1::StepTaken) {
    let (reason, may_pass) = match why {
        No::Answer(why) => (why, true),
        No::Use(why) => (why, false),
    };
    let hold_s = attempt.hold_s;
    let talk = &mut attempt.talk;
    let body = if talk.on_fallback {
        let held = talk.unanswered.as_mut().filter(|asked| may_pass && asked.pauses * HOLD_PAUSE_S < hold_s);
        match held {
            Some(asked) => {
                asked.pauses += 1;
                format!("pause|{HOLD_PAUSE_S}")
            }
            None => GOODBYE.to_owned(),
        }
    } else {
        talk.unanswered = Some(std::mem::take(&mut attempt.watch.asked)).filter(|_| may_pass && hold_s > 0);
        if attempt.fallback.is_empty() { GOODBYE.to_owned() } else { attempt.fallback.clone() }
    };
    (talk.on_fallback, talk.whom) = (true, None);
    let vars = talk.vars.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let played = (attempt.manifest.as_str(), language(&attempt.spoken.0, vars));
    let (body, line) = match line(step, &body, played) {
        Ok(line) => (body, line),
        Err(_) => (GOODBYE.to_owned(), line(step, GOODBYE, NOTHING).unwrap_or_default()),
    };
    (line, v1::StepTaken { reply: body, source: FROM_FALLBACK, reason, ..v1::StepTaken::default() })
}

fn usable(step: u32, answer: Result<v1::StepAnswer, String>, attempt: &Attempt) -> Result<Usable, No> {
    let answer = answer.map_err(No::Answer)?;
    if !answer.code.is_empty() {
        return Err(No::Answer(format!("the responder said {}", printable(&answer.code))));
    }
    let state_ok = answer.next_state.len() <= STATE_MAX_BYTES
        && answer.next_state.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let no = |why: &str| Err(No::Use(why.to_owned()));
    if !state_ok {
        return no("the answer names no usable flow state");
    }
    if !are_vars(answer.vars.iter().map(|var| (var.name.as_str(), var.value.as_str()))) {
        return no("the answer's variables are none");
    }
    if answer.tags.len() > MAX_TAGS || !answer.tags.iter().all(|tag| is_name(tag)) {
        return no("the answer's tags are none");
    }
    let whom = whom(&answer, attempt)?;
    let line = if whom.is_some() {
        Ok(answer.reply.clone())
    } else {
        let vars = answer.vars.iter().map(|var| (var.name.as_str(), var.value.as_str()));
        line(step, &answer.reply, (&attempt.manifest, language(&attempt.spoken.0, vars)))
    };
    match line {
        Ok(line) => Ok(Usable { line, whom, answer }),
        Err(error) => Err(No::Use(format!("the answer is no reply: {error}"))),
    }
}

/// Whom an answer dials, if it does: only where the trunk keeps a channel for it, and by an address the dialplan can take.
fn whom(answer: &v1::StepAnswer, attempt: &Attempt) -> Result<Option<Whom>, No> {
    let no = |why: &str| Err(No::Use(why.to_owned()));
    match Verb::parse(&answer.reply) {
        Ok(Verb::Dial { caller_id: None, by: None, .. }) => {}
        Ok(Verb::Dial { .. }) => return no("the answer says by what it dials, which is the node's to say"),
        _ => return Ok(None),
    }
    if !attempt.may_bridge {
        return no("the answer dials, and the trunk keeps no channel for that");
    }
    let Some(bridge) = &answer.bridge else { return no("the answer dials and does not say whom") };
    let caller_id = Some(&bridge.caller_id).filter(|id| !id.is_empty()).unwrap_or(&attempt.caller_id.0);
    let usable = |text: &str| Address::parse(text).is_some();
    if !usable(&bridge.address) || !(caller_id.is_empty() || usable(caller_id)) {
        return no("the answer dials what is no number and no name");
    }
    Ok(Some(Whom { address: Number(bridge.address.clone()), caller_id: Number(caller_id.clone()) }))
}

fn var((name, value): &(String, String)) -> v1::ContactField {
    v1::ContactField { name: name.clone(), value: value.clone() }
}

fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(32).collect()
}

/// The line that answers `step` with a reply body (`verb|A1|A2...`), its prompts prefixed by the manifest.
/// They are played in `language`; empty = the PBX's own.
pub(super) fn line(
    step: u32,
    body: &str,
    (manifest, language): (&str, &str),
) -> Result<String, dialplan::Error> {
    let mut verb = Verb::parse(body).map_err(dialplan::Error::from)?;
    verb.within(manifest);
    Reply { step, verb, language: language.to_owned() }.encode()
}

/// What a call plays its prompts in: what its flow says, else what its callee speaks.
fn language<'a>(callee: &'a str, vars: impl IntoIterator<Item = (&'a str, &'a str)>) -> &'a str {
    let said = vars.into_iter().find(|(name, value)| *name == LANGUAGE && is_language(value));
    said.map_or(callee, |(_, language)| language)
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
            assert_eq!(line(3, body, (manifest, "")).unwrap(), expected);
        }
        assert_eq!(line(3, "play|hi|0", ("m1", "de_AT")).unwrap(), "1|3|play|m1/hi|0||||de_AT.");
        for body in ["", "play", "hangup|16|||||", "hangup|16\n", "system|rm", "play|../x|0"] {
            assert!(line(3, body, ("m1", "")).is_err(), "{body}");
        }
    }
}
