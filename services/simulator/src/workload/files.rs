//! The files of a workload and of a run: the formats are in `services/simulator/README.md`.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use asterism_domain::fleet::staffing::HistoryBin;
use serde::{Deserialize, Serialize};

use super::{Call, FleetFacts, Workload};
use crate::engine::Run;
use crate::error::LabError;

/// Calls in a file at most: what a week of 1,500 calls at once has, ten times over.
const CALLS_MAX: usize = 50_000_000;
/// Times in a file are within ten years.
const TIME_MAX_MS: i64 = 315_360_000_000;

#[derive(Deserialize)]
struct CallRow {
    t_ms: i64,
    hold_ms: i64,
    kind: String,
    deadline_ms: Option<i64>,
}

#[derive(Deserialize)]
struct HistoryRow {
    day: i32,
    t_ms: u64,
    arrivals: u32,
    busy: u32,
}

#[derive(Serialize)]
struct NodeRow {
    node_id: usize,
    launch_ms: i64,
    ready_ms: Option<i64>,
    drain_ms: Option<i64>,
    end_ms: Option<i64>,
    capacity: u32,
}

#[derive(Serialize)]
struct PlacementRow {
    row: usize,
    node_id: String,
    start_ms: Option<i64>,
}

/// Reads a workload; the history may be missing.
pub fn read(calls: &Path, fleet: &Path, history: Option<&Path>) -> Result<Workload, LabError> {
    let fleet = read_fleet(fleet)?;
    let path = calls.display().to_string();
    let calls = rows::<CallRow>(calls, CALLS_MAX)?
        .enumerate()
        .map(|(index, row)| call(calls, index as u64 + 2, &row?))
        .collect::<Result<Vec<Call>, LabError>>()?;
    if calls.is_empty() {
        let problem = "holds no call under a header t_ms,hold_ms,kind,deadline_ms".to_owned();
        return Err(LabError::Fleet { path, problem });
    }
    if let Some(index) = calls.windows(2).position(|pair| pair[1].at_ms < pair[0].at_ms) {
        return Err(LabError::Fleet {
            path,
            problem: format!("the calls are not sorted by t_ms: row {} comes before row {index}", index + 1),
        });
    }
    let history = match history {
        Some(path) => rows::<HistoryRow>(path, CALLS_MAX)?
            .enumerate()
            .map(|(index, row)| bin(path, index as u64 + 2, &row?))
            .collect::<Result<Vec<HistoryBin>, LabError>>()?,
        None => Vec::new(),
    };
    Ok(Workload { fleet, calls, history, ..Workload::default() })
}

fn file_error(path: &Path, source: std::io::Error) -> LabError {
    LabError::File { path: path.display().to_string(), source }
}

fn read_fleet(path: &Path) -> Result<FleetFacts, LabError> {
    let wrong = |problem: String| LabError::Fleet { path: path.display().to_string(), problem };
    let text = std::fs::read(path).map_err(|source| file_error(path, source))?;
    let fleet: FleetFacts = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let times = [fleet.horizon_ms, fleet.prelaunch_ms, fleet.boot_nominal_ms, fleet.min_bill_ms];
    let problem = if fleet.capacity == 0 || fleet.capacity > 100_000 {
        "capacity is not 1 to 100,000"
    } else if fleet.boot_ms.is_empty() || fleet.boot_ms.iter().any(|boot| !(-1..=TIME_MAX_MS).contains(boot))
    {
        "boot_ms is empty or holds a time that cannot be"
    } else if times.iter().any(|time| !(0..=TIME_MAX_MS).contains(time)) || fleet.horizon_ms == 0 {
        "a time is negative or more than ten years"
    } else if !(0..=1_000_000).contains(&fleet.standing_ppm) {
        "standing_ppm is not 0 to 1,000,000"
    } else if fleet.events.windows(2).any(|pair| pair[1].t_ms < pair[0].t_ms) {
        "events are not sorted by t_ms"
    } else {
        return Ok(fleet);
    };
    Err(wrong(problem.to_owned()))
}

fn rows<T: for<'de> Deserialize<'de>>(
    path: &Path,
    most: usize,
) -> Result<impl Iterator<Item = Result<T, LabError>>, LabError> {
    let file = File::open(path).map_err(|source| file_error(path, source))?;
    let name = path.display().to_string();
    let line_of = |error: &csv::Error| error.position().map_or(0, csv::Position::line);
    Ok(csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file).into_deserialize().take(most).map(
        move |row| {
            row.map_err(|error| LabError::Line {
                path: name.clone(),
                line: line_of(&error),
                problem: error.to_string(),
            })
        },
    ))
}

fn call(path: &Path, line: u64, row: &CallRow) -> Result<Call, LabError> {
    let problem = |problem: &str| LabError::Line {
        path: path.display().to_string(),
        line,
        problem: problem.to_owned(),
    };
    let deadline_ms = match (row.kind.as_str(), row.deadline_ms) {
        ("inbound", _) => None,
        ("campaign", Some(deadline)) => Some(deadline),
        ("campaign", None) => return Err(problem("a campaign call has no deadline_ms")),
        _ => return Err(problem("kind is neither inbound nor campaign")),
    };
    let times = [row.t_ms, row.hold_ms, deadline_ms.unwrap_or(0)];
    if row.hold_ms < 0 || times.iter().any(|time| time.abs() > TIME_MAX_MS) {
        return Err(problem("a time is negative or more than ten years"));
    }
    Ok(Call { at_ms: row.t_ms, hold_ms: row.hold_ms, deadline_ms })
}

fn bin(path: &Path, line: u64, row: &HistoryRow) -> Result<HistoryBin, LabError> {
    let day = row.day.checked_add(7).and_then(|day| u32::try_from(day).ok()).filter(|day| *day < 7);
    let problem = || "day is not -7 to -1".to_owned();
    let day =
        day.ok_or_else(|| LabError::Line { path: path.display().to_string(), line, problem: problem() })?;
    Ok(HistoryBin { day, at_ms: row.t_ms, arrivals: row.arrivals, busy: row.busy })
}

/// Writes what a run did: its nodes, and where each call went.
pub fn write_result(run: &Run, capacity: u32, nodes: &Path, placements: &Path) -> Result<(), LabError> {
    let rows = run.nodes.iter().enumerate().map(|(node_id, node)| NodeRow {
        node_id,
        launch_ms: node.launch_ms,
        ready_ms: node.ready.then_some(node.ready_ms),
        drain_ms: node.drain_ms,
        end_ms: node.end_ms,
        capacity,
    });
    write(nodes, &["node_id", "launch_ms", "ready_ms", "drain_ms", "end_ms", "capacity"], rows)?;
    let rows = run.placements.iter().enumerate().map(|(row, placed)| PlacementRow {
        row,
        node_id: placed.map_or_else(|| "blocked".to_owned(), |(node, _)| node.to_string()),
        start_ms: placed.map(|(_, start)| start),
    });
    write(placements, &["row", "node_id", "start_ms"], rows)
}

fn write<T: Serialize>(path: &Path, header: &[&str], rows: impl Iterator<Item = T>) -> Result<(), LabError> {
    let failed = |error: csv::Error| file_error(path, error.into());
    let file = File::create(path).map_err(|source| file_error(path, source))?;
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(BufWriter::new(file));
    writer.write_record(header).map_err(failed)?;
    for row in rows {
        writer.serialize(row).map_err(failed)?;
    }
    writer.flush().map_err(|source| file_error(path, source))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn folder(calls: &str, fleet: &str) -> (tempfile::TempDir, Result<Workload, LabError>) {
        let folder = tempfile::tempdir().expect("a folder");
        let (at, facts) = (folder.path().join("x.calls.csv"), folder.path().join("x.fleet.json"));
        std::fs::write(&at, calls).expect("written");
        std::fs::write(&facts, fleet).expect("written");
        let read = read(&at, &facts, None);
        (folder, read)
    }

    const FLEET: &str = r#"{"name":"x","horizon_ms":1000000,"prelaunch_ms":600000,"capacity":2,"boot_nominal_ms":90000,
        "boot_ms":[90000,-1],"min_bill_ms":60000,"dials_per_s":2,"mean_inbound_hold_ms":50000,
        "events":[{"t_ms":5,"event":"trunk_down"}],"campaigns":[]}"#;

    #[test]
    fn what_is_written_is_read() {
        let calls = "t_ms,hold_ms,kind,deadline_ms\n100,50,inbound,\n130,20,campaign,400\n";
        let (_folder, workload) = folder(calls, FLEET);
        let workload = workload.expect("read");
        assert_eq!(workload.calls[0], Call { at_ms: 100, hold_ms: 50, deadline_ms: None });
        assert_eq!(workload.calls[1].deadline_ms, Some(400));
        assert_eq!(workload.fleet.boot_ms, [90_000, -1]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let header = "t_ms,hold_ms,kind,deadline_ms\n";
        for (calls, fleet, want) in [
            ("100,50,inbound,\n100,x,inbound,\n", FLEET, "line 3"),
            ("100,50,outbound,\n", FLEET, "line 2: kind is neither"),
            ("100,50,campaign,\n", FLEET, "line 2: a campaign call has no deadline_ms"),
            ("100,-5,inbound,\n", FLEET, "line 2: a time is negative"),
            ("100,5,inbound,\n99,5,inbound,\n", FLEET, "not sorted"),
            ("", FLEET, "holds no call"),
            ("", "{}", "AST-W003"),
            ("", &FLEET.replace("\"capacity\":2", "\"capacity\":0"), "capacity is not"),
            ("", &FLEET.replace("[90000,-1]", "[]"), "boot_ms is empty"),
        ] {
            let (_folder, workload) = folder(&format!("{header}{calls}"), fleet);
            let error = workload.expect_err("refused").to_string();
            assert!(error.contains(want), "{error}: wanted {want}");
        }
    }
}
