//! `asterism_domain::fleet::staffing`, asked once a second.

use asterism_domain::fleet::staffing::{Seen, Staffing, StaffingPolicy};

use crate::engine::{Orders, Policy, View};
use crate::workload::Workload;

/// Our policy.
pub struct Ours {
    staffing: Staffing,
    by_the_hour: bool,
}

impl Ours {
    /// Knows of a workload what a scaler knows before it: the fleet's nominal facts and the past week.
    pub fn new(workload: &Workload) -> Self {
        Self::billed(workload, false)
    }

    /// The same, on nodes whose begun hours are billed.
    pub fn by_the_hour(workload: &Workload) -> Self {
        Self::billed(workload, true)
    }

    fn billed(workload: &Workload, by_the_hour: bool) -> Self {
        let fleet = &workload.fleet;
        let mut policy = StaffingPolicy::new(
            fleet.capacity,
            fleet.boot_nominal_ms as u64,
            fleet.mean_inbound_hold_ms as u64,
            fleet.dials_per_s,
        );
        // Neither a past nor a list: a node must be there for the first call to be heard of.
        policy.min_nodes = u32::from(workload.history.is_empty() && fleet.campaigns.is_empty());
        policy.by_the_hour = by_the_hour;
        Self { staffing: Staffing::new(policy, &workload.history), by_the_hour }
    }
}

impl Policy for Ours {
    fn name(&self) -> String {
        if self.by_the_hour { "asterism, by the hour" } else { "asterism" }.to_owned()
    }

    fn look(&mut self, view: &View<'_>) -> Orders {
        let staff = self.staffing.second(&Seen {
            at_ms: view.at_ms,
            nodes: view.nodes,
            arrivals: view.arrivals,
            inbound_up: view.inbound_up,
            outbound_ended: view.outbound_ended,
            backlog: view.backlog,
            kept_calls: if view.trunk_up { 0 } else { u32::MAX },
        });
        let moves = staff.moves;
        Orders {
            launch: moves.launch,
            open: moves.open,
            close: moves.close,
            end: moves.end,
            outbound_only: moves.outbound_only,
            outbound_slots: staff.outbound_slots,
        }
    }
}
