//! One call from its ring to its hang-up: what the callee does, and the events Asterisk makes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::callees::{Callee, Habit};
use crate::channel::{Channel, ChannelState};
use crate::sim::Ctx;
use crate::walk::walk;

/// SIP's timer B: an INVITE nobody answers at all is given up after this long.
const TIMER_B_MS: u32 = 32_000;

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
    let callee = ctx.callees.callee(&channel.origin.number);
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
            ctx.bus.emit(&ctx.events.newstate(&channel));
            ctx.bus.emit(&ctx.events.dial_end(&channel, "ANSWER"));
            ctx.bus.emit(&ctx.events.originate_response(&channel.origin, &channel.name, 4));
            walk(&ctx, &channel, callee).await;
        }
        Dialled::Refused(cause, status, dial_status) => {
            ctx.bus.emit(&ctx.events.hangup_request(&channel, Some((cause, status))));
            ctx.bus.emit(&ctx.events.dial_end(&channel, dial_status));
            failed(&ctx, &channel, 0, cause, Some(status));
        }
        Dialled::TimedOut => failed(&ctx, &channel, 3, 19, Some(480)),
        Dialled::HungUp(cause) => {
            ctx.bus.emit(&ctx.events.dial_end(&channel, "NOANSWER"));
            failed(&ctx, &channel, 0, cause, None);
        }
    }
}

fn failed(ctx: &Ctx, channel: &Channel, reason: u32, cause: u32, status: Option<u32>) {
    ctx.channels.release(channel); // free before anyone is told, so that a retry is not refused
    ctx.bus.emit(&ctx.events.originate_response(&channel.origin, &channel.origin.channel, reason));
    ctx.bus.emit(&ctx.events.hangup(channel, cause, status));
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
        Habit::Press1 | Habit::Press2 | Habit::PressNothing | Habit::HangUpEarly => {
            (end_at, Dialled::Answered)
        }
    };
    let rings = callee.ring_ms > 0 && callee.habit != Habit::Silent;
    if rings && ringing_at < timeout {
        if let Some(hung_up) = hung_up_before(channel, ringing_at).await {
            return hung_up;
        }
        channel.update(|place| place.state = ChannelState::Ringing);
        ctx.bus.emit(&ctx.events.newstate(channel));
        ctx.bus.emit(&ctx.events.dial_state(channel, "RINGING"));
    }
    if let Some(hung_up) = hung_up_before(channel, end_at.min(timeout)).await {
        return hung_up;
    }
    if end_at < timeout { end } else { Dialled::TimedOut }
}

async fn hung_up_before(channel: &Channel, until: Instant) -> Option<Dialled> {
    tokio::select! {
        () = tokio::time::sleep_until(until) => None,
        () = channel.hangup_asked() => Some(Dialled::HungUp(channel.hangup_cause().unwrap_or(0))),
    }
}

impl Ctx {
    /// A duration of the simulated world as it passes here.
    pub(crate) fn scaled(&self, ms: u32) -> Duration {
        Duration::from_millis(u64::from(ms)) / self.config.clock_scale.get()
    }
}
