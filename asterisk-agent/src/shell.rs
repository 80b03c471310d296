//! The one loop: it feeds the machine, hands what follows to the store, and acts when that is synced, or, where it
//! concerns this machine alone, written ahead.
//!
//! Everything that changes state passes here, one thing at a time; everything that waits (bus, PBX, dialplan, files)
//! is a task of its own that sends an [`Input`].

mod effects;
mod points;
mod status;
mod uplink;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use asterism_nats::{Bus, Reply, Verb, crash};
use asterism_proto::v1;
use prost::Message;
use tokio::sync::{mpsc, oneshot, watch};

pub use status::Status;

use crate::Error;
use crate::bus::Subjects;
use crate::clock::Clock;
use crate::error::code;
use crate::input::{Input, Inputs};
use crate::machine::{Effect, Gate, Judged, Machine, Output, PbxUp, SpoolView};
use crate::media::Fetcher;
use crate::pbx::PbxCommand;
use crate::recordings::Recorder;
use crate::spool::{Signer, Spool, SpoolChange};
use crate::store::{Commit, Committed, Committer, Store, StoreChange};
use crate::trunks::Trunks;

/// How often time-outs, load and drain are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How soon a due attempt is sent at the latest.
const DUE: Duration = Duration::from_millis(5);
/// How long a stopping agent tries to publish what is left; the spool keeps the rest.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Inputs taken before the loop looks at its timers again.
const BURST: usize = 64;

/// What the loop needs.
pub struct Parts {
    /// The rules, as the store held them.
    pub machine: Machine,
    /// The spool, as the store held it.
    pub spool: Spool,
    /// The store.
    pub store: Store,
    /// Who signs frames.
    pub signer: Signer,
    /// The subjects of this node.
    pub subjects: Subjects,
    /// Whether notices are signed by a known key, and so are checked and cosigned.
    pub witness: bool,
    /// How long a step question may take in all.
    pub step_timeout: Duration,
    /// Where the dialplan leaves reports nobody took.
    pub journal_dir: PathBuf,
    /// Prompts: what fetches them to where they live.
    pub prompts: Arc<Fetcher>,
    /// Recordings: their files, and who sends them.
    pub recorder: Recorder,
    /// Recordings whose files were there when the agent started.
    pub found: Vec<String>,
    /// Trunks: their files and what is on them.
    pub trunks: Arc<Trunks>,
    /// To the PBX.
    pub pbx: mpsc::UnboundedSender<PbxCommand>,
    /// The address the world knows this machine by, once its PBX has it.
    pub public_address: watch::Receiver<String>,
    /// For tasks the loop starts.
    pub inputs: Inputs,
    /// For health.
    pub status: watch::Sender<Status>,
}

/// What waits for a sync.
#[derive(Default)]
struct After {
    effects: Vec<Effect>,
    frame: Option<u64>,
    reports: Vec<oneshot::Sender<bool>>,
    settled_journals: Vec<String>,
}

impl After {
    fn is_empty(&self) -> bool {
        self.effects.is_empty()
            && self.frame.is_none()
            && self.reports.is_empty()
            && self.settled_journals.is_empty()
    }
}

/// The loop's own state: what it needs besides machine, spool and clock is who waits for what.
pub struct Shell {
    parts: Parts,
    clock: Clock,
    committer: Committer<After>,
    bus: Option<Bus>,
    admitted: bool,
    tickets: HashMap<u64, Reply>,
    next_ticket: u64,
    waiters: HashMap<(String, u32), Vec<oneshot::Sender<Option<String>>>>,
    uplink: uplink::Uplink,
    heart: status::Heart,
    /// Missed checkpoints are being asked for.
    asking_growth: bool,
    ticked: Instant,
    stopping: Option<Instant>,
    /// Why the store takes no more: the agent ends.
    failed: Option<Error>,
}

/// Runs until it is told to stop, or the store fails.
pub async fn run(parts: Parts, mut inputs: mpsc::Receiver<Input>) -> Result<(), Error> {
    let (committer, mut synced) = Committer::start(parts.store.clone())?;
    let now = Instant::now();
    let mut shell = Shell {
        parts,
        clock: Clock::new(now),
        committer,
        bus: None,
        admitted: false,
        tickets: HashMap::new(),
        next_ticket: 1,
        waiters: HashMap::new(),
        uplink: uplink::Uplink::default(),
        heart: status::Heart::default(),
        asking_growth: false,
        ticked: now,
        stopping: None,
        failed: None,
    };
    let found = std::mem::take(&mut shell.parts.found);
    let out = shell.parts.machine.on_boot_recordings(&found);
    shell.carry(out, After::default());
    loop {
        tokio::select! {
            biased;
            report = synced.recv() => shell.synced(report)?,
            input = inputs.recv() => {
                let Some(input) = input else { return Ok(()) };
                shell.take(input);
                for _ in 0..BURST {
                    let Ok(input) = inputs.try_recv() else { break };
                    shell.take(input);
                }
            }
            () = tokio::time::sleep(shell.pause()) => {}
        }
        shell.timers()?;
        if shell.is_done() {
            return Ok(());
        }
    }
}

impl Shell {
    /// Until the next timer.
    fn pause(&mut self) -> Duration {
        let now = Instant::now();
        let tick = (self.ticked + TICK).saturating_duration_since(now);
        let due = self.parts.machine.next_due_ms().map_or(TICK, |due_ms| {
            Duration::from_millis(due_ms.saturating_sub(self.clock.now_ms(now))).max(DUE)
        });
        tick.min(due).min(self.uplink.pause(now, &self.parts.spool))
    }

    fn timers(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let now_ms = self.clock.now_ms(now);
        if self.parts.machine.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            let out = self.parts.machine.due(now_ms);
            self.carry(out, After::default());
        }
        if now >= self.ticked + TICK {
            self.ticked = now;
            let known = self.clock.is_known(now);
            let full = self.parts.spool.is_full();
            for gate in [Gate::Clock(known), Gate::SpoolFull(full)] {
                let out = self.parts.machine.on_gate(gate);
                self.carry(out, After::default());
            }
            let spool = &self.parts.spool;
            let view = SpoolView {
                settled: spool.is_settled(),
                unpublished: spool.has_unpublished(),
                uncovered_ms: spool.uncovered_ms(),
                uncovered_frames: spool.uncovered_frames(),
            };
            let out = self.parts.machine.on_tick(now_ms, self.heart.cpu_permille(), view);
            self.carry(out, After::default());
            self.beat(now);
            self.committer.flush();
        }
        self.publish(now)?;
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Facts to the spool, changes to the store, effects behind both.
    fn carry(&mut self, out: Output, mut after: After) {
        if out.is_empty() && after.is_empty() {
            return;
        }
        points::unwritten(&out.facts);
        let now_ms = self.clock.now_ms(Instant::now());
        let mut changes: Vec<StoreChange> = Vec::with_capacity(out.facts.len() + out.changes.len());
        for fact in &out.facts {
            let event = fact.encode(self.node(), now_ms);
            match self.parts.spool.push(event, now_ms, fact.is_routine()) {
                Ok(change) => changes.push(StoreChange::Spool(change)),
                // Every text in a fact is bounded far below the limit of an event.
                Err(error) => tracing::error!(%error, "a fact is over the limit and cannot be told"),
            }
        }
        changes.extend(out.changes.into_iter().map(StoreChange::Machine));
        let (later, at_once): (Vec<_>, Vec<_>) = out.effects.into_iter().partition(Effect::waits_for_sync);
        after.effects.extend(later);
        if (!changes.is_empty() || !after.is_empty()) && !self.commit(changes, after) {
            return;
        }
        points::written(&out.facts);
        for effect in at_once {
            self.perform(effect);
        }
    }

    /// Hands a commit to the store. `false`: it cannot be written down, and nothing may follow from it.
    fn commit(&mut self, changes: Vec<StoreChange>, then: After) -> bool {
        let then = (!then.is_empty()).then_some(then);
        match self.committer.commit(Commit { changes, then }) {
            Ok(()) => true,
            Err(error) => {
                self.failed.get_or_insert(error);
                false
            }
        }
    }

    fn synced(&mut self, report: Option<Committed<After>>) -> Result<(), Error> {
        let done = report.ok_or_else(|| Error::Start {
            what: "the store's thread".to_owned(),
            why: "it ended".to_owned(),
        })??;
        for after in done {
            if let Some(number) = after.frame {
                crash::point("frame.synced");
                self.parts.spool.on_durable(number);
                self.uplink.cutting = false;
            }
            for effect in after.effects {
                points::synced(&effect);
                self.perform(effect);
            }
            for report in after.reports {
                let _ = report.send(true); // a dialplan that gave up writes its journal
            }
            for id in after.settled_journals {
                let _ = std::fs::remove_file(self.parts.journal_dir.join(id)); // read again at the next start
            }
        }
        Ok(())
    }

    fn node(&self) -> &str {
        match &self.parts.signer.origin {
            asterism_proto::Origin::Node(node) => node,
            _ => "",
        }
    }

    fn take(&mut self, input: Input) {
        let now = Instant::now();
        let now_ms = self.clock.now_ms(now);
        let machine = &mut self.parts.machine;
        let out = match input {
            Input::Bus(bus) => {
                self.parts.recorder.on_bus(bus.clone());
                self.bus = Some(bus);
                return;
            }
            Input::Order { verb, payload, reply } => return self.order(verb, &payload, reply, now_ms),
            Input::Admitted => {
                self.admitted = true;
                machine.on_gate(Gate::Admitted(true))
            }
            Input::Leaving => {
                self.heart.beat_now();
                machine.on_gate(Gate::Leaving)
            }
            Input::Clock(samples) => {
                self.clock.correct(&samples, now);
                machine.on_gate(Gate::Clock(self.clock.is_known(now)))
            }
            Input::HeartbeatBack(sequence) => return self.heart.came_back(sequence),
            Input::Checkpoint(notice) => return self.checkpoint(&notice),
            Input::Growth(notice, steps) => {
                self.asking_growth = false;
                machine.on_growth(&notice, &steps).1
            }
            Input::Published { number, acknowledged, waited } => {
                return self.uplink.published(&mut self.parts.spool, number, acknowledged, waited);
            }
            Input::Question(question, waiter) => {
                let key = (question.channel_id.clone(), question.step);
                self.waiters.entry(key).or_default().push(waiter);
                machine.on_question(&question, now_ms)
            }
            Input::EndReport(report, waiter) => {
                let (known, out) = machine.on_end_report(&report, now_ms);
                if !known {
                    let _ = waiter.send(false); // a dialplan that gave up
                    return;
                }
                return self.carry(out, After { reports: vec![waiter], ..After::default() });
            }
            Input::Answer { call, step, answer } => {
                let out = machine.on_answer(&call, step, answer);
                if out.is_empty() {
                    self.waiters.remove(&(call, step)); // the call ended meanwhile: its askers are sent away
                }
                out
            }
            Input::Pbx(event) => machine.on_pbx_event(event, now_ms),
            Input::PbxUp(up) => return self.pbx_up(up, now_ms),
            Input::PbxDown(why) => machine.on_pbx_down(&why, now_ms),
            Input::Channels(channels) => machine.on_channels(&channels, now_ms),
            Input::Manifest(manifest) => machine.on_manifest(&manifest),
            Input::Trunks { ticket, held, problem } => machine.on_trunks_tried(ticket, &held, &problem),
            Input::RecordingTaken(name, taken) => machine.on_recording_taken(&name, taken),
            Input::RecordingStored(name) => machine.on_recording_stored(&name),
            Input::RecordingGone(name, why) => machine.on_recording_gone(&name, &why),
            Input::Stop => {
                self.stopping = Some(now);
                self.heart.beat_now();
                machine.on_gate(Gate::Stopping(true))
            }
        };
        self.carry(out, After::default());
    }

    fn pbx_up(&mut self, up: PbxUp, now_ms: u64) {
        effects::sweep_journal(&self.parts.journal_dir, |id| self.parts.machine.past(id).is_some());
        let mut journal = Vec::new();
        let mut names = Vec::new();
        for (id, _) in self.parts.machine.attempts() {
            if let Some(report) = effects::read_journal(&self.parts.journal_dir, id) {
                journal.push(report);
                names.push(id.to_owned());
            }
        }
        let out = self.parts.machine.on_pbx_up(PbxUp { journal, ..up }, now_ms);
        // A report of a call that goes on is read again later; one of a call that ended has done its work.
        names.retain(|id| self.parts.machine.attempt(id).is_none());
        self.carry(out, After { settled_journals: names, ..After::default() });
    }

    fn order(&mut self, verb: Verb, payload: &[u8], reply: Reply, now_ms: u64) {
        if verb == Verb::Dial {
            crash::point("order.received");
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let machine = &mut self.parts.machine;
        let out = match verb {
            Verb::Dial => v1::DialOrder::decode(payload).map(|order| machine.on_dial(ticket, order, now_ms)),
            Verb::Hangup => {
                v1::HangupOrder::decode(payload).map(|order| machine.on_hangup_order(ticket, &order, now_ms))
            }
            Verb::Drain => v1::DrainOrder::decode(payload).map(|order| machine.on_drain(ticket, &order)),
            Verb::Sync => v1::SyncOrder::decode(payload).map(|order| machine.on_sync(ticket, order)),
            Verb::Resend => v1::ResendOrder::decode(payload).map(|order| self.resend(ticket, &order)),
            Verb::Trunks => v1::TrunkOrder::decode(payload).map(|order| machine.on_trunks(ticket, order)),
            Verb::Check => match v1::CheckOrder::decode(payload) {
                Ok(order) => return self.check_trunk(&order.trunk, reply),
                Err(error) => Err(error),
            },
            Verb::Have => {
                let held = machine.held().collect::<Vec<_>>().join(" ");
                Ok(effects::plain_reply(ticket, true, "", &held))
            }
        };
        let out = out.unwrap_or_else(|_| {
            effects::plain_reply(ticket, false, code::MALFORMED, "the order cannot be read")
        });
        self.tickets.insert(ticket, reply);
        self.carry(out, After::default());
    }

    fn resend(&mut self, ticket: u64, order: &v1::ResendOrder) -> Output {
        let ours = order.epoch.is_empty() || order.epoch == self.parts.signer.epoch;
        if ours && self.parts.spool.resend(order.from_number) {
            return effects::plain_reply(ticket, true, "", "");
        }
        let reason = format!("frame {} is not in this node's spool", order.from_number);
        tracing::error!(reason, "the log misses a frame that is not here");
        let lost_to = if ours { self.parts.spool.lost_to(order.from_number) } else { 0 };
        let mut out = effects::not_held(ticket, reason, lost_to);
        let again = self.parts.machine.on_frames_lost(lost_to);
        out.facts.extend(again.facts);
        out.changes.extend(again.changes);
        out
    }

    fn checkpoint(&mut self, notice: &v1::NoticeBody) {
        if self.parts.witness {
            let (judged, out) = self.parts.machine.on_notice(notice);
            self.carry(out, After::default());
            match judged {
                Judged::Refused => return, // nothing is forgotten on its word
                Judged::Unproved => self.ask_growth(notice),
                Judged::Proved | Judged::Late => {}
            }
        }
        let own = self.parts.signer.origin.to_string();
        let covered = notice
            .marks
            .iter()
            .filter(|mark| mark.origin == own && mark.epoch == self.parts.signer.epoch)
            .map(|mark| mark.number)
            .max();
        if let Some(change) = covered.and_then(|number| self.parts.spool.cover(number)) {
            crash::point("covered.unwritten");
            self.commit(vec![StoreChange::Spool(change)], After::default());
            crash::point("covered.written");
        }
    }

    /// Stopping ends when everything is published and said, or when it takes too long.
    fn is_done(&self) -> bool {
        self.stopping.is_some_and(|since| {
            let quiet =
                !self.parts.spool.has_unpublished() && self.tickets.is_empty() && self.waiters.is_empty();
            since.elapsed() > FLUSH_MAX || (quiet && since.elapsed() > TICK)
        })
    }

    fn commit_frame(&mut self, change: SpoolChange, number: u64) {
        let then = After { frame: Some(number), ..After::default() };
        crash::point("frame.unwritten");
        self.commit(vec![StoreChange::Spool(change)], then);
        crash::point("frame.written");
    }
}
