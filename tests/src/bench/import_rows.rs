//! `import-rows`: a contact list of a million rows read as an import reads it, against a bare CSV read of the same file.
//!
//! Nothing is sent: hash, encoding, rows, numbers by the numbering plan, zones, duplicates and batches are the work.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_cli::import::{self, Numbers, Options, Summary, numbers};
use serde_json::json;

use super::report::{Figure, median, scratch, spread};

/// Rows of the file, its header not counted.
const ROWS: u64 = 1_000_000;
const ROUNDS: usize = 5;
/// One row in so many has a bad number, one repeats the number before it.
const ODD_EVERY: u64 = 1_000;
/// Resident memory an import of a million rows may add: its numbers, a batch, buffers.
const MEMORY_MAX_KB: u64 = 100 * 1024;

/// Measures both sides.
pub fn run() -> anyhow::Result<Figure> {
    let folder = scratch()?;
    let (plus, national) = (folder.path().join("plus.csv"), folder.path().join("national.csv"));
    write_list(&plus, "+1")?;
    write_list(&national, "")?;
    let region = Options {
        numbers: Numbers { region: numbers::region("US"), ..Numbers::default() },
        ..Options::default()
    };
    let (mut imported, mut bare, mut in_national_form) = (Vec::new(), Vec::new(), Vec::new());
    let before_kb = resident_peak_kb()?;
    let mut added_kb = 0;
    for round in 0..=ROUNDS {
        let import_s = timed(|| import_list(&plus, &Options::default()))?;
        added_kb = added_kb.max(resident_peak_kb()?.saturating_sub(before_kb));
        let bare_s = timed(|| read_bare(&plus))?;
        let national_s = timed(|| import_list(&national, &region))?;
        if round > 0 {
            // the first one warms up
            imported.push(ROWS as f64 / import_s);
            bare.push(ROWS as f64 / bare_s);
            in_national_form.push(ROWS as f64 / national_s);
        }
    }
    ensure!(added_kb < MEMORY_MAX_KB, "an import of {ROWS} rows added {added_kb} kB of resident memory");
    let ratios: Vec<f64> = imported.iter().zip(&bare).map(|(import, bare)| import / bare).collect();
    Ok(Figure {
        value: median(&imported),
        unit: "rows/s",
        baseline: Some(median(&bare)),
        ratio: Some(median(&ratios)),
        note: "a list of 1,000,000 rows with three columns, read and judged on one core, nothing sent; baseline: the csv \
               crate over the same file into a byte record"
            .to_owned(),
        detail: json!({
            "import_rows_per_s": spread(&imported),
            "bare_rows_per_s": spread(&bare),
            "national_rows_per_s": spread(&in_national_form),
            "ratio": spread(&ratios),
            "rows": ROWS,
            "file_bytes": std::fs::metadata(&plus)?.len(),
            "added_resident_kb": added_kb,
        }),
    })
}

fn write_list(path: &Path, prefix: &str) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "number,name,city")?;
    for row in 0..ROWS {
        match row % ODD_EVERY {
            7 => writeln!(file, "1.2E+10,person {row},Springfield")?,
            8 => writeln!(file, "{},again,Springfield", number(prefix, row - 2))?,
            _ => writeln!(file, "{},person {row},Springfield", number(prefix, row))?,
        }
    }
    file.flush().context("the list is written")
}

/// 555-0100 to 555-0199 are fiction, too few for a million: these are possible numbers, and nobody dials them here.
fn number(prefix: &str, row: u64) -> String {
    let areas = [201, 312, 415, 702, 808, 212, 213, 303, 404, 503];
    format!("{prefix}{}{:07}", areas[(row % 10) as usize], 2_000_000 + row)
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn import_list(path: &Path, options: &Options) -> anyhow::Result<()> {
    let survey = import::survey_file(path, options)?;
    let mut handed_on = 0;
    let summary: Summary = import::import_file(path, &survey, options, |batch| {
        handed_on += batch.len() as u64;
        Ok::<(), std::convert::Infallible>(())
    })?;
    let odd = ROWS / ODD_EVERY;
    ensure!(
        (summary.rows, summary.rejected, summary.duplicates) == (ROWS, odd, odd)
            && summary.good == ROWS - 2 * odd
            && handed_on == summary.good,
        "{} rows, {} good, {} rejected, {} duplicates, {handed_on} handed on",
        summary.rows,
        summary.good,
        summary.rejected,
        summary.duplicates
    );
    Ok(())
}

fn read_bare(path: &Path) -> anyhow::Result<()> {
    let mut reader = csv::Reader::from_path(path)?;
    let mut record = csv::ByteRecord::new();
    let mut rows = 0;
    while reader.read_byte_record(&mut record)? {
        rows += 1;
    }
    ensure!(rows == ROWS, "{rows} rows");
    Ok(())
}

/// The most this process has held, in kB.
fn resident_peak_kb() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM is there")?;
    line.trim().trim_end_matches("kB").trim().parse().context("VmHWM is a number")
}
