//! `Dial()` in the middle of a call: somebody else rings, and the two talk until one hangs up or their time is over.
//!
//! The carrier's recorder counts the rings of attempts; a leg is part of one, and not counted.

use asterism_agent::dialplan::{Address, Leg};
use tokio::time::Instant;

use crate::callees::Habit;
use crate::sim::Ctx;
use crate::walk::{Call, Gone, Listening};

/// What becomes of a leg: after so many ms, `DIALSTATUS` and the Q.850 cause.
type End = (u32, &'static str, u32);

impl Call<'_> {
    /// Dials and joins; how that ended. Whoever hangs up on the first leg ends both.
    pub(crate) async fn join(
        &mut self,
        to: &Address,
        (ring_s, talk_s): (u32, u32),
        by: Option<&Address>,
    ) -> Result<&'static str, Gone> {
        let began = Instant::now();
        self.report.leg = Some(Leg::default());
        let by = by.map_or("", Address::as_str);
        let ctx = self.ctx;
        let known = (ctx.config.trunks.is_empty() || ctx.config.trunks.iter().any(|trunk| trunk == by))
            && ctx.endpoints.exists(by);
        if !known {
            return Ok("CHANUNAVAIL");
        }
        let trunk = ctx.endpoints.get(by).map(|endpoint| endpoint.trunk);
        let callee = ctx.callees.callee_on(trunk.as_deref().unwrap_or(by), to.as_str());
        let (rings_ms, status, cause) =
            ringing(callee.habit, callee.setup_ms + callee.ring_ms, ring_s * 1_000);
        "CANCEL".clone_into(&mut self.report.dial); // what it is if the first leg goes meanwhile
        let rung = self.wait(rings_ms, Listening::No).await;
        self.clock_leg(began, None, cause);
        rung?;
        status.clone_into(&mut self.report.dial);
        if status == "ANSWER" {
            let answered = Instant::now();
            let leaves_ms = callee.hang_up_at_ms.unwrap_or(u32::MAX).min(talk_s * 1_000);
            let talked = self.wait(leaves_ms, Listening::No).await;
            self.clock_leg(began, Some(answered), cause);
            talked?;
        }
        Ok(status)
    }

    fn clock_leg(&mut self, began: Instant, answered: Option<Instant>, cause: u32) {
        let ms = |since: Instant| simulated_ms(self.ctx, since);
        self.report.leg = Some(Leg { cause, dialled_ms: ms(began), talk_ms: answered.map_or(0, ms) });
    }
}

/// Time of the simulated world since then.
fn simulated_ms(ctx: &Ctx, since: Instant) -> u32 {
    let passed = since.elapsed() * ctx.config.clock_scale.get();
    u32::try_from(passed.as_millis()).unwrap_or(u32::MAX)
}

fn ringing(habit: Habit, after_ms: u32, most_ms: u32) -> End {
    let end = match habit {
        Habit::Busy => (after_ms, "BUSY", 17),
        Habit::Declined => (after_ms, "BUSY", 21),
        Habit::NotFound => (after_ms, "CHANUNAVAIL", 1),
        Habit::Unavailable => (after_ms, "NOANSWER", 19),
        Habit::Congested => (after_ms, "CONGESTION", 34),
        Habit::NoPort => return (0, "CHANUNAVAIL", 0),
        Habit::NoAnswer | Habit::Silent => (u32::MAX, "NOANSWER", 0),
        Habit::Press1 | Habit::Press2 | Habit::PressNothing | Habit::HangUpEarly | Habit::Machine => {
            (after_ms, "ANSWER", 16)
        }
    };
    if end.0 > most_ms { (most_ms, "NOANSWER", 0) } else { end }
}
