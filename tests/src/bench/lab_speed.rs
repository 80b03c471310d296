//! `lab-speed`: fleet-hours the policy lab simulates in a second: three nodes' worth of a list at two dials a second,
//! dialled by our own policy and judged by the account, on one core.

use anyhow::ensure;
use asterism_simulator::account::account;
use asterism_simulator::engine::run as simulate;
use asterism_simulator::policies::Ours;
use asterism_simulator::workload::{Call, FleetFacts, List, Workload};
use serde_json::json;

use super::probe::on_cpu_s;
use super::report::{Figure, median, spread};

const HOURS: i64 = 24;
const ROUNDS: usize = 9;
const DIALS_PER_S: u32 = 2;
/// A call of 45 s at two a second is ninety up: three nodes of thirty.
const HOLD_MS: i64 = 45_000;

/// Measures it.
pub fn run() -> anyhow::Result<Figure> {
    let workload = workload();
    let mut speeds = Vec::new();
    let mut nodes = 0;
    for round in 0..=ROUNDS {
        let began = on_cpu_s()?;
        let run = simulate(&workload, &mut Ours::new(&workload));
        let account = account(&workload, &run);
        let took_s = on_cpu_s()? - began;
        let never = run.placements.iter().filter(|placed| placed.is_none()).count();
        ensure!(never == 0 && account.late == 0, "{never} calls not started, {} late", account.late);
        ensure!((account.cut, account.fouls) == (0, 0), "a rule was broken: {account:?}");
        nodes = account.launches;
        if round > 0 {
            // the first one warms up
            speeds.push(HOURS as f64 / took_s);
        }
    }
    Ok(Figure {
        value: median(&speeds),
        unit: "fleet-hours/s",
        baseline: None,
        ratio: None,
        note: format!(
            "{} calls over {HOURS} h at {DIALS_PER_S} dials a second, our policy asked once a second of virtual time, {nodes} \
             nodes launched, the run judged; one core, time on the processor",
            workload.calls.len()
        ),
        detail: json!({ "fleet_hours_per_s": spread(&speeds) }),
    })
}

fn workload() -> Workload {
    let horizon_ms = HOURS * 3_600_000;
    let calls = (horizon_ms / 1_000) as u32 * DIALS_PER_S * 9 / 10;
    let deadline_ms = horizon_ms;
    let fleet = FleetFacts {
        name: "lab-speed".to_owned(),
        horizon_ms,
        prelaunch_ms: 600_000,
        capacity: 30,
        boot_nominal_ms: 90_000,
        boot_ms: vec![90_000],
        min_bill_ms: 60_000,
        dials_per_s: DIALS_PER_S,
        mean_inbound_hold_ms: 150_000,
        campaigns: vec![List { open_ms: 0, deadline_ms, calls }],
        ..FleetFacts::default()
    };
    let call = Call { at_ms: 0, hold_ms: HOLD_MS, deadline_ms: Some(deadline_ms) };
    Workload { fleet, calls: vec![call; calls as usize], ..Workload::default() }
}
