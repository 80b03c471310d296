//! `asterism lab what-if`: a recorded log under another policy.

use std::path::Path;

use asterism_replay::fold::{Pass, read};
use asterism_simulator::recorded::{Log, Reading};
use asterism_simulator::whatif::{Asked, Figures, WhatIf, what_if};

use crate::args::lab::WhatIfArgs;
use crate::bar::grouped;
use crate::commands::Context;
use crate::error::CliError;
use crate::output::{Align, table};
use crate::up::progress::dollars;

/// A policy is a few lines.
const MAX_BYTES: u64 = 65_536;

pub(super) fn run(context: &Context, args: &WhatIfArgs) -> Result<(), CliError> {
    // A policy that makes no sense is said before a long log is read.
    let asked = policy(&args.policy)?;
    let log = recorded(&args.log)?;
    let told = what_if(&log, &asked);
    context.out.result(&told, || text(&log, &asked, &told))
}

fn recorded(folder: &Path) -> Result<Log, CliError> {
    let mut reading = Reading::default();
    let mut pass = Pass { folder, anchor: None, progress: &mut |_| {} };
    read(&mut pass, &mut |event| reading.note(event)).map_err(CliError::from_text)?;
    reading.finish().map_err(CliError::from_text)
}

fn policy(path: &Path) -> Result<Asked, CliError> {
    let unreadable = |why: String| {
        CliError::new("AST-P035", format!("the policy file {} cannot be read", path.display()), why)
    };
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > MAX_BYTES {
        return Err(unreadable(format!("it is longer than {MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let wrong = |why: String| {
        let what = format!("the policy file {} says nothing that can be replayed", path.display());
        CliError::new("AST-P036", what, why).next("asterism lab what-if --help")
    };
    let asked: Asked = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    asked.problem().map_or(Ok(asked), |problem| Err(wrong(problem)))
}

fn text(log: &Log, asked: &Asked, told: &WhatIf) -> String {
    let columns = [
        ("", Align::Left),
        ("done", Align::Right),
        ("late", Align::Right),
        ("blocked", Align::Right),
        ("nodes", Align::Right),
        ("at once", Align::Right),
        ("node-hours", Align::Right),
        ("dollars", Align::Right),
        ("took", Align::Right),
    ];
    let rows = [
        row("what really happened", &told.recorded),
        row("the log's own policy, replayed", &told.replayed),
        row("the other policy", &told.asked),
    ];
    let name = crate::output::plain(&log.state.fleet_name);
    let rule = serde_json::to_value(asked.rule).unwrap_or_default();
    format!(
        "log of {name}: {} calls replayed under {}\n{}late: people whom a deadline or a stop left without a call\n",
        grouped(told.calls.into()),
        rule.as_str().unwrap_or_default(),
        table(&columns, &rows)
    )
}

fn row(what: &str, figures: &Figures) -> Vec<String> {
    let number = |count: u32| grouped(count.into());
    let seconds = figures.took_ms / 1_000;
    vec![
        what.to_owned(),
        number(figures.done),
        number(figures.late),
        number(figures.blocked),
        number(figures.nodes),
        number(figures.peak_nodes),
        format!("{:.3}", figures.node_ms as f64 / 3_600_000.0),
        dollars(figures.micro_usd),
        format!("{}m{:02}s", seconds / 60, seconds % 60),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use asterism_simulator::whatif::Rule;

    use super::*;

    fn read_policy(text: &str) -> Result<Asked, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.toml");
        std::fs::write(&path, text).unwrap();
        policy(&path).map_err(|error| format!("{} {}", error.code, error.why))
    }

    #[test]
    fn a_policy_file_says_what_is_otherwise() {
        let asked = read_policy("rule = 'target-tracking'\npercent = 70\nmax_nodes = 3\n").unwrap();
        assert_eq!((asked.rule, asked.percent, asked.max_nodes), (Rule::TargetTracking, Some(70), Some(3)));
        assert_eq!(read_policy("").unwrap(), Asked::default(), "as in the log");
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_what_is_wrong() {
        for (text, want) in [
            ("max_nodes = -1", "AST-P036 invalid value"),
            ("max_nodes = 0", "AST-P036 max_nodes is 0, expected 1 to 10000"),
            ("max_nodes = 99999999999999999999", "AST-P036"),
            ("budget_micro_usd = 9000000000000000000", "AST-P036 budget_micro_usd is 9000000000000000000"),
            ("min_nodes = 5\nmax_nodes = 2", "AST-P036 min_nodes is 5, more than max_nodes (2)"),
            ("rule = 'magic'", "AST-P036 unknown variant"),
            ("rule = 'buffer'", "AST-P036 percent goes with"),
            ("percent = 50", "AST-P036 percent goes with"),
            ("rule = 'buffer'\npercent = 100", "AST-P036 percent is 100"),
            ("boot_ms = nan", "AST-P036"),
            ("nodes = 3", "AST-P036 unknown field"),
        ] {
            let said = read_policy(text).unwrap_err();
            assert!(said.starts_with(want), "{text}: {said}");
        }
        let gone = policy(Path::new("/nowhere/other.toml")).unwrap_err();
        assert_eq!(gone.code, "AST-P035");
        let no_log = recorded(Path::new("/nowhere/log")).err().unwrap();
        assert!(no_log.code.starts_with("AST-"), "{no_log:?}");
    }
}
