//! Calls: sent once, answered, ended once, whatever the order in which the PBX tells it.

use asterism_proto::v1;

use super::{Attempt, Effect, Machine, Originate, Output, Phase, Trail, Verdict, ended_body};
use crate::ami::reason;
use crate::dialplan::{EndReport, LastVerb};
use crate::fact::{Body, Fact};

/// How long the second half of an end (`OriginateResponse` or `Hangup`) is waited for, ms.
pub const HALF_END_MS: u64 = 1_500;

/// What the PBX says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PbxEvent {
    /// The originate was refused as an action, or never reached the PBX: nothing was dialled.
    NotSent {
        /// The attempt.
        attempt: String,
    },
    /// `Newchannel`: the attempt has a channel.
    Channel {
        /// The attempt.
        attempt: String,
    },
    /// `DialBegin`: its driver took the call, so that it may ring.
    Dialled {
        /// The attempt.
        attempt: String,
    },
    /// Ringing or early media: 180 or 183.
    Rings {
        /// The attempt.
        attempt: String,
    },
    /// `OriginateResponse`.
    Originated {
        /// The attempt.
        attempt: String,
        /// Success.
        answered: bool,
        /// Its reason.
        reason: u32,
    },
    /// The channel is up: told before or after `OriginateResponse`.
    Up {
        /// The attempt.
        attempt: String,
    },
    /// `Hangup` of the attempt's channel.
    Hangup {
        /// The attempt.
        attempt: String,
        /// Q.850 cause.
        cause: u32,
        /// The SIP status behind it; 0 if there was none.
        sip_status: u32,
    },
}

impl Machine {
    /// Attempts whose time has come, written down before they are sent; those whose time has passed are refused.
    pub fn due(&mut self, now_ms: u64) -> Output {
        let mut out = Output::default();
        let boot_id = self.life.boot_id().map(str::to_owned);
        let ready: Vec<String> = self
            .active
            .iter()
            .filter(|(_, a)| {
                a.phase == Phase::Accepted && (a.not_before_ms <= now_ms || a.not_after_ms < now_ms)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in ready {
            let Some(attempt) = self.active.get_mut(&id) else { continue };
            if attempt.not_after_ms < now_ms || self.life.stopping {
                self.refuse(&id, "expired before it could be sent", now_ms, &mut out);
            } else if let (Some(boot_id), true) = (&boot_id, self.life.clock_known) {
                send(&id, attempt, boot_id, now_ms, &mut out);
                self.save(&id, &mut out);
            }
        }
        out
    }

    /// When [`Machine::due`] has something to do next, ms.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.active.values().filter(|a| a.phase == Phase::Accepted).map(|a| a.not_before_ms).min()
    }

    /// Never rang.
    pub(super) fn refuse(&mut self, id: &str, reason: &str, now_ms: u64, out: &mut Output) {
        let body = Body::Refused(v1::AttemptRefused { attempt: id.to_owned(), reason: reason.to_owned() });
        self.leave(id, Verdict::Refused, body, now_ms, out);
    }

    /// Nobody can tell.
    pub(super) fn doubt(&mut self, id: &str, reason: &str, now_ms: u64, out: &mut Output) {
        let body =
            Body::Uncertain(v1::AttemptUncertain { attempt: id.to_owned(), reason: reason.to_owned() });
        self.leave(id, Verdict::Uncertain, body, now_ms, out);
    }

    /// Over.
    pub(super) fn end(&mut self, id: &str, cause: Option<u32>, now_ms: u64, out: &mut Output) {
        let Some(attempt) = self.active.get(id) else { return };
        let body = ended_body(id, attempt, cause, self.never_rang(attempt, cause), now_ms);
        self.leave(id, Verdict::Ended, body, now_ms, out);
    }

    /// Whether it is certain that nothing left for the carrier. What is doubtful may have rung.
    fn never_rang(&self, attempt: &Attempt, cause: Option<u32>) -> bool {
        let watch = &attempt.watch;
        attempt.phase == Phase::Originating
            && match watch.trail {
                Trail::NotSent => true,
                Trail::Channel => cause.is_some() && watch.hangup_cause == cause,
                // A timeout says nothing; and `OriginateResponse` overtakes the events of channels.
                Trail::Sent => {
                    cause.is_none()
                        && watch.failed_reason == Some(reason::FAILURE)
                        && !self.events_lag(watch.half_ended_ms)
                }
                Trail::Broken | Trail::Dialled => false,
            }
    }

    /// Whether something sent before `since_ms` still waits for the first event of its channel: events come late.
    fn events_lag(&self, since_ms: u64) -> bool {
        self.active.values().any(|other| {
            other.phase == Phase::Originating
                && other.watch.trail == Trail::Sent
                && other.watch.failed_reason.is_none()
                && other.originated_ms < since_ms
        })
    }

    /// Events may have been missed: from now on nothing is proved by one that did not come.
    pub(super) fn break_trails(&mut self) {
        for attempt in self.active.values_mut() {
            attempt.watch.trail = Trail::Broken;
        }
    }

    fn saw(&mut self, id: &str, from: Trail, to: Trail) {
        if let Some(attempt) = self.active.get_mut(id)
            && attempt.watch.trail == from
        {
            attempt.watch.trail = to;
        }
    }

    /// What the PBX said. Events of channels that are no attempt of ours, or of one that left, change nothing.
    pub fn on_pbx_event(&mut self, event: PbxEvent, now_ms: u64) -> Output {
        let mut out = Output::default();
        match event {
            PbxEvent::NotSent { attempt } => self.not_sent(&attempt, now_ms, &mut out),
            PbxEvent::Channel { attempt } => self.saw(&attempt, Trail::Sent, Trail::Channel),
            PbxEvent::Dialled { attempt } => {
                self.saw(&attempt, Trail::Sent, Trail::Dialled);
                self.saw(&attempt, Trail::Channel, Trail::Dialled);
            }
            PbxEvent::Rings { attempt } => {
                if let Some(attempt) = self.active.get_mut(&attempt) {
                    attempt.watch.rang = true;
                }
            }
            PbxEvent::Originated { attempt, answered, reason } => {
                self.originated(&attempt, answered, reason, now_ms, &mut out);
            }
            PbxEvent::Up { attempt } => self.answer(&attempt, now_ms, &mut out),
            PbxEvent::Hangup { attempt, cause, sip_status } => {
                if let Some(attempt) = self.active.get_mut(&attempt) {
                    attempt.watch.sip_status = sip_status;
                }
                self.hung_up(&attempt, cause, now_ms, &mut out);
            }
        }
        out
    }

    fn not_sent(&mut self, id: &str, now_ms: u64, out: &mut Output) {
        if let Some(attempt) = self.active.get_mut(id).filter(|a| a.phase == Phase::Originating) {
            attempt.watch.trail = Trail::NotSent;
            self.end(id, None, now_ms, out);
        }
    }

    fn originated(&mut self, id: &str, ok: bool, reason: u32, now_ms: u64, out: &mut Output) {
        let Some(attempt) = self.active.get_mut(id).filter(|a| a.phase != Phase::Accepted) else { return };
        if ok {
            let hung_up = attempt.watch.hangup_cause;
            self.answer(id, now_ms, out);
            if hung_up.is_some() {
                self.end(id, hung_up, now_ms, out);
            }
            return;
        }
        if attempt.phase == Phase::Answered {
            return; // it was up: a failure report of the same originate cannot be about this call
        }
        attempt.watch.failed_reason = Some(reason);
        let cause = attempt.watch.hangup_cause;
        if cause.is_some() {
            self.end(id, cause, now_ms, out);
        } else {
            attempt.watch.half_ended_ms = now_ms;
        }
    }

    fn hung_up(&mut self, id: &str, cause: u32, now_ms: u64, out: &mut Output) {
        let Some(attempt) = self.active.get_mut(id).filter(|a| a.phase != Phase::Accepted) else { return };
        let complete = attempt.phase == Phase::Answered || attempt.watch.failed_reason.is_some();
        attempt.watch.hangup_cause = Some(cause);
        if complete {
            self.end(id, Some(cause), now_ms, out);
        } else {
            attempt.watch.half_ended_ms = now_ms;
        }
    }

    /// Marks an attempt answered, once.
    pub(super) fn answer(&mut self, id: &str, now_ms: u64, out: &mut Output) {
        let Some(attempt) = self.active.get_mut(id).filter(|a| a.phase == Phase::Originating) else { return };
        attempt.phase = Phase::Answered;
        attempt.answered_ms = now_ms;
        let body = Body::Answered(v1::AttemptAnswered { attempt: id.to_owned() });
        out.facts.push(Fact::of_campaign(&attempt.campaign, body));
        self.save(id, out);
    }

    /// `OriginateResponse` and `Hangup` come in either order, and where nothing was dialled only the first: an end of
    /// which one half came is complete after [`HALF_END_MS`].
    pub(super) fn complete_halves(&mut self, now_ms: u64, out: &mut Output) {
        let waiting: Vec<(String, Option<u32>)> = self
            .active
            .iter()
            .filter(|(_, a)| a.phase == Phase::Originating)
            .filter(|(_, a)| a.watch.failed_reason.is_some() || a.watch.hangup_cause.is_some())
            .filter(|(_, a)| a.watch.half_ended_ms + HALF_END_MS <= now_ms)
            .map(|(id, a)| (id.clone(), a.watch.hangup_cause))
            .collect();
        for (id, cause) in waiting {
            self.end(&id, cause, now_ms, out);
        }
    }

    /// The dialplan's own report of a call's end: what was pressed is kept; the end itself is the channel's `Hangup`.
    /// Returns whether it was taken, so that the dialplan need not write its journal.
    pub fn on_end_report(&mut self, report: &EndReport, now_ms: u64) -> (bool, Output) {
        let mut out = Output::default();
        let known = self.note_report(report, now_ms, &mut out);
        (known || self.memory.get(&report.channel_id).is_some(), out)
    }

    pub(super) fn note_report(&mut self, report: &EndReport, now_ms: u64, out: &mut Output) -> bool {
        let id = report.channel_id.as_str();
        if self.active.get(id).is_none_or(|a| a.phase == Phase::Accepted) {
            return false;
        }
        self.answer(id, now_ms, out);
        self.note_listened(id, report.listened.as_ref(), out);
        if report.last_verb == LastVerb::Dial {
            self.note_leg(id, &report.dial, report.leg, out);
        }
        let Some(attempt) = self.active.get_mut(id) else { return false };
        if attempt.talk.ended_cause.is_none() {
            let heard = attempt.talk.step.max(attempt.watch.heard_step);
            if report.step > heard && report.last_verb.has_digits() {
                attempt.talk.press(&report.digits);
            }
            attempt.talk.all_pressed(&report.typed_ahead);
            attempt.talk.ended_cause = Some(report.cause);
            self.save(id, out);
        }
        true
    }
}

fn send(id: &str, attempt: &mut Attempt, boot_id: &str, now_ms: u64, out: &mut Output) {
    let number = std::mem::take(&mut attempt.number);
    attempt.phase = Phase::Originating;
    attempt.watch.trail = Trail::Sent;
    boot_id.clone_into(&mut attempt.boot_id);
    attempt.originated_ms = now_ms;
    let body = v1::AttemptOriginating { attempt: id.to_owned(), boot_id: boot_id.to_owned() };
    out.facts.push(Fact::of_campaign(&attempt.campaign, Body::Originating(body)));
    out.effects.push(Effect::Originate(Originate {
        attempt: id.to_owned(),
        number,
        trunk: attempt.trunk.clone(),
        caller_id: attempt.caller_id.clone(),
        ring_timeout_ms: attempt.ring_timeout_ms,
        flow: attempt.flow.clone(),
        campaign: attempt.campaign.clone(),
        detect_machine: attempt.detect_machine,
    }));
}
