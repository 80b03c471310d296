//! Error codes: each means one thing, so each is given out by one crate.

use std::collections::{BTreeMap, BTreeSet};

use super::text::File;

/// Codes of the runtime that services pass on in errors of their own, with the same meaning.
const PASSED_ON: [&str; 2] = ["AST-R031", "AST-R033"];
/// What stands before a code that is only looked at.
const LOOKED_AT: [&str; 5] = ["map_or(", "contains(", "starts_with(", "matches!(", "eq("];
// Put together so that this file gives out no code.
const BEGIN: &str = concat!("\"AS", "T-");

/// Each code is given out by one crate only. `files` are the committed files.
#[must_use]
pub fn unique(files: &[File]) -> Vec<String> {
    let mut given: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
    for (path, content) in files {
        let Some((folder, _)) = path.split_once("/src/").filter(|_| is_program(path)) else { continue };
        for (code, line) in codes(content) {
            given.entry(code).or_default().entry(folder).or_insert_with(|| format!("{path}:{line}"));
        }
    }
    let several =
        given.into_iter().filter(|(code, places)| places.len() > 1 && !PASSED_ON.contains(&code.as_str()));
    several
        .map(|(code, places)| {
            let places: Vec<String> = places.into_values().collect();
            format!("{code} is given out by several crates: {}", places.join(", "))
        })
        .collect()
}

/// Rust that ends up in a program.
fn is_program(path: &str) -> bool {
    path.ends_with(".rs") && !path.ends_with("tests.rs") && !path.contains("/tests/")
}

/// The codes a file gives out outside of its tests, each with its first line.
fn codes(content: &str) -> BTreeMap<String, usize> {
    let program = content.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut found = BTreeMap::new();
    for (at, _) in program.match_indices(BEGIN) {
        let (before, rest) = (&program[..at], &program[at + 1..]);
        let code: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let whole = code.bytes().last().is_some_and(|last| last.is_ascii_digit());
        let comment = before.lines().last().is_some_and(|line| line.trim_start().starts_with("//"));
        if whole && !comment && gives_out(before, &rest[code.len()..]) {
            found.entry(code).or_insert_with(|| before.lines().count().max(1));
        }
    }
    found
}

/// Whether a code with this around it is given out, not compared with.
fn gives_out(before: &str, after: &str) -> bool {
    let before = before.trim_end();
    let line = before.lines().last().unwrap_or_default();
    let begins_a_text = after.starts_with(':');
    let is_an_argument = before.ends_with('(') && !LOOKED_AT.iter().any(|looked| before.ends_with(looked));
    let is_named = before.ends_with('=') && line.contains("const ") || before.ends_with("code:");
    let is_an_arm = after.trim_start_matches('"').trim_start().starts_with(['=', '|']);
    begins_a_text || (is_an_argument || is_named) && !is_an_arm
}

/// Every code that is given out, with the folder of its crate.
#[must_use]
pub fn all(files: &[File]) -> BTreeSet<String> {
    files
        .iter()
        .filter(|(path, _)| is_program(path))
        .flat_map(|(_, content)| codes(content).into_keys())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, File, all, unique};

    fn file(path: &str, content: &str) -> File {
        (path.to_owned(), content.replace("<", BEGIN))
    }

    #[test]
    fn a_code_of_two_crates_is_found_however_it_is_given_out() {
        for given in [
            "#[error(<Z001: no room: {0})]",
            "refusal(<Z001\", why)",
            "CliError::new(\n    <Z001\",\n    what,\n)",
            "const LOST: &str = <Z001\";",
            "Refusal { code: <Z001\", reason }",
            "bail!(<Z001: no\")",
        ] {
            let files =
                [file("a/src/x.rs", "#[error(<Z001: x)]"), file("b/c/src/y.rs", &format!("\n{given}\n"))];
            let line = if given.contains('\n') { 3 } else { 2 };
            let said = format!(
                "{}Z001 is given out by several crates: a/src/x.rs:1, b/c/src/y.rs:{line}",
                &BEGIN[1..]
            );
            assert_eq!(unique(&files), [said], "{given}");
            assert_eq!(all(&files).len(), 1);
        }
    }

    #[test]
    fn a_code_may_be_looked_at_anywhere_and_given_out_twice_in_one_crate() {
        let given = file("a/src/x.rs", "#[error(<Z001: x)]\n#[error(<Z001: y)]");
        for looked in [
            "matches!(code, <Z001\" | <Z002\")",
            "match code { <Z001\" => next() }",
            "if error.code == <Z001\" {}",
            "problems.first().map_or(<Z001\", |problem| problem.code)",
            "/// refusal(<Z001\")",
            "#[cfg(test)]\nmod tests { fn x() { refusal(<Z001\") } }",
        ] {
            assert_eq!(
                unique(&[given.clone(), file("b/src/y.rs", looked)]),
                Vec::<String>::new(),
                "{looked}"
            );
        }
        let test = file("b/tests/y.rs", "refusal(<Z001\")");
        assert_eq!(unique(&[given, test]), Vec::<String>::new());
    }
}
