//! An answered call in its dialplan: ask, run the verb, ask again, and report the end.
//!
//! Line numbers of the dialplan that appear in events are those of the loop the agent renders.

use std::time::Duration;

use asterism_agent::dialplan::{
    END_PATH, END_TAKEN, EndReport, Finish, Heard, Listened, MAX_MISSES, Question, Reply, STEP_PATH, Verb,
};
use tokio::time::Instant;

use crate::callees::{Callee, Habit, Presses};
use crate::channel::Channel;
use crate::recording;
use crate::sim::Ctx;
use crate::step::StepClient;

/// The dialplan's `httptimeout` for a step. Network deadlines are not scaled.
const STEP_DEADLINE: Duration = Duration::from_millis(1500);
/// The dialplan's `httptimeout` for an end report.
const END_DEADLINE: Duration = Duration::from_millis(800);
/// Silence before the agent is asked again, in ms.
const MISS_WAIT_MS: u32 = 300;
/// Cause of a call that opted out.
const NORMAL_CAUSE: u32 = 16;
/// Cause of a call whose agent gave no usable reply.
const LOST_CAUSE: u32 = 41;
/// Wait for a key after a prompt that may be interrupted, in ms.
const BARGE_WAIT_MS: u32 = 10;
/// How long Asterisk listens until it is sure, in ms, with the defaults of amd.conf: a second's greeting and the silence
/// behind it, or the longest greeting a human gives.
const HUMAN_MS: u32 = 1_800;
const MACHINE_MS: u32 = 1_500;
/// How long a callee speaks into a recording, in ms.
const SPOKEN_MS: u32 = 2_000;
/// Most digits `StoreDTMF` keeps.
const MAX_TYPED: usize = 32;
/// Between the keys of a callee who presses at a fixed time, in ms.
const KEY_GAP_MS: u32 = 250;

/// Why a call left its loop.
pub(crate) enum Gone {
    /// The callee hung up.
    Callee,
    /// A Hangup action, with its cause or 0.
    Action(u32),
    /// The dialplan's own `Hangup()`.
    Dialplan(u32),
}

/// Walks the loop until someone hangs up, reports the end and announces it.
pub(crate) async fn walk(ctx: &Ctx, channel: &Channel, callee: &Callee) {
    let (now, callee_says_why) = (Instant::now(), callee.says_why);
    let mut call = Call {
        ctx,
        channel,
        client: StepClient::new(ctx.step.clone()),
        leaves_at: callee.hang_up_at_ms.map(|ms| now + ctx.scaled(ms)),
        keys: Keys::new(ctx, callee, now),
        machine: callee.habit == Habit::Machine,
        report: EndReport { channel_id: channel.origin.unique_id.clone(), ..EndReport::default() },
    };
    channel.goto("s", 1, "StoreDTMF");
    let gone = match call.steps().await {
        Err(gone) => gone,
        Ok(never) => match never {},
    };
    let cause = match gone {
        Gone::Callee => {
            let cause = callee_says_why.then_some(16);
            ctx.bus.emit(&ctx.events.hangup_request(channel, cause, None));
            ctx.bus.emit(&ctx.events.soft_hangup_request(channel, 16));
            cause.unwrap_or(0)
        }
        Gone::Action(cause) => cause, // announced when the action was taken
        Gone::Dialplan(cause) => {
            ctx.bus.emit(&ctx.events.soft_hangup_request(channel, 16));
            cause
        }
    };
    call.end(cause).await;
    channel.goto("h", 7, "");
    ctx.channels.release(channel);
    let status = match cause {
        17 => Some(486),
        19 => Some(480),
        _ => None,
    };
    ctx.bus.emit(&ctx.events.hangup(channel, cause, status));
}

pub(crate) struct Call<'a> {
    pub(crate) ctx: &'a Ctx,
    channel: &'a Channel,
    client: StepClient,
    leaves_at: Option<Instant>,
    keys: Keys,
    /// What answered is one.
    machine: bool,
    /// The call's variables, as `h` would report them now.
    pub(crate) report: EndReport,
}

type Never = std::convert::Infallible;

impl Call<'_> {
    async fn steps(&mut self) -> Result<Never, Gone> {
        if self.channel.origin.detects && !self.channel.origin.flow.is_empty() {
            self.listen().await?;
        }
        loop {
            self.report.step += 1;
            let verb = self.ask().await?;
            self.report.last_verb = verb.name();
            self.report.status.clear();
            self.report.digits.clear();
            self.report.dial.clear();
            self.perform(&verb).await?;
        }
    }

    /// `AMD()`: a human says hello and waits, a machine speaks on.
    async fn listen(&mut self) -> Result<(), Gone> {
        self.channel.goto("s", 14, "AMD");
        let (verdict, cause, took_ms) = if self.machine {
            (Listened::Machine, "LONGGREETING-1500-1500", MACHINE_MS)
        } else {
            (Listened::Human, "HUMAN-800-800", HUMAN_MS)
        };
        self.wait(took_ms, Listening::No).await?;
        self.report.listened = Some(Heard { verdict, cause: cause.to_owned(), took_ms });
        Ok(())
    }

    /// Asks until there is a usable reply; after the last miss the call is lost.
    async fn ask(&mut self) -> Result<Verb, Gone> {
        let mut misses = 0;
        loop {
            self.channel.goto("s", 17, "Set");
            let question = Question {
                channel_id: self.report.channel_id.clone(),
                step: self.report.step,
                misses,
                flow: self.channel.origin.flow.clone(),
                last_verb: self.report.last_verb,
                status: self.report.status.clone(),
                digits: self.report.digits.clone(),
                listened: self.report.listened.clone(),
                leg: self.report.leg,
            };
            let answer = self.client.post(STEP_PATH, question.encode(), STEP_DEADLINE).await;
            self.check_gone()?; // CURL() cannot be interrupted; a hang-up meanwhile is noticed after it
            let why = match answer.as_deref().map(Reply::parse) {
                Ok(Ok(reply)) if reply.step == self.report.step => return Ok(reply.verb),
                Ok(Ok(_)) => "reply for another step".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            misses += 1;
            tracing::debug!(channel = %self.report.channel_id, step = self.report.step, misses, why, "no usable reply");
            if misses > MAX_MISSES {
                "lost".clone_into(&mut self.report.status);
                self.channel.goto("s", 38, "Hangup");
                return Err(Gone::Dialplan(LOST_CAUSE));
            }
            self.channel.goto("s", 35, "Wait");
            self.wait(MISS_WAIT_MS, Listening::No).await?;
        }
    }

    async fn perform(&mut self, verb: &Verb) -> Result<(), Gone> {
        let status = match verb {
            Verb::Play { prompts, barge: false } => {
                self.channel.goto("vplay", 2, "Playback");
                self.play(prompts).await?
            }
            Verb::Play { prompts, barge: true } | Verb::Say { parts: prompts, barge: true } => {
                self.channel.goto("vplay", 5, "Read");
                self.read(prompts, 1, BARGE_WAIT_MS, 1, None, false).await?
            }
            Verb::Say { parts, barge: false } => {
                self.channel.goto("vplay", 2, "Playback");
                for part in parts {
                    self.wait(self.ctx.callees.prompt_ms(part), Listening::No).await?; // every PBX has its own sounds
                }
                "SUCCESS"
            }
            Verb::Gather { prompts, max_digits, timeout_s, attempts, finish_key } => {
                self.channel.goto("vgather", 1, "Read");
                self.read(prompts, *max_digits, timeout_s * 1000, *attempts, *finish_key, true).await?
            }
            Verb::Dial { to, ring_s, talk_s, by, .. } => {
                self.channel.goto("vdial", 4, "Dial");
                self.join(to, (*ring_s, *talk_s), by.as_ref()).await?
            }
            Verb::Pause { seconds } => {
                self.channel.goto("vpause", 1, "Wait");
                self.wait(seconds * 1000, Listening::No).await?;
                "OK"
            }
            Verb::Record { max_s, silence_s, finish } => {
                self.channel.goto("vrecord", 2, "Record");
                self.record(*max_s, *silence_s, *finish).await?
            }
            Verb::Hangup { cause } => {
                "done".clone_into(&mut self.report.status);
                self.channel.goto("vhangup", 2, "Hangup");
                return Err(Gone::Dialplan(*cause));
            }
            Verb::Optout { prompts } => {
                self.channel.goto("voptout", 2, "Playback");
                self.play(prompts).await?;
                "done".clone_into(&mut self.report.status);
                return Err(Gone::Dialplan(NORMAL_CAUSE));
            }
        };
        status.clone_into(&mut self.report.status);
        Ok(())
    }

    /// `Playback()`: keys pressed meanwhile are kept for the report only, and a prompt that is not there is passed over.
    async fn play(&mut self, prompts: &[String]) -> Result<&'static str, Gone> {
        let mut status = "SUCCESS";
        for prompt in prompts {
            if self.ctx.config.has_prompt(prompt) {
                self.wait(self.ctx.callees.prompt_ms(prompt), Listening::No).await?;
            } else {
                status = "FAILED";
            }
        }
        Ok(status)
    }

    /// `Read()`: prompts that a key interrupts, then keys until enough, the finish key, or too long a wait.
    /// `asks` is false where a callee does not know that it is asked anything.
    async fn read(
        &mut self,
        prompts: &[String],
        max_digits: u32,
        timeout_ms: u32,
        attempts: u32,
        finish_key: Option<char>,
        asks: bool,
    ) -> Result<&'static str, Gone> {
        let mut status = "TIMEOUT";
        for _ in 0..attempts {
            let mut key = None;
            for prompt in prompts {
                key = self.wait(self.ctx.callees.prompt_ms(prompt), Listening::Yes).await?;
                if key.is_some() {
                    break;
                }
            }
            status = loop {
                if key.is_none() {
                    let listening = if asks { Listening::Asked } else { Listening::Yes };
                    key = self.wait(timeout_ms, listening).await?;
                }
                match key.take() {
                    None => break "TIMEOUT",
                    Some(pressed) if Some(pressed) == finish_key => break "OK",
                    Some(pressed) => self.report.digits.push(pressed),
                }
                if self.report.digits.len() >= max_digits as usize {
                    break "OK";
                }
            };
            if !self.report.digits.is_empty() {
                break;
            }
        }
        Ok(status)
    }

    /// `Record()`: the callee speaks a while and is silent then. What was said before a hang-up is kept.
    async fn record(&mut self, max_s: u32, silence_s: u32, finish: Finish) -> Result<&'static str, Gone> {
        let longest_ms = max_s * 1000;
        let ends_ms = if silence_s > 0 { longest_ms.min(SPOKEN_MS + silence_s * 1000) } else { longest_ms };
        let (began, mut passed_ms) = (Instant::now(), 0);
        let ended = loop {
            let key = self.wait(ends_ms - passed_ms, Listening::Yes).await;
            passed_ms = self.ctx.simulated_ms(began.elapsed()).min(ends_ms);
            match key {
                Err(gone) => break Err(gone),
                Ok(None) => break Ok(if ends_ms < longest_ms { "SILENCE" } else { "TIMEOUT" }),
                Ok(Some(key)) if ends(finish, key) => break Ok("DTMF"),
                Ok(Some(_)) => {}
            }
        };
        let written = recording::write(self.ctx.config.recordings_dir.as_deref(), &self.report, passed_ms);
        if let Err(error) = written {
            tracing::warn!(channel = %self.report.channel_id, %error, "not recorded");
            return ended.map(|_| "ERROR");
        }
        ended
    }

    /// Lets time pass; returns early with a key where the verb listens, or because someone hung up.
    pub(crate) async fn wait(&mut self, ms: u32, listening: Listening) -> Result<Option<char>, Gone> {
        let start = Instant::now();
        let end = start + self.ctx.scaled(ms);
        loop {
            let key_at = self.keys.next_at(start, listening).filter(|at| *at < end);
            let until = key_at.unwrap_or(end);
            let until = self.leaves_at.map_or(until, |at| until.min(at));
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.channel.hangup_asked() => {}
            }
            self.check_gone()?;
            if key_at.is_none() {
                return Ok(None);
            }
            if let Some(key) = self.keys.press() {
                if self.report.typed_ahead.len() < MAX_TYPED {
                    self.report.typed_ahead.push(key);
                }
                if listening != Listening::No {
                    return Ok(Some(key));
                }
            }
        }
    }

    fn check_gone(&self) -> Result<(), Gone> {
        if let Some(cause) = self.channel.hangup_cause() {
            return Err(Gone::Action(cause));
        }
        if self.leaves_at.is_some_and(|at| at <= Instant::now()) {
            return Err(Gone::Callee);
        }
        Ok(())
    }

    /// The `h` extension: posts the end report, or leaves it in the journal.
    async fn end(&mut self, cause: u32) {
        self.report.cause = cause;
        for (field, value) in [
            (&mut self.report.rx_packets, "0"),
            (&mut self.report.lost_packets, "0"),
            (&mut self.report.jitter_s, "0.000000"),
            (&mut self.report.rtt_s, "0.000000"),
        ] {
            value.clone_into(field);
        }
        let body = self.report.encode();
        let taken = self.client.post(END_PATH, body.clone(), END_DEADLINE).await;
        // FILTER(ok,...) of the answer
        if taken.is_ok_and(|text| text.chars().filter(|c| END_TAKEN.contains(*c)).eq(END_TAKEN.chars())) {
            return;
        }
        let Some(folder) = &self.ctx.config.journal_dir else {
            tracing::warn!(channel = %self.report.channel_id, "end report not taken and no journal folder");
            return;
        };
        if let Err(error) = std::fs::write(folder.join(&self.report.channel_id), body + "\n") {
            tracing::error!(channel = %self.report.channel_id, %error, "end report lost: journal not written");
        }
    }
}

/// Whether a key ends a recording.
fn ends(finish: Finish, key: char) -> bool {
    match finish {
        Finish::Hash => key == '#',
        Finish::Star => key == '*',
        Finish::Any => true,
        Finish::None => false,
    }
}

/// Whether keys reach the verb that runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listening {
    /// No: they only show in the report.
    No,
    /// Yes, though nobody asked for one yet.
    Yes,
    /// Yes, and the callee knows that it is asked.
    Asked,
}

/// The keys a callee still has to press.
struct Keys {
    presses: Presses,
    after: Duration,
    /// When the next key of a fixed time is due.
    at: Instant,
    gap: Duration,
}

impl Keys {
    fn new(ctx: &Ctx, callee: &Callee, answered: Instant) -> Self {
        let at_ms = if let Presses::At { at_ms, .. } = callee.presses { at_ms } else { 0 };
        Self {
            presses: callee.presses.clone(),
            after: ctx.scaled(callee.press_after_ms),
            at: answered + ctx.scaled(at_ms),
            gap: ctx.scaled(KEY_GAP_MS),
        }
    }

    /// When the next key comes in a wait that began at `start`, if one does.
    fn next_at(&self, start: Instant, listening: Listening) -> Option<Instant> {
        match &self.presses {
            Presses::Nothing => None,
            Presses::Always(_) => (listening == Listening::Asked).then(|| start + self.after),
            Presses::Script(keys) => {
                (listening == Listening::Asked && !keys.is_empty()).then(|| start + self.after)
            }
            Presses::At { digits, .. } => (!digits.is_empty()).then_some(self.at),
        }
    }

    /// Presses it.
    fn press(&mut self) -> Option<char> {
        match &mut self.presses {
            Presses::Nothing => None,
            Presses::Always(key) => Some(*key),
            Presses::Script(keys) | Presses::At { digits: keys, .. } => {
                self.at += self.gap;
                (!keys.is_empty()).then(|| keys.remove(0))
            }
        }
    }
}
