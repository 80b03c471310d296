//! Heartbeats, and what health shows.

use std::fs;
use std::time::{Duration, Instant};

use asterism_proto::frame::FRAME_VERSION;
use asterism_proto::v1;
use prost::Message;

use super::Shell;
use crate::machine::Slots;

/// How often a heartbeat leaves.
const BEAT: Duration = Duration::from_secs(2);

/// What health shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Why the node takes no calls, empty if it does.
    pub why_not_ready: String,
    /// Why prompts that are ordered are not there, empty if nothing failed lately.
    pub prompts_problem: String,
    /// Recordings that are not known to be in the store.
    pub recordings_unsent: u32,
    /// Why the one that was tried last is not, empty if nothing failed.
    pub recordings_problem: String,
    /// The state word of heartbeats.
    pub state: String,
    /// Slots.
    pub slots: Slots,
    /// Frames no checkpoint covers.
    pub spool_frames: u64,
    /// Their bytes.
    pub spool_bytes: u64,
    /// Offset of the clock, ms.
    pub clock_offset_ms: i64,
    /// Whether the bus is connected.
    pub bus_connected: bool,
    /// Size of the newest checkpoint that was checked.
    pub witnessed: u64,
}

/// The heartbeat's own state.
#[derive(Debug, Default)]
pub(super) struct Heart {
    sequence: u64,
    back: u64,
    last: Option<Instant>,
    cpu: Cpu,
}

impl Heart {
    pub(super) fn came_back(&mut self, sequence: u64) {
        self.back = self.back.max(sequence);
    }

    pub(super) fn cpu_permille(&self) -> u32 {
        self.cpu.permille
    }

    /// The next tick sends one, whenever the last was.
    pub(super) fn beat_now(&mut self) {
        self.last = None;
    }
}

impl Shell {
    /// Sends a heartbeat if it is time, and refreshes what health shows.
    pub(super) fn beat(&mut self, now: Instant) {
        let status = self.status(now);
        let changed = *self.parts.status.borrow() != status;
        let state_changed = self.parts.status.borrow().state != status.state;
        if changed {
            self.parts.status.send_replace(status);
        }
        if !state_changed && self.heart.last.is_some_and(|last| now < last + BEAT) {
            return;
        }
        self.heart.last = Some(now);
        self.heart.cpu.read();
        let heartbeat = self.heartbeat(now);
        let Some(bus) = self.bus.clone().filter(|_| self.admitted) else { return };
        let subject = self.parts.subjects.heartbeat.clone();
        tokio::spawn(async move {
            if let Err(error) = bus.publish(&subject, heartbeat).await {
                tracing::debug!(%error, "a heartbeat could not be sent");
            }
        });
    }

    fn status(&mut self, now: Instant) -> Status {
        let spool = &self.parts.spool;
        Status {
            why_not_ready: self.parts.machine.why_not_ready().unwrap_or_default().to_owned(),
            prompts_problem: self.parts.prompts.problem().unwrap_or_default(),
            recordings_unsent: self.parts.machine.unsent(),
            recordings_problem: self.parts.recorder.problem().unwrap_or_default(),
            state: self.parts.machine.state_word().to_owned(),
            slots: self.parts.machine.slots(),
            spool_frames: spool.frame_count() as u64,
            spool_bytes: spool.size_bytes(),
            clock_offset_ms: self.clock.offset_ms(now),
            bus_connected: self.bus.as_ref().is_some_and(asterism_nats::Bus::is_connected),
            witnessed: self.parts.machine.witnessed(),
        }
    }

    fn heartbeat(&mut self, now: Instant) -> Vec<u8> {
        let status = self.status(now);
        let heart = &mut self.heart;
        let bus_round_trip = heart.sequence > 0 && heart.back == heart.sequence;
        heart.sequence += 1;
        let sequence = heart.sequence;
        let ready = status.why_not_ready.is_empty();
        v1::Heartbeat {
            node: self.node().to_owned(),
            sent_at_ms: self.clock.now_ms(now),
            state: status.state,
            capacity: self.parts.machine.capacity(),
            ringing: status.slots.ringing,
            up: status.slots.up,
            free_slots: if ready { status.slots.free } else { 0 },
            cpu_permille: self.heart.cpu_permille(),
            manifests: self.parts.machine.held().map(str::to_owned).collect(),
            clock_offset_ms: status.clock_offset_ms,
            clock_known: self.clock.is_known(now),
            why_not_ready: status.why_not_ready,
            spool_frames: u32::try_from(status.spool_frames).unwrap_or(u32::MAX),
            spool_bytes: status.spool_bytes,
            frame_version: FRAME_VERSION,
            sequence,
            bus_round_trip,
            leaving: self.parts.machine.leaving(),
            prompts_problem: status.prompts_problem,
            public_address: self.parts.public_address.borrow().clone(),
            recordings_unsent: status.recordings_unsent,
            recordings_problem: status.recordings_problem,
        }
        .encode_to_vec()
    }
}

/// The machine's load since the last look, from `/proc/stat`.
#[derive(Debug, Default)]
struct Cpu {
    busy: u64,
    total: u64,
    permille: u32,
}

impl Cpu {
    fn read(&mut self) {
        let Ok(text) = fs::read_to_string("/proc/stat") else { return };
        let Some((busy, total)) = parse_stat(&text) else { return };
        let busy_ticks = busy.saturating_sub(self.busy).saturating_mul(1000);
        if let Some(permille) = busy_ticks.checked_div(total.saturating_sub(self.total)) {
            self.permille = u32::try_from(permille.min(1000)).unwrap_or(1000);
        }
        (self.busy, self.total) = (busy, total);
    }
}

/// Busy and all ticks of the first line: user nice system idle iowait irq softirq steal.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
    let total = ticks.iter().copied().fold(0, u64::saturating_add);
    Some((total.saturating_sub(idle), total))
}

#[cfg(test)]
mod tests {
    use super::parse_stat;

    #[test]
    fn load_is_what_was_not_idle() {
        assert_eq!(parse_stat("cpu  10 0 20 60 10 0 0 0 0 0\ncpu0 1 2 3"), Some((30, 100)));
        for bad in ["", "cpu", "cpu  1 2 3", "intr 5"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }
}
