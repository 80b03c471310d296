//! Flow documents in, golden text out: `flows/*.walk` walk a flow, `flows/bad-*.toml` are refused.
//!
//! `UPDATE_EXPECT=1 cargo test -p asterism-domain --test flows` writes the golden files anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods)] // the tests of a pure crate may read their own files

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use asterism_domain::logic::{Asked, Fields, Flow, next};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flows")
}

fn cases(start: &str, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() == extension)
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start))
        .collect();
    found.sort();
    found
}

fn check(golden: &Path, got: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(golden, got).unwrap();
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    assert_eq!(got, expected, "{} differs; UPDATE_EXPECT=1 accepts the new text", golden.display());
}

/// Walks a script: `start`, `STATUS [digits]` from where the walk is, or `from STATE STATUS [digits]`.
fn walk(script: &str) -> String {
    let mut lines = script.lines();
    let file = lines.next().unwrap().strip_prefix("flow ").expect("the first line names the flow");
    let flow = Flow::parse(&fs::read_to_string(folder().join(file)).unwrap()).expect(file);
    let mut out = format!(
        "flow {} id {}\nprompts {}\nfallback {}\n",
        flow.name(),
        flow.id(),
        flow.prompts().join(" "),
        flow.fallback_reply()
    );
    let (mut at, mut vars) = (String::new(), Fields::new());
    for line in lines {
        if line.starts_with('#') {
            writeln!(out, "\n{line}").unwrap();
            continue;
        }
        let mut words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "start" => {
                (at, words) = (String::new(), vec!["-"]);
                vars.clear();
            }
            "from" => (at, words) = (words[1].to_owned(), words[2..].to_vec()),
            _ => {}
        }
        let (status, digits) = (words[0], words.get(1).copied().unwrap_or_default());
        let asked = Asked { state: &at, status, digits, fields: &Fields::new(), vars: &vars };
        let step = next(&flow, &asked);
        let from = if at.is_empty() { "(start)" } else { &at };
        write!(out, "{from} {} -> {} {}", words.join(" "), step.next_state, step.reply).unwrap();
        write!(out, "{}", step.reason.map(|reason| format!(" ({reason})")).unwrap_or_default()).unwrap();
        for tag in &step.tags {
            write!(out, " #{tag}").unwrap();
        }
        for (name, value) in step.vars.iter().filter(|(name, value)| vars.get(*name) != Some(value)) {
            write!(out, " {name}={value}").unwrap();
        }
        writeln!(out).unwrap();
        (at, vars) = (step.next_state, step.vars);
    }
    out
}

#[test]
fn walks_give_their_golden_text() {
    let scripts = cases("", "walk");
    assert!(scripts.len() >= 2, "the walks are not where they should be");
    for script in scripts {
        check(&script.with_extension("out"), &walk(&fs::read_to_string(&script).unwrap()));
    }
}

#[test]
fn bad_flows_are_refused_with_every_place_and_reason() {
    let bad = cases("bad-", "toml");
    assert!(bad.len() >= 4, "the bad flows are not where they should be");
    for path in bad {
        let name = path.file_name().unwrap().to_str().unwrap();
        let problems = Flow::parse(&fs::read_to_string(&path).unwrap()).expect_err(name);
        assert!(!problems.is_empty(), "{name} was refused without a reason");
        let text: String = problems.iter().map(|problem| problem.in_file(name) + "\n").collect();
        check(&path.with_extension("out"), &text);
    }
}
