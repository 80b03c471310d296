//! One call from its ring to its hang-up: what the callee does, and the events Asterisk makes of it.

use std::sync::Arc;
use std::time::Duration;

use asterism_agent::ami::Message;
use tokio::time::Instant;

use crate::callees::{Callee, Habit};
use crate::channel::{Channel, ChannelState, Origin};
use crate::sim::Ctx;
use crate::walk::walk;

/// SIP's timer B: an INVITE nobody answers at all is given up after this long.
const TIMER_B_MS: u32 = 32_000;
/// How long a late `OriginateResponse` lags behind the events it belongs to.
const LATE_RESPONSE_MS: u32 = 15;

/// How the dial phase ended.
enum Dialled {
    Answered,
    /// Refused with a Q.850 cause, a SIP status and Asterisk's `DialStatus`.
    Refused(u32, u32, &'static str),
    /// The originate's timeout passed.
    TimedOut,
    /// A Hangup action came first.
    HungUp(u32),
}

/// Runs a call whose ring is recorded, from `Newchannel` to `Hangup`, and frees its unique id.
pub(crate) async fn run(ctx: Arc<Ctx>, channel: Arc<Channel>) {
    let callee = ctx.callee(&channel.origin);
    ctx.channels.count_processed();
    ctx.bus.emit(&ctx.events.newchannel(&channel));
    channel.update(|place| {
        place.dialled = true;
        place.application = "AppDial2";
    });
    ctx.bus.emit(&ctx.events.dial_begin(&channel));
    match dial(&ctx, &channel, &callee).await {
        Dialled::Answered => {
            channel.update(|place| place.state = ChannelState::Up);
            let events = [ctx.events.newstate(&channel), ctx.events.dial_end(&channel, "ANSWER")];
            let response = ctx.events.originate_response(&channel.origin, &channel.name, 4);
            emit_with(&ctx, &channel, &events, response, [20, 20, 55]);
            walk(&ctx, &channel, &callee).await;
        }
        Dialled::Refused(cause, status, dial_status) => {
            let events = [
                ctx.events.hangup_request(&channel, Some(cause), Some(status)),
                ctx.events.dial_end(&channel, dial_status),
                ctx.events.hangup(&channel, cause, Some(status)),
            ];
            failed(&ctx, &channel, 0, &events, [8, 22, 57, 13]);
        }
        Dialled::TimedOut => {
            failed(&ctx, &channel, 3, &[ctx.events.hangup(&channel, 19, Some(480))], [50, 50]);
        }
        Dialled::HungUp(cause) => {
            let events =
                [ctx.events.dial_end(&channel, "NOANSWER"), ctx.events.hangup(&channel, cause, None)];
            failed(&ctx, &channel, 0, &events, [5, 70, 25]);
        }
    }
}

/// No port is free for the call's media: its channel comes and goes, and nothing leaves for the carrier. Asterisk says
/// no `DialBegin` then.
pub(crate) fn without_port(ctx: &Arc<Ctx>, channel: &Channel) {
    ctx.channels.count_processed();
    ctx.bus.emit(&ctx.events.newchannel(channel));
    let events = [ctx.events.hangup_request(channel, None, None), ctx.events.hangup(channel, 0, None)];
    failed(ctx, channel, 0, &events, [5, 25, 60]);
}

/// The carrier cannot be reached, or it is unknown whether it was: as Asterisk tells of an INVITE that its transport
/// did not take.
pub(crate) fn undelivered(ctx: &Arc<Ctx>, channel: &Channel) {
    ctx.channels.count_processed();
    ctx.bus.emit(&ctx.events.newchannel(channel));
    ctx.bus.emit(&ctx.events.dial_begin(channel));
    let events = [
        ctx.events.hangup_request(channel, Some(34), Some(503)),
        ctx.events.dial_end(channel, "CONGESTION"),
        ctx.events.hangup(channel, 34, Some(503)),
    ];
    failed(ctx, channel, 0, &events, [8, 22, 57, 13]);
}

fn failed<const N: usize>(
    ctx: &Arc<Ctx>,
    channel: &Channel,
    reason: u32,
    events: &[Message],
    places: [u64; N],
) {
    ctx.channels.release(channel); // free before anyone is told, so that a retry is not refused
    let response = ctx.events.originate_response(&channel.origin, &channel.origin.channel, reason);
    emit_with(ctx, channel, events, response, places);
}

/// Sends `events` in order with `OriginateResponse` somewhere among them: Asterisk sends it from another thread.
/// `places` says in how many of a hundred calls it comes before the first, the second and so on (as measured); in the
/// rest it comes a moment after all.
fn emit_with<const N: usize>(
    ctx: &Arc<Ctx>,
    channel: &Channel,
    events: &[Message],
    response: Message,
    places: [u64; N],
) {
    let mut percent = ctx.callees.percent(&channel.origin.unique_id, "place of the response");
    let place = places.iter().position(|share| {
        let here = percent < *share;
        percent = percent.saturating_sub(*share);
        here
    });
    for (index, event) in events.iter().enumerate() {
        if place == Some(index) {
            ctx.bus.emit(&response);
        }
        ctx.bus.emit(event);
    }
    match place {
        Some(last) if last >= events.len() => ctx.bus.emit(&response),
        Some(_) => {}
        None => {
            let ctx = Arc::clone(ctx);
            tokio::spawn(async move {
                tokio::time::sleep(ctx.scaled(LATE_RESPONSE_MS)).await;
                ctx.bus.emit(&response);
            });
        }
    }
}

async fn dial(ctx: &Ctx, channel: &Channel, callee: &Callee) -> Dialled {
    let start = Instant::now();
    let timeout = start + ctx.scaled(channel.origin.timeout_ms);
    let at = |ms: u32| start + ctx.scaled(ms);
    let ringing_at = at(callee.setup_ms);
    let end_at = at(callee.setup_ms.saturating_add(callee.ring_ms));
    let (end_at, end) = match callee.habit {
        Habit::Busy => (end_at, Dialled::Refused(17, 486, "BUSY")),
        Habit::Declined => (end_at, Dialled::Refused(21, 603, "NOANSWER")),
        Habit::NotFound => (end_at, Dialled::Refused(1, 404, "NOANSWER")),
        Habit::Unavailable => (end_at, Dialled::Refused(19, 480, "NOANSWER")),
        Habit::Congested => (end_at, Dialled::Refused(34, 503, "CONGESTION")),
        Habit::NoAnswer => (timeout, Dialled::TimedOut),
        Habit::Silent => (at(TIMER_B_MS), Dialled::Refused(18, 408, "NOANSWER")),
        Habit::Press1 | Habit::Press2 | Habit::PressNothing | Habit::HangUpEarly | Habit::Machine => {
            (end_at, Dialled::Answered)
        }
        Habit::NoPort => (start, Dialled::HungUp(0)), // ended by `without_port`, before any ring
    };
    let rings = callee.ring_ms > 0 && callee.habit != Habit::Silent;
    if rings && ringing_at < timeout {
        if let Some(hung_up) = hung_up_before(channel, ringing_at).await {
            return hung_up;
        }
        progress(ctx, channel, callee);
    }
    if let Some(hung_up) = hung_up_before(channel, end_at.min(timeout)).await {
        return hung_up;
    }
    if end_at < timeout { end } else { Dialled::TimedOut }
}

/// Ringing or early media is announced; which of ringing's two events comes first varies.
fn progress(ctx: &Ctx, channel: &Channel, callee: &Callee) {
    if callee.early_media {
        ctx.bus.emit(&ctx.events.dial_state(channel, "PROGRESS"));
        return;
    }
    let dial_first = ctx.callees.percent(&channel.origin.unique_id, "ringing") < 20;
    if dial_first {
        ctx.bus.emit(&ctx.events.dial_state(channel, "RINGING"));
    }
    channel.update(|place| place.state = ChannelState::Ringing);
    ctx.bus.emit(&ctx.events.newstate(channel));
    if !dial_first {
        ctx.bus.emit(&ctx.events.dial_state(channel, "RINGING"));
    }
}

async fn hung_up_before(channel: &Channel, until: Instant) -> Option<Dialled> {
    tokio::select! {
        () = tokio::time::sleep_until(until) => None,
        () = channel.hangup_asked() => Some(Dialled::HungUp(channel.hangup_cause().unwrap_or(0))),
    }
}

impl Ctx {
    /// What the callee of this originate does.
    pub(crate) fn callee(&self, origin: &Origin) -> Callee {
        let trunk = self.endpoints.get(&origin.trunk).map(|endpoint| endpoint.trunk);
        self.callees.callee_on(trunk.as_deref().unwrap_or(&origin.trunk), &origin.number)
    }

    /// A duration of the simulated world as it passes here.
    pub(crate) fn scaled(&self, ms: u32) -> Duration {
        Duration::from_millis(u64::from(ms)) / self.config.clock_scale.get()
    }

    /// How many simulated ms have passed in this time.
    pub(crate) fn simulated_ms(&self, passed: Duration) -> u32 {
        let ms = passed.as_micros().saturating_mul(self.config.clock_scale.get().into()) / 1_000;
        u32::try_from(ms).unwrap_or(u32::MAX)
    }
}
