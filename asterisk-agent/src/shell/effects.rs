//! Effects: done once, after what led to them is synced.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use asterism_nats::crash;
use asterism_proto::note::TreeHead;
use asterism_proto::{cosign, note, v1};
use prost::Message;

use super::Shell;
use crate::bus::{self, AskMedia};
use crate::dialplan::{EndReport, MAX_BODY_BYTES};
use crate::error::code;
use crate::input::Input;
use crate::machine::{Effect, Output, PbxEvent, Phase};
use crate::media::Fetched;
use crate::pbx::PbxCommand;

/// How long the ledger may take to answer a request for a checkpoint; the notice comes to everyone anyway.
const CHECKPOINT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

impl Shell {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::ReplyOrder { ticket, reply } => self.reply(ticket, &reply),
            Effect::Originate(originate) => {
                // Between the sync and now the PBX may have come back without it and the attempt have been settled.
                let attempt = self.parts.machine.attempt(&originate.attempt);
                if !attempt.is_some_and(|attempt| attempt.phase == Phase::Originating) {
                    return;
                }
                let attempt = originate.attempt.clone();
                if self.parts.pbx.send(PbxCommand::Originate(originate)).is_err() {
                    self.take(Input::Pbx(PbxEvent::NotSent { attempt }));
                }
            }
            Effect::Hangup { attempt } => {
                let _ = self.parts.pbx.send(PbxCommand::Hangup { attempt }); // a PBX that is gone has no calls
            }
            Effect::ListChannels => {
                let _ = self.parts.pbx.send(PbxCommand::List); // as above
            }
            Effect::Ask(question) => self.ask(question),
            Effect::Answer { call, step, line } => {
                for waiter in self.waiters.remove(&(call, step)).unwrap_or_default() {
                    let _ = waiter.send(line.clone()); // an asker that gave up asks again
                }
            }
            Effect::Join { call, step, body, whom, trunk } => {
                let line = self.parts.trunks.joining(step, &body, &whom, (&trunk, &call));
                if let Err(why) = &line {
                    tracing::error!(call, step, "{why}"); // asked again, and then given up
                }
                for waiter in self.waiters.remove(&(call, step)).unwrap_or_default() {
                    let _ = waiter.send(line.clone().ok()); // as above
                }
            }
            Effect::Sync(order) => self.sync(order),
            Effect::Forget(manifest) => self.forget(manifest),
            Effect::Trunks { ticket, order } => self.have_trunks(ticket, order),
            Effect::Cosign { log, size, root } => self.cosign(&log, TreeHead { size, root }),
            Effect::TakeRecording(name) => self.parts.recorder.take(name, self.parts.inputs.clone()),
            Effect::SendRecording { name, made } => self.parts.recorder.send(name, made),
            Effect::RemoveRecording(name) => self.parts.recorder.remove(&name),
            Effect::RequestCheckpoint => {
                let Some(bus) = self.bus.clone() else { return };
                let subject = self.parts.subjects.checkpoint_request.clone();
                tokio::spawn(async move {
                    if let Err(error) = bus.request(&subject, Vec::new(), CHECKPOINT_TIMEOUT).await {
                        tracing::debug!(%error, "no checkpoint on request");
                    }
                });
            }
        }
    }

    fn reply(&mut self, ticket: u64, reply: &v1::OrderReply) {
        let (Some(to), Some(bus)) = (self.tickets.remove(&ticket), self.bus.clone()) else { return };
        let bytes = reply.encode_to_vec();
        tokio::spawn(async move {
            let sent = bus.respond(to, bytes).await;
            if crash::listens() && bus.flush().await.is_ok() {
                crash::point("reply.sent");
            }
            if let Err(error) = sent {
                tracing::debug!(%error, "an order's answer could not be sent; the order comes again");
            }
        });
    }

    fn ask(&mut self, question: v1::StepQuestion) {
        let inputs = self.parts.inputs.clone();
        let subjects = self.parts.subjects.clone();
        let total = self.parts.step_timeout;
        let (call, step) = (question.call.clone(), question.step);
        let bus = self.bus.clone();
        tokio::spawn(async move {
            let answer = match bus {
                Some(bus) => bus::ask_step(&bus, &subjects, question, total).await,
                None => Err("the bus is not connected".to_owned()),
            };
            let _ = inputs.send(Input::Answer { call, step, answer }).await; // the agent is stopping
        });
    }

    /// One that is lost is followed by the next.
    fn cosign(&mut self, log: &str, head: TreeHead) {
        let Some(bus) = self.bus.clone() else { return };
        let time_s = self.clock.now_ms(Instant::now()) / 1000;
        let signer = &self.parts.signer;
        let signature = cosign::cosign(&signer.key, &note::text(log, &head), time_s).to_vec();
        let cosignature = v1::Cosignature { size: head.size, root: head.root.to_vec(), time_s, signature };
        let subject = self.parts.subjects.cosignature.clone();
        tokio::spawn(async move {
            if let Err(error) = bus.publish(&subject, cosignature.encode_to_vec()).await {
                tracing::debug!(%error, "a cosignature could not be sent");
            }
        });
    }

    /// Asks for the proofs between what was checked last and a checkpoint that is not its next.
    pub(super) fn ask_growth(&mut self, notice: &v1::NoticeBody) {
        let Some(bus) = self.bus.clone().filter(|_| !self.asking_growth) else { return };
        self.asking_growth = true;
        let (inputs, subject) = (self.parts.inputs.clone(), self.parts.subjects.growth.clone());
        let (notice, from) = (Box::new(notice.clone()), self.parts.machine.witnessed());
        tokio::spawn(async move {
            let steps = bus::growth(&bus, &subject, from, notice.size).await;
            let _ = inputs.send(Input::Growth(notice, steps)).await; // the agent is stopping
        });
    }

    /// One order after another: each is the whole of what the node has.
    fn have_trunks(&mut self, ticket: u64, order: v1::TrunkOrder) {
        let (inputs, trunks, pbx) =
            (self.parts.inputs.clone(), self.parts.trunks.clone(), self.parts.pbx.clone());
        tokio::spawn(async move {
            let (held, problem) = trunks.have(order, &pbx).await;
            if !problem.is_empty() {
                tracing::warn!(problem, "not every trunk can be used here");
            }
            let _ = inputs.send(Input::Trunks { ticket, held, problem }).await; // the agent is stopping
        });
    }

    /// Asks a carrier whether it is there. Changes nothing, so no term is asked for.
    pub(super) fn check_trunk(&self, trunk: &str, to: asterism_nats::Reply) {
        let Some(bus) = self.bus.clone() else { return };
        let (trunks, trunk) = (self.parts.trunks.clone(), trunk.to_owned());
        tokio::spawn(async move {
            let reply = match trunks.check(&trunk).await {
                Some(answers) => v1::OrderReply { taken: true, answers, ..v1::OrderReply::default() },
                None => v1::OrderReply {
                    code: code::NO_TRUNK.into(),
                    reason: "the node does not have the trunk".into(),
                    ..v1::OrderReply::default()
                },
            };
            if let Err(error) = bus.respond(to, reply.encode_to_vec()).await {
                tracing::debug!(%error, "a check's answer could not be sent");
            }
        });
    }

    fn forget(&self, manifest: String) {
        let prompts = self.parts.prompts.clone();
        tokio::spawn(async move {
            if let Err(error) = prompts.remove(&manifest).await {
                tracing::warn!(%error, "prompts that nobody needs could not be removed");
            }
        });
    }

    fn sync(&mut self, order: v1::SyncOrder) {
        let (inputs, prompts) = (self.parts.inputs.clone(), self.parts.prompts.clone());
        let addresses = AskMedia { bus: self.bus.clone(), subject: self.parts.subjects.addresses.clone() };
        tokio::spawn(async move {
            let manifest = order.manifest.clone();
            match prompts.fetch(order, &addresses).await {
                Ok(Fetched::Held) => {
                    let _ = inputs.send(Input::Manifest(manifest)).await; // the agent is stopping
                }
                Ok(Fetched::Busy) => {}
                Err(error) => tracing::warn!(%error, "a manifest was not taken; the order comes again"),
            }
        });
    }
}

/// A report the dialplan left because nobody took it.
pub(super) fn read_journal(dir: &Path, id: &str) -> Option<EndReport> {
    let file = std::fs::File::open(dir.join(id)).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BODY_BYTES as u64 + 2).read_to_end(&mut bytes).ok()?;
    EndReport::parse(&bytes).ok().filter(|report| report.channel_id == id)
}

/// Removes reports of attempts that left: their ends are durable. Looks at a bounded number of files.
pub(super) fn sweep_journal(dir: &Path, left: impl Fn(&str) -> bool) {
    const FILES_MAX: usize = 1_000;
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.take(FILES_MAX).flatten() {
        if entry.file_name().to_str().is_some_and(&left) {
            let _ = std::fs::remove_file(entry.path()); // looked at again next time
        }
    }
}

/// An answer to an order the machine has nothing to do with.
/// Frames the log misses are not here, up to a number, and so nowhere.
pub(super) fn not_held(ticket: u64, reason: String, lost_to: u64) -> Output {
    let reply = v1::OrderReply { code: code::NOT_HELD.into(), reason, lost_to, ..v1::OrderReply::default() };
    Output { effects: vec![Effect::ReplyOrder { ticket, reply }], ..Output::default() }
}

pub(super) fn plain_reply(ticket: u64, taken: bool, code: &str, reason: &str) -> Output {
    let reply =
        v1::OrderReply { taken, code: code.into(), reason: reason.into(), ..v1::OrderReply::default() };
    Output { effects: vec![Effect::ReplyOrder { ticket, reply }], ..Output::default() }
}
