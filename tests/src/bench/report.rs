//! Figures and how they are written down.

use std::fs;
use std::io::Write as _;

use anyhow::Context;
use serde_json::{Value, json};

use crate::stack::root;

/// One figure.
pub struct Figure {
    /// The value, in `unit`.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The other side of the ratio, in the same unit.
    pub baseline: Option<f64>,
    /// How the two compare; the median of the rounds' own ratios.
    pub ratio: Option<f64>,
    /// What was measured, in a sentence.
    pub note: String,
    /// Everything else.
    pub detail: Value,
}

/// Writes a figure to standard output and to `bench/results.jsonl` in the folder of build results.
pub fn write(name: &str, figure: &Figure) -> anyhow::Result<()> {
    let mut line = json!({
        "bench": name,
        "value": rounded(figure.value),
        "unit": figure.unit,
        "baseline": figure.baseline.map(rounded),
        "ratio": figure.ratio.map(rounded),
        "note": figure.note,
        "detail": figure.detail,
    })
    .to_string();
    line.push('\n');
    std::io::stdout().write_all(line.as_bytes())?;
    let dir = folder()?;
    let path = dir.join("results.jsonl");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    Ok(file.write_all(line.as_bytes())?)
}

/// The folder of results, which is also where benches put their files: on the disk that is measured.
pub fn folder() -> anyhow::Result<std::path::PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let dir = target.join("bench");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// A folder of its own below [`folder`], gone when it is dropped.
pub fn scratch() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("run-").tempdir_in(folder()?)?)
}

/// Lowest, middle and highest of the rounds, and the rounds in their order.
pub fn spread(rounds: &[f64]) -> Value {
    let sorted = sorted(rounds);
    json!({
        "min": sorted.first().copied().map(rounded),
        "median": rounded(median(rounds)),
        "max": sorted.last().copied().map(rounded),
        "rounds": rounds.iter().copied().map(rounded).collect::<Vec<_>>(),
    })
}

/// The middle value; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 500)
}

/// The value that `permille` of all do not exceed; 0 of none.
pub fn quantile(values: &[f64], permille: usize) -> f64 {
    let sorted = sorted(values);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * permille + 500) / 1000).copied().unwrap_or_default()
}

/// Three digits after the point are more than any of these figures carries.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0, 500, 990, 1000].map(|permille| quantile(&values, permille)), [1.0, 3.0, 5.0, 5.0]);
        assert_eq!((median(&[]), median(&[7.0]), median(&[1.0, 2.0])), (0.0, 7.0, 2.0));
        assert_eq!(spread(&[2.0, 1.0, 3.0])["rounds"], json!([2.0, 1.0, 3.0]));
    }
}
