//! Whether the node can work, what it says of itself, and what becomes of its calls when the PBX was away.

use std::collections::BTreeMap;

use asterism_proto::v1;

use super::{Change, Effect, Machine, Output, Phase, Slots};
use crate::dialplan::EndReport;
use crate::fact::{Body, Fact};

/// How often `NodeLoad` is said without a change, ms.
pub const LOAD_EVERY_MS: u64 = 10_000;
/// How long the PBX may be away before its calls count as lost, ms.
pub const PBX_LOST_MS: u64 = 30_000;
/// How often the ledger is asked for a checkpoint while a drain waits for one, ms.
const CHECKPOINT_ASK_MS: u64 = 2_000;
/// How often the PBX is asked which channels it has, ms.
const LIST_EVERY_MS: u64 = 30_000;
/// A channel younger than this is not missed in a list, ms.
const LIST_GRACE_MS: u64 = 10_000;

/// The PBX as it is after a login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PbxUp {
    /// Names the PBX process: another one has none of the old calls.
    pub boot_id: String,
    /// For example `Asterisk 22.10.1`.
    pub version: String,
    /// Live channels by unique id; whether each is up.
    pub channels: BTreeMap<String, bool>,
    /// End reports the dialplan left in its journal.
    pub journal: Vec<EndReport>,
}

/// What must hold before the node takes orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// The scaler admitted this node.
    Admitted(bool),
    /// The clock's offset is known.
    Clock(bool),
    /// The spool takes no more.
    SpoolFull(bool),
    /// The agent is stopping.
    Stopping(bool),
    /// The cloud takes the instance away; that is not withdrawn.
    Leaving,
}

/// What the spool says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolView {
    /// A checkpoint covers every fact but routine ones.
    pub settled: bool,
    /// Facts wait that were not acknowledged by the stream.
    pub unpublished: bool,
    /// When the oldest uncovered fact was written, ms.
    pub uncovered_ms: Option<u64>,
    /// The first and the last frame that no checkpoint covers.
    pub uncovered_frames: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Default)]
enum Pbx {
    #[default]
    Unknown,
    Down {
        since_ms: u64,
    },
    Up {
        boot_id: String,
        version: String,
    },
}

/// The machine's knowledge of this process's surroundings; nothing of it is stored.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a gate of its own, and all their combinations occur"
)]
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) admitted: bool,
    pub(super) clock_known: bool,
    pub(super) spool_full: bool,
    pub(super) stopping: bool,
    pub(super) leaving: bool,
    pub(super) load_due: bool,
    pbx: Pbx,
    load_said_ms: u64,
    said_ready: Option<bool>,
    checkpoint_asked_ms: u64,
    listed_ms: u64,
    /// Frames up to this one were told to be lost, in this life of the agent.
    pub(super) lost_to: u64,
}

impl Life {
    pub(super) fn boot_id(&self) -> Option<&str> {
        match &self.pbx {
            Pbx::Up { boot_id, .. } => Some(boot_id),
            _ => None,
        }
    }
}

impl Machine {
    /// Something the node depends on changed.
    pub fn on_gate(&mut self, gate: Gate) -> Output {
        match gate {
            Gate::Admitted(yes) => self.life.admitted = yes,
            Gate::Clock(yes) => self.life.clock_known = yes,
            Gate::SpoolFull(yes) => self.life.spool_full = yes,
            Gate::Stopping(yes) => self.life.stopping = yes,
            Gate::Leaving => self.life.leaving = true,
        }
        let mut out = Output::default();
        self.announce(&mut out);
        out
    }

    /// Why the node takes no calls, `None` if it does.
    pub fn why_not_ready(&self) -> Option<&'static str> {
        let life = &self.life;
        [
            (life.stopping, "stopping"),
            (life.leaving, "the cloud takes this instance away"),
            (self.log_refused().is_some(), "AST-A025: the log shows two histories"),
            (!life.admitted, "not admitted"),
            (!life.clock_known, "clock offset unknown"),
            (life.boot_id().is_none(), "pbx down"),
            (life.spool_full, "spool full"),
            (self.memory.is_full(), "too many attempts without a checkpoint"),
            (self.drain.on, "draining"),
        ]
        .into_iter()
        .find_map(|(holds, why)| holds.then_some(why))
    }

    /// Whether the cloud has said that it takes the instance away.
    pub fn leaving(&self) -> bool {
        self.life.leaving
    }

    /// The state word of a heartbeat.
    pub fn state_word(&self) -> &'static str {
        if self.life.stopping {
            "stopped"
        } else if self.drain.on {
            if self.drain.empty_said { "empty" } else { "draining" }
        } else if self.why_not_ready().is_none() {
            "ready"
        } else {
            "booting"
        }
    }

    /// A manifest is on disk and verified.
    pub fn on_manifest(&mut self, manifest: &str) -> Output {
        let mut out = Output::default();
        self.held.insert(manifest.to_owned());
        if self.told.insert(manifest.to_owned()) {
            let body = v1::ManifestHeld { node: self.node.clone(), manifest: manifest.to_owned() };
            out.facts.push(Fact::of_node(Body::ManifestHeld(body)));
            out.changes.push(Change::PutManifest(manifest.to_owned()));
        }
        out
    }

    /// A manifest was found on disk when the agent started. Whether it is held: one the log was not told of was fetched by
    /// an agent that died before, or has been told to go.
    pub fn on_boot_manifest(&mut self, manifest: &str) -> bool {
        let told = self.told.contains(manifest);
        if told {
            self.held.insert(manifest.to_owned());
        }
        told
    }

    /// The PBX can be spoken to: calls with a live channel are adopted, the others end as can be proved.
    pub fn on_pbx_up(&mut self, up: PbxUp, now_ms: u64) -> Output {
        let mut out = Output::default();
        self.break_trails();
        if self.announced.as_ref().is_some_and(|boot| *boot != up.boot_id) {
            self.say_stopped("the pbx was restarted", &mut out);
        }
        for report in &up.journal {
            self.note_report(report, now_ms, &mut out);
        }
        self.reconcile(&up.boot_id, &up.channels, None, now_ms, &mut out);
        self.life.pbx = Pbx::Up { boot_id: up.boot_id, version: up.version };
        self.life.listed_ms = now_ms;
        self.announce(&mut out);
        out
    }

    /// The PBX cannot be spoken to any more.
    pub fn on_pbx_down(&mut self, reason: &str, now_ms: u64) -> Output {
        let mut out = Output::default();
        self.break_trails();
        if !matches!(self.life.pbx, Pbx::Down { .. }) {
            self.life.pbx = Pbx::Down { since_ms: now_ms };
            if self.announced.is_some() {
                self.say_stopped(reason, &mut out);
            }
        }
        out
    }

    /// The list of live channels, asked for by [`Effect::ListChannels`].
    pub fn on_channels(&mut self, channels: &BTreeMap<String, bool>, now_ms: u64) -> Output {
        let mut out = Output::default();
        if let Some(boot_id) = self.life.boot_id().map(str::to_owned) {
            self.reconcile(&boot_id, channels, Some(LIST_GRACE_MS), now_ms, &mut out);
        }
        out
    }

    /// `grace_ms`: attempts younger than this are left alone, as their originate may still be on its way.
    fn reconcile(
        &mut self,
        boot_id: &str,
        channels: &BTreeMap<String, bool>,
        grace_ms: Option<u64>,
        now_ms: u64,
        out: &mut Output,
    ) {
        let sent: Vec<String> = self
            .active
            .iter()
            .filter(|(_, a)| a.phase != Phase::Accepted)
            .filter(|(_, a)| grace_ms.is_none_or(|grace| a.originated_ms.max(a.answered_ms) + grace < now_ms))
            .map(|(id, _)| id.clone())
            .collect();
        for id in sent {
            let Some(attempt) = self.active.get(&id) else { continue };
            let (same_boot, hangup_asked) = (attempt.boot_id == boot_id, attempt.hangup_asked);
            let Some(up) = channels.get(&id).filter(|_| same_boot) else {
                self.settle_gone(&id, same_boot, now_ms, out);
                continue;
            };
            if *up {
                self.answer(&id, now_ms, out);
            }
            if hangup_asked {
                out.effects.push(Effect::Hangup { attempt: id });
            }
        }
    }

    /// An attempt that was sent and has no channel ends as can be proved.
    fn settle_gone(&mut self, id: &str, same_boot: bool, now_ms: u64, out: &mut Output) {
        let Some(attempt) = self.active.get(id) else { return };
        let watch = &attempt.watch;
        let told = watch.failed_reason.is_some() || watch.hangup_cause.is_some();
        if attempt.talk.ended_cause.is_some() || told {
            let cause = attempt.talk.ended_cause.or(watch.hangup_cause);
            self.end(id, cause, now_ms, out);
        } else if same_boot {
            self.doubt(id, "its channel is gone and nothing tells how it ended", now_ms, out);
        } else {
            self.doubt(id, "the pbx was restarted while it was up or ringing", now_ms, out);
        }
    }

    pub(super) fn say_stopped(&mut self, reason: &str, out: &mut Output) {
        let body = v1::NodeStopped { node: self.node.clone(), reason: reason.to_owned() };
        out.facts.push(Fact::of_node(Body::NodeStopped(body)));
        self.announced = None;
        out.changes.push(Change::PutReady(None));
    }

    /// `NodeReady`, once for each PBX process and stop.
    pub(super) fn announce(&mut self, out: &mut Output) {
        let Pbx::Up { boot_id, version } = &self.life.pbx else { return };
        let refused = self.log_refused().is_some();
        if refused
            || !self.life.admitted
            || !self.life.clock_known
            || self.announced.as_ref() == Some(boot_id)
        {
            return;
        }
        let body = v1::NodeReady {
            node: self.node.clone(),
            capacity: self.capacity,
            pbx: version.clone(),
            boot_id: boot_id.clone(),
        };
        out.facts.push(Fact::of_node(Body::NodeReady(body)));
        self.announced = Some(boot_id.clone());
        out.changes.push(Change::PutReady(self.announced.clone()));
    }

    /// Time passed.
    pub fn on_tick(&mut self, now_ms: u64, cpu_permille: u32, spool: SpoolView) -> Output {
        let mut out = Output::default();
        self.complete_halves(now_ms, &mut out);
        self.give_up_on_pbx(now_ms, &mut out);
        for key in self.memory.forget(now_ms, spool.uncovered_ms) {
            out.changes.push(Change::DropPast(key));
        }
        let sent = self.active.values().any(|a| a.phase != Phase::Accepted);
        if sent && self.life.boot_id().is_some() && now_ms >= self.life.listed_ms + LIST_EVERY_MS {
            self.life.listed_ms = now_ms;
            out.effects.push(Effect::ListChannels);
        }
        self.take_recordings(&mut out);
        self.say_load(now_ms, cpu_permille, &mut out);
        self.finish_drain(now_ms, spool, &mut out);
        out
    }

    fn give_up_on_pbx(&mut self, now_ms: u64, out: &mut Output) {
        let Pbx::Down { since_ms } = self.life.pbx else { return };
        if now_ms < since_ms + PBX_LOST_MS {
            return;
        }
        let sent: Vec<(String, Option<u32>)> = self
            .active
            .iter()
            .filter(|(_, a)| a.phase != Phase::Accepted)
            .map(|(id, a)| (id.clone(), a.talk.ended_cause.or(a.watch.hangup_cause)))
            .collect();
        for (id, cause) in sent {
            if cause.is_some() {
                self.end(&id, cause, now_ms, out);
            } else {
                self.doubt(&id, "the pbx is gone", now_ms, out);
            }
        }
    }

    fn say_load(&mut self, now_ms: u64, cpu_permille: u32, out: &mut Output) {
        if !self.life.admitted || !self.life.clock_known {
            return;
        }
        let ready = self.why_not_ready().is_none();
        let changed = self.life.load_due || self.life.said_ready != Some(ready);
        if !changed && now_ms < self.life.load_said_ms + LOAD_EVERY_MS {
            return;
        }
        self.life.load_due = false;
        self.life.said_ready = Some(ready);
        self.life.load_said_ms = now_ms;
        let Slots { ringing, up, free } = self.slots();
        out.facts.push(Fact::of_node(Body::NodeLoad(v1::NodeLoad {
            node: self.node.clone(),
            ringing,
            up,
            free_slots: if ready { free } else { 0 },
            cpu_permille,
        })));
    }

    fn finish_drain(&mut self, now_ms: u64, spool: SpoolView, out: &mut Output) {
        if !self.drain.on || self.drain.empty_said || !self.active.is_empty() || !self.life.admitted {
            return;
        }
        // What the log knows of is waited for by the scaler.
        if !self.recordings.are_told() {
            return;
        }
        // A fact of this very output is not in the spool yet: it cannot be covered.
        if out.facts.iter().any(|fact| !fact.is_routine()) {
            return;
        }
        if spool.settled {
            let body = v1::NodeEmpty { node: self.node.clone(), drain: self.drain.number };
            self.say_empty(Body::NodeEmpty(body), out);
        } else if self.log_refused().is_some() {
            // No checkpoint will ever cover them; that the log has them is told by this very fact, which comes behind.
            let Some((from, to)) = spool.uncovered_frames.filter(|_| !spool.unpublished) else { return };
            let body = v1::NodeUncovered { node: self.node.clone(), drain: self.drain.number, from, to };
            self.say_empty(Body::NodeUncovered(body), out);
        } else if !spool.unpublished && now_ms >= self.life.checkpoint_asked_ms + CHECKPOINT_ASK_MS {
            self.life.checkpoint_asked_ms = now_ms;
            out.effects.push(Effect::RequestCheckpoint);
        }
    }
    fn say_empty(&mut self, body: Body, out: &mut Output) {
        self.drain.empty_said = true;
        out.changes.push(Change::PutDrain(self.drain.clone()));
        out.facts.push(Fact::of_node(body));
    }
}
