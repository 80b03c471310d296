//! A planner that knows the true rate of arrivals, and not the calls: a floor no online policy is expected to pass.

use crate::engine::{Orders, Policy, View};
use crate::workload::Workload;

/// Staffs by the true rate and a number of square roots.
pub struct Oracle {
    truth: Vec<f64>,
    sqrt_milli: u32,
    hold_s: f64,
    lead_s: f64,
    capacity: f64,
    boot_ms: i64,
    last_needed: Vec<i64>,
}

impl Oracle {
    /// With so many thousandths of a square root in reserve.
    pub fn new(workload: &Workload, sqrt_milli: u32) -> Self {
        let fleet = &workload.fleet;
        Self {
            truth: workload.truth.clone(),
            sqrt_milli,
            hold_s: fleet.mean_inbound_hold_ms.max(1) as f64 / 1_000.0,
            lead_s: fleet.boot_nominal_ms as f64 / 1_000.0 * 1.1 + 5.0,
            capacity: f64::from(fleet.capacity),
            boot_ms: fleet.boot_nominal_ms,
            last_needed: Vec::new(),
        }
    }
}

impl Policy for Oracle {
    fn name(&self) -> String {
        format!("rate oracle, {}.{} roots", self.sqrt_milli / 1_000, self.sqrt_milli % 1_000 / 100)
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        const STEP_S: f64 = 5.0;
        let stay = (-STEP_S / self.hold_s).exp();
        let rate =
            |time: f64| if time < 0.0 { 0.0 } else { self.truth.get(time as usize).copied().unwrap_or(0.0) };
        let roots = f64::from(self.sqrt_milli) / 1_000.0;
        let (mut up, mut most) = (f64::from(view.inbound_up), 0.0_f64);
        let now = view.at_ms as f64 / 1_000.0;
        for step in 0..(self.lead_s / STEP_S).ceil() as u32 {
            up = up * stay + rate(now + f64::from(step) * STEP_S) * self.hold_s * (1.0 - stay);
            most = most.max(up + roots * up.sqrt());
        }
        let want = (most / self.capacity).ceil() as usize;
        if self.last_needed.len() <= want {
            self.last_needed.resize(want + 1, i64::MIN);
        }
        self.last_needed[..=want].fill(view.at_ms);
        let since = view.at_ms - self.boot_ms * 6 / 10;
        let keep = self.last_needed.iter().rposition(|last| *last >= since).unwrap_or(0);
        super::resize(view, keep.max(want) as u32, self.boot_ms * 3)
    }
}
