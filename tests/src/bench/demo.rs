//! One run of `asterism up --demo`, from its first node to its sealed log.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::ensure;
use serde_json::Value;

use super::world::program;
use crate::stack::root;

/// What a run is made of.
pub struct Demo {
    /// Contacts of its campaign.
    pub contacts: u64,
    /// Slots of a node.
    pub capacity: u32,
    /// Most nodes.
    pub max_nodes: u32,
    /// How callees behave, as pbx-sim reads it.
    pub callees: &'static str,
}

impl Demo {
    /// Runs it in `dir/demo` and gives its report: every contact settled, nobody rung twice, the replay agrees.
    pub fn run(&self, dir: &Path) -> anyhow::Result<Value> {
        let (callees, home, errors) = (dir.join("callees.toml"), dir.join("demo"), dir.join("demo.err"));
        fs::write(&callees, self.callees)?;
        let status = Command::new(program("asterism")?)
            .args(["up", "--demo", "--exit", "--contacts", &self.contacts.to_string()])
            .args(["--capacity", &self.capacity.to_string(), "--max-nodes", &self.max_nodes.to_string()])
            .arg("--dir")
            .arg(&home)
            .arg("--callees")
            .arg(&callees)
            .arg("--demo-files")
            .arg(root().join("compose/demo"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors)?)
            .status()?;
        ensure!(status.success(), "{status}: {}", last_lines(&errors));
        let report: Value = serde_json::from_slice(&fs::read(home.join("report.json"))?)?;
        for (name, wanted) in [("contacts", self.contacts), ("settled", self.contacts), ("double_rings", 0)] {
            is(&report, name, wanted)?;
        }
        ensure!(report["replay_ok"] == Value::Bool(true), "the replay does not agree");
        Ok(report)
    }
}

/// Fails unless the report has this number.
pub fn is(report: &Value, name: &str, wanted: u64) -> anyhow::Result<()> {
    ensure!(report[name].as_u64() == Some(wanted), "report: {name} is {}, not {wanted}", report[name]);
    Ok(())
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}
