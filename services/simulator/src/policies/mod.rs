//! Policies: ours, and those it is compared with.
//!
//! All of them close nodes before they end them and cut no call; the difference is what they look at.

mod baselines;
mod oracle;
mod ours;

pub use baselines::{Buffer, StaticPeak, Steps, Threshold, Tracking};
pub use oracle::Oracle;
pub use ours::Ours;

use asterism_domain::fleet::staffing::NodeSeen;

use crate::engine::{Orders, View};
use crate::workload::Workload;

/// All policies for a workload, ours first. The oracle needs the true rate and is left out where nobody knows it.
pub fn all(workload: &Workload) -> Vec<Box<dyn crate::engine::Policy>> {
    let mut all: Vec<Box<dyn crate::engine::Policy>> =
        vec![Box::new(Ours::new(workload)), Box::new(Ours::by_the_hour(workload))];
    for target in [50, 70, 85] {
        all.push(Box::new(Tracking::new(target)));
    }
    all.push(Box::new(Steps::default()));
    all.push(Box::new(Threshold::new(workload.fleet.boot_nominal_ms)));
    for share in [15, 30] {
        all.push(Box::new(Buffer::new(share)));
    }
    all.push(Box::new(StaticPeak::new(workload)));
    if !workload.truth.is_empty() && workload.fleet.campaigns.is_empty() {
        all.push(Box::new(Oracle::new(workload, 2_500)));
        all.push(Box::new(Oracle::new(workload, 4_000)));
    }
    all
}

/// Orders that bring a fleet to a number of nodes: closed ones are opened before others are launched, the emptiest are
/// closed first, and closed ones are ended once empty.
fn resize(view: &View<'_>, wanted: u32, boot_deadline_ms: i64) -> Orders {
    let mut orders = Orders { outbound_slots: u32::MAX, ..Orders::default() };
    let (mut open, mut closed): (Vec<&NodeSeen>, Vec<&NodeSeen>) =
        view.nodes.iter().filter(|node| node.ready).partition(|node| !node.closed);
    let (late, booting): (Vec<&NodeSeen>, Vec<&NodeSeen>) = view
        .nodes
        .iter()
        .filter(|node| !node.ready)
        .partition(|node| view.at_ms - node.launched_ms > boot_deadline_ms);
    orders.end.extend(late.iter().map(|node| node.index));
    let have = (open.len() + booting.len()) as u32;
    if have < wanted {
        closed.sort_by_key(|node| std::cmp::Reverse(node.calls));
        let reopened = closed.len().min((wanted - have) as usize);
        orders.open.extend(closed.drain(..reopened).map(|node| node.index));
        orders.launch = wanted - have - reopened as u32;
    } else {
        open.sort_by_key(|node| (node.calls, std::cmp::Reverse(node.index)));
        let surplus = open.len().min((have - wanted) as usize);
        orders.close.extend(open[..surplus].iter().map(|node| node.index));
        closed.extend_from_slice(&open[..surplus]);
    }
    orders.end.extend(closed.iter().filter(|node| node.calls == 0).map(|node| node.index));
    orders
}
