//! `verify` for people.

use std::io::Write;
use std::path::Path;

use asterism_domain::invariant::Verdict;

use crate::verify::Verification;

pub(super) fn print(result: &Verification, folder: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "log of fleet {} in {}", result.fleet, folder.display())?;
    writeln!(out, "  segments     {}", result.segments)?;
    writeln!(out, "  frames       {}", result.frames)?;
    writeln!(out, "  events       {}", result.events)?;
    writeln!(out, "  root         {}", result.root)?;
    if let Some(anchor) = &result.anchor {
        let compared = if result.anchor_given { "as given" } else { "not compared" };
        writeln!(out, "  anchor       {anchor} ({compared})")?;
    }
    writeln!(out, "  state hash   {}", result.state_hash.as_deref().unwrap_or("none: the fold stopped"))?;
    for (name, counts) in [("checkpoints ", &result.checkpoints), ("state hashes", &result.state_hashes)] {
        let (agreed, differed, unchecked) = (counts.agreed, counts.differed, counts.unchecked);
        writeln!(out, "  {name} {agreed} agree, {differed} differ, {unchecked} not comparable")?;
    }
    for (name, counts) in [("tiles       ", &result.tiles), ("snapshots   ", &result.snapshots)] {
        let (agreed, differed, unchecked) = (counts.agreed, counts.differed, counts.unchecked);
        if agreed + differed + unchecked > 0 {
            writeln!(
                out,
                "  {name} {agreed} agree, {differed} differ, {unchecked} not there or not comparable"
            )?;
        }
    }
    writeln!(out, "  voids        {}, incidents {}", result.voids, result.incidents)?;
    writeln!(out, "events by origin")?;
    for (origin, events) in &result.origins {
        writeln!(out, "  {events:>9}  {origin}")?;
    }
    let (positions, whole) = (result.invariant_checks, result.whole_state_checks);
    writeln!(
        out,
        "invariants, judged after each of {positions} events, and at {whole} over the whole state"
    )?;
    for finding in &result.invariants {
        // What is not judged has nothing to say of how.
        let (verdict, scope) = match &finding.verdict {
            Verdict::NotApplicable(why) => (format!("not judged: {why}"), None),
            Verdict::Holds => ("holds".to_owned(), Some(finding.scope)),
            Verdict::Broken(why) => (format!("BROKEN: {why}"), Some(finding.scope)),
        };
        writeln!(out, "  {} {}: {verdict}", finding.id, finding.rule)?;
        scope.iter().try_for_each(|scope| writeln!(out, "         judged: {scope}"))?;
    }
    for note in &result.notes {
        writeln!(out, "note: {note}")?;
    }
    for problem in &result.problems {
        writeln!(out, "problem: {problem}")?;
    }
    match result.problem_count {
        0 if result.replay_ok => writeln!(out, "ok: {} events {}", result.events, claim(result)),
        count => {
            let first = result.first_bad.map_or_else(
                || "none of them in the log itself".to_owned(),
                |first| format!("the first at position {first}"),
            );
            let trusted = result.trusted;
            writeln!(
                out,
                "NOT OK: {count} problems, {first}; checkpoints that agree cover {trusted} events, nothing is claimed beyond"
            )
        }
    }
}

/// What may be said of a log without a problem: as much as was compared from outside, and no more.
fn claim(result: &Verification) -> String {
    let checkpoint = result.checkpoint_agreed.map(|size| format!("and contain your checkpoint of {size}"));
    match (result.anchor_given, checkpoint) {
        (true, Some(checkpoint)) => format!("verified from the anchor given {checkpoint}"),
        (true, None) => {
            "verified from the anchor given; no checkpoint was given, a cut at the end cannot be told".into()
        }
        (false, Some(checkpoint)) => {
            format!("agree with one another {checkpoint}; the anchor was not compared")
        }
        (false, None) => "agree with one another; neither anchor nor checkpoint was compared".into(),
    }
}
