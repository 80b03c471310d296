//! Orders: what is taken into custody and what is refused, and that a repeated order has no second effect.

use asterism_domain::logic::MAX_HOLD_S;
use asterism_domain::media::is_language;
use asterism_proto::origin::is_token;
use asterism_proto::v1;

use super::{Attempt, Change, Effect, Fields, Machine, Number, Output, Phase, Spoken, Talk, Verdict, Watch};
use crate::error::code;
use crate::fact::{Body, Fact};

/// Most attempts in one order.
pub const ATTEMPTS_PER_ORDER_MAX: usize = 256;
/// Longest a not-after may lie ahead, ms: bounds what a node cut off from everyone may still dial.
pub const WINDOW_MAX_MS: u64 = 10_000;
/// Shortest and longest ringing, ms.
const RING_MS: std::ops::RangeInclusive<u32> = 1_000..=180_000;

/// Why an attempt was not taken: stable code, phrase for the log.
type Refusal = (&'static str, &'static str);

impl Machine {
    /// A dial order. Each attempt of it is taken or refused by a fact of its own; the order as a whole is refused
    /// only where the node cannot judge it (fenced, no clock, not admitted, no room for facts).
    pub fn on_dial(&mut self, ticket: u64, order: v1::DialOrder, now_ms: u64) -> Output {
        let mut out = Output::default();
        let reply = if let Err((code, reason)) = self.judge_dial(&order, &mut out) {
            self.refusal("dialer", code, reason)
        } else {
            let asked = order.attempts.len();
            let term = order.term;
            let mut refused: Vec<Refusal> = Vec::new();
            for attempt in order.attempts {
                if let Err(refusal) = self.take(attempt, term, now_ms, &mut out) {
                    refused.push(refusal);
                }
            }
            let mut reply = self.taken("dialer");
            if let Some((code, reason)) = refused.first() {
                (*code).clone_into(&mut reply.code);
                reply.reason = format!("{} of {asked} attempts refused, the first: {reason}", refused.len());
            }
            reply
        };
        out.effects.push(Effect::ReplyOrder { ticket, reply });
        out
    }

    fn judge_dial(&mut self, order: &v1::DialOrder, out: &mut Output) -> Result<(), Refusal> {
        self.see_term("dialer", order.term, out)?;
        self.can_judge()?;
        if self.memory.is_full() {
            return Err((code::MEMORY_FULL, "too many ended attempts no checkpoint covers"));
        }
        let usable = !order.attempts.is_empty()
            && order.attempts.len() <= ATTEMPTS_PER_ORDER_MAX
            && order.attempts.iter().all(|a| is_token(&a.attempt));
        if usable { Ok(()) } else { Err((code::MALFORMED, "1 to 256 attempts with usable ids")) }
    }

    /// One attempt: the same answer and nothing else if it is known, else custody or a refusal that is remembered.
    fn take(
        &mut self,
        asked: v1::DialAttempt,
        term: u64,
        now_ms: u64,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        if self.active.contains_key(&asked.attempt) {
            return Ok(());
        }
        if let Some(past) = self.memory.get(&asked.attempt) {
            return past.refused.map_or(Ok(()), |number| Err(refusal_of(number)));
        }
        if let Err(refusal) = self.may_take(&asked, now_ms) {
            let body = v1::AttemptRefused { attempt: asked.attempt.clone(), reason: refusal.1.to_owned() };
            let campaign = if is_token(&asked.campaign) { asked.campaign.as_str() } else { "" };
            out.facts.push(Fact::of_campaign(campaign, Body::Refused(body)));
            self.remember(&asked.attempt, Verdict::Refused, now_ms, Some(number_of(refusal)), out);
            return Err(refusal);
        }
        let id = asked.attempt.clone();
        let body = v1::AttemptAccepted { attempt: id.clone(), order_term: term };
        out.facts.push(Fact::of_campaign(&asked.campaign, Body::Accepted(body)));
        self.active.insert(id.clone(), record(asked));
        self.save(&id, out);
        Ok(())
    }

    fn may_take(&self, asked: &v1::DialAttempt, now_ms: u64) -> Result<(), Refusal> {
        if asked.not_after_ms < now_ms {
            return Err((code::EXPIRED, "expired before it came"));
        }
        if let Err(what) = check(asked, now_ms) {
            return Err((code::MALFORMED, what));
        }
        if self.life.stopping {
            return Err((code::STOPPING, "the agent is stopping"));
        }
        if self.life.leaving {
            return Err((code::LEAVING, "the cloud takes this instance away"));
        }
        if self.drain.on {
            return Err((code::DRAINING, "draining"));
        }
        if self.life.boot_id().is_none() {
            return Err((code::PBX_DOWN, "the pbx is not up"));
        }
        if !asked.manifest.is_empty() && !self.held.contains(&asked.manifest) {
            return Err((code::NO_MANIFEST, "its manifest is not on this node"));
        }
        if self.slots().free == 0 {
            return Err((code::NO_SLOT, "no free slot"));
        }
        Ok(())
    }

    /// A hang-up order: attempts not sent yet are refused, channels are hung up but for those it spares. An attempt that is
    /// not here is refused before it comes, if the order withdraws; else orders for others have no effect.
    pub fn on_hangup_order(&mut self, ticket: u64, order: &v1::HangupOrder, now_ms: u64) -> Output {
        let mut out = Output::default();
        let reply = if let Err((code, reason)) = self.see_term("dialer", order.term, &mut out) {
            self.refusal("dialer", code, reason)
        } else if let Err((code, reason)) = self.may_withdraw(order) {
            self.refusal("dialer", code, reason)
        } else {
            let named: Vec<String> = self
                .active
                .iter()
                .filter(|(id, attempt)| {
                    order.all
                        || (!order.campaign.is_empty() && attempt.campaign == order.campaign)
                        || order.attempts.contains(id)
                })
                .map(|(id, _)| id.clone())
                .collect();
            for id in named {
                let spared = self.active.get(&id).is_some_and(|attempt| match attempt.phase {
                    Phase::Accepted => false,
                    Phase::Originating => order.spare_ringing,
                    Phase::Answered => order.spare_calls,
                });
                if !spared {
                    self.hang_up(&id, now_ms, &mut out);
                }
            }
            if order.withdraw {
                order.attempts.iter().for_each(|id| self.withdraw(id, now_ms, &mut out));
            }
            self.taken("dialer")
        };
        out.effects.push(Effect::ReplyOrder { ticket, reply });
        out
    }

    fn may_withdraw(&self, order: &v1::HangupOrder) -> Result<(), Refusal> {
        if !order.withdraw {
            return Ok(());
        }
        self.can_judge()?;
        let usable =
            order.attempts.len() <= ATTEMPTS_PER_ORDER_MAX && order.attempts.iter().all(|id| is_token(id));
        if usable { Ok(()) } else { Err((code::MALFORMED, "at most 256 attempts with usable ids")) }
    }

    /// Its order may still be on its way: what is refused here is refused when that comes.
    fn withdraw(&mut self, id: &str, now_ms: u64, out: &mut Output) {
        if self.active.contains_key(id) || self.memory.get(id).is_some() || self.memory.is_full() {
            return;
        }
        let body = v1::AttemptRefused { attempt: id.to_owned(), reason: WITHDRAWN.1.to_owned() };
        out.facts.push(Fact::of_campaign("", Body::Refused(body)));
        self.remember(id, Verdict::Refused, now_ms, Some(number_of(WITHDRAWN)), out);
    }

    fn hang_up(&mut self, id: &str, now_ms: u64, out: &mut Output) {
        let Some(attempt) = self.active.get_mut(id) else { return };
        if attempt.phase == Phase::Accepted {
            self.refuse(id, "stopped before it was sent", now_ms, out);
        } else {
            if !attempt.hangup_asked {
                attempt.hangup_asked = true;
                self.save(id, out);
            }
            out.effects.push(Effect::Hangup { attempt: id.to_owned() });
        }
    }

    /// Drain or undrain. A number below the newest seen has no effect.
    pub fn on_drain(&mut self, ticket: u64, order: &v1::DrainOrder) -> Output {
        let mut out = Output::default();
        let reply = match self.see_term("scaler", order.term, &mut out) {
            Err((code, reason)) => self.refusal("scaler", code, reason),
            Ok(()) if order.drain < self.drain.number => {
                self.refusal("scaler", code::FENCED, "a newer drain is known")
            }
            Ok(()) => {
                let on = !order.undrain;
                if order.drain > self.drain.number || on != self.drain.on {
                    self.drain = super::Drain { number: order.drain, on, empty_said: false };
                    out.changes.push(Change::PutDrain(self.drain.clone()));
                    self.life.load_due = true;
                }
                self.taken("scaler")
            }
        };
        out.effects.push(Effect::ReplyOrder { ticket, reply });
        out
    }

    /// A sync order: taken at once; the manifest is told by `ManifestHeld` when it is on disk.
    pub fn on_sync(&mut self, ticket: u64, order: v1::SyncOrder) -> Output {
        let mut out = Output::default();
        let reply = match self.see_term("media-sync", order.term, &mut out) {
            Err((code, reason)) => self.refusal("media-sync", code, reason),
            Ok(()) if !is_token(&order.manifest) => {
                self.refusal("media-sync", code::MALFORMED, "the manifest has no usable id")
            }
            Ok(()) => {
                self.drop_others(&order, &mut out);
                if !self.held.contains(&order.manifest) {
                    out.effects.push(Effect::Sync(order));
                }
                self.taken("media-sync")
            }
        };
        out.effects.push(Effect::ReplyOrder { ticket, reply });
        out
    }

    /// Manifests that no campaign needs, and no call of this node: the log is told before their files go, so that nobody
    /// is sent here for them.
    fn drop_others(&mut self, order: &v1::SyncOrder, out: &mut Output) {
        // An order that does not keep its own manifest says nothing of the others.
        if !order.keep.contains(&order.manifest) {
            return;
        }
        let needed = |manifest: &String| {
            order.keep.contains(manifest) || self.active.values().any(|attempt| attempt.manifest == *manifest)
        };
        let unneeded: Vec<String> = self.held.iter().filter(|manifest| !needed(manifest)).cloned().collect();
        for manifest in unneeded {
            self.held.remove(&manifest);
            self.told.remove(&manifest);
            let body = v1::ManifestDropped { node: self.node.clone(), manifest: manifest.clone() };
            out.facts.push(Fact::of_node(Body::ManifestDropped(body)));
            out.changes.push(Change::DropManifest(manifest.clone()));
            out.effects.push(Effect::Forget(manifest));
        }
    }

    /// A trunk order: answered when the PBX has them, or not.
    pub fn on_trunks(&mut self, ticket: u64, order: v1::TrunkOrder) -> Output {
        let mut out = Output::default();
        let usable = order.trunks.len() <= crate::render::TRUNKS_MAX
            && order.trunks.iter().all(|entry| is_token(&entry.trunk) && is_token(&entry.revision));
        let refused = match self.see_term("dialer", order.term, &mut out) {
            Err(refusal) => Some(refusal),
            Ok(()) if !usable => Some((code::MALFORMED, "at most 64 trunks with usable names")),
            Ok(()) => None,
        };
        out.effects.push(match refused {
            Some((code, reason)) => {
                Effect::ReplyOrder { ticket, reply: self.refusal("dialer", code, reason) }
            }
            None => Effect::Trunks { ticket, order },
        });
        out
    }

    /// What became of a trunk order: the trunks the PBX proved to have are told, the others named in the answer.
    pub fn on_trunks_tried(&mut self, ticket: u64, held: &[(String, String)], problem: &str) -> Output {
        let mut out = Output::default();
        self.trunks = held.to_vec();
        out.facts.extend(self.names_its_trunks());
        let reply = if problem.is_empty() {
            self.taken("dialer")
        } else {
            self.refusal("dialer", code::NO_TRUNK, problem)
        };
        out.effects.push(Effect::ReplyOrder { ticket, reply });
        out
    }

    /// Takes note of a term; a lower one than the highest synced is a leader that was replaced.
    fn see_term(&mut self, role: &str, term: u64, out: &mut Output) -> Result<(), Refusal> {
        let seen = self.term(role);
        if term < seen || term == 0 {
            return Err((code::FENCED, "a higher term is known"));
        }
        if term > seen {
            self.terms.insert(role.to_owned(), term);
            out.changes.push(Change::PutTerm(role.to_owned(), term));
        }
        Ok(())
    }

    /// Whether the node can judge times and has room for the facts that would follow.
    fn can_judge(&self) -> Result<(), Refusal> {
        if self.log_refused().is_some() {
            return Err((code::TWO_HISTORIES, "the log shows two histories"));
        }
        if !self.life.admitted {
            return Err((code::NOT_ADMITTED, "the node is not admitted"));
        }
        if !self.life.clock_known {
            return Err((code::CLOCK, "the clock's offset is not known yet"));
        }
        if self.life.spool_full {
            return Err((code::SPOOL_FULL, "the spool is full"));
        }
        Ok(())
    }

    fn refusal(&self, role: &str, code: &str, reason: &str) -> v1::OrderReply {
        let seen_term = self.term(role);
        v1::OrderReply { code: code.into(), reason: reason.into(), seen_term, ..v1::OrderReply::default() }
    }

    fn taken(&self, role: &str) -> v1::OrderReply {
        v1::OrderReply { taken: true, seen_term: self.term(role), ..v1::OrderReply::default() }
    }
}

/// Refusals of single attempts, as they are remembered: the same order again gets the same code.
const REFUSALS: [Refusal; 9] = [
    (code::MALFORMED, "malformed"),
    (code::EXPIRED, "expired before it came"),
    (code::STOPPING, "the agent is stopping"),
    (code::DRAINING, "draining"),
    (code::PBX_DOWN, "the pbx is not up"),
    (code::NO_MANIFEST, "its manifest is not on this node"),
    (code::NO_SLOT, "no free slot"),
    WITHDRAWN,
    (code::LEAVING, "the cloud takes this instance away"),
];
const WITHDRAWN: Refusal = (code::WITHDRAWN, "withdrawn before its order came");

fn number_of(refusal: Refusal) -> u8 {
    REFUSALS.iter().position(|known| known.0 == refusal.0).unwrap_or_default() as u8
}

fn refusal_of(number: u8) -> Refusal {
    REFUSALS.get(usize::from(number)).copied().unwrap_or(REFUSALS[0])
}

/// Whether every value is one that can stand in a channel name, a variable and a reply.
fn check(asked: &v1::DialAttempt, now_ms: u64) -> Result<(), &'static str> {
    if !is_number(&asked.number) {
        return Err("malformed number");
    }
    if !asked.caller_id.is_empty() && !is_number(&asked.caller_id) {
        return Err("malformed caller id");
    }
    if !is_token(&asked.campaign) || !is_token(&asked.trunk) || !is_token(&asked.flow) {
        return Err("malformed campaign, trunk or flow");
    }
    if !asked.manifest.is_empty() && !is_token(&asked.manifest) {
        return Err("malformed manifest");
    }
    if !asked.fallback.is_empty() && super::step::line(1, &asked.fallback, (&asked.manifest, "")).is_err() {
        return Err("malformed fallback");
    }
    if !Fields::fit(&asked.fields) {
        return Err("too many fields, or too long ones");
    }
    if asked.not_before_ms > asked.not_after_ms || asked.not_after_ms > now_ms.saturating_add(WINDOW_MAX_MS) {
        return Err("its window is empty or too far ahead");
    }
    if !RING_MS.contains(&asked.ring_timeout_ms) {
        return Err("ring timeout not between 1 and 180 seconds");
    }
    Ok(())
}

/// `+` and 1 to 32 digits, `*` or `#`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (1..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
}

fn record(asked: v1::DialAttempt) -> Attempt {
    Attempt {
        campaign: asked.campaign,
        flow: asked.flow,
        manifest: asked.manifest,
        trunk: asked.trunk,
        caller_id: Number(asked.caller_id),
        number: Number(asked.number),
        fallback: asked.fallback,
        hold_s: asked.hold_s.min(MAX_HOLD_S),
        may_bridge: asked.may_bridge,
        spoken: Spoken(Some(asked.language).filter(|spoken| is_language(spoken)).unwrap_or_default()),
        fields: Fields::of(asked.fields),
        not_before_ms: asked.not_before_ms,
        not_after_ms: asked.not_after_ms,
        ring_timeout_ms: asked.ring_timeout_ms,
        phase: Phase::Accepted,
        boot_id: String::new(),
        originated_ms: 0,
        answered_ms: 0,
        talk: Talk::default(),
        detect_machine: asked.detect_machine,
        judged: None,
        hangup_asked: false,
        watch: Watch::default(),
    }
}
