//! Licences, sources and versions of everything linked: what cargo-deny checks, for machines that do not have it.

use super::graph::Graph;

/// Licences that may be linked into an Apache-2.0 product. `deny.toml` holds the same list.
pub const ALLOWED: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that are linked although their licence is not on the list, in [`EXCEPTION`]. It asks for the source of its
/// own files only, and these are linked as published. `deny.toml` names them too.
pub const EXCEPTED: &[&str] = &[
    "symphonia",
    "symphonia-bundle-flac",
    "symphonia-bundle-mp3",
    "symphonia-codec-vorbis",
    "symphonia-common",
    "symphonia-core",
    "symphonia-format-ogg",
    "symphonia-metadata",
];
/// The licence of [`EXCEPTED`].
pub const EXCEPTION: &str = "MPL-2.0";

/// Longest licence expression looked at, in words: real ones have below twenty.
const WORDS_MAX: usize = 200;

/// True when a choice allowed by the SPDX expression needs nothing but [`ALLOWED`]. What cannot be read is not allowed.
#[must_use]
pub fn acceptable(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    if words.is_empty() || words.len() > WORDS_MAX {
        return false;
    }
    let mut at = 0;
    any_of(&words, &mut at) == Some(true) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut fine = all_of(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        fine |= all_of(words, at)?;
    }
    Some(fine)
}

fn all_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut fine = one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        fine &= one(words, at)?;
    }
    Some(fine)
}

fn one(words: &[&str], at: &mut usize) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let fine = any_of(words, at)?;
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return closed.then_some(fine);
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1)?;
        *at += 2;
        return Some(ALLOWED.contains(&format!("{word} WITH {exception}").as_str()));
    }
    Some(ALLOWED.contains(&word))
}

/// Every package from outside has an acceptable licence.
#[must_use]
pub fn licences(graph: &Graph) -> Vec<String> {
    outside(graph)
        .filter(|p| !acceptable(&p.licence))
        .filter(|p| p.licence != EXCEPTION || !EXCEPTED.contains(&p.name.as_str()))
        .map(|p| format!("{} {}: licence `{}` is not on the list", p.name, p.version, p.licence))
        .collect()
}

/// Every package from outside comes from crates.io, never from a git repository or another registry.
#[must_use]
pub fn sources(graph: &Graph) -> Vec<String> {
    outside(graph)
        .filter(|p| !p.source.starts_with("registry+") || !p.source.ends_with("/crates.io-index"))
        .map(|p| format!("{} {} does not come from crates.io: {}", p.name, p.version, p.source))
        .collect()
}

/// No dependency of ours says `*`.
#[must_use]
pub fn wildcards(graph: &Graph) -> Vec<String> {
    graph
        .own()
        .flat_map(|p| p.dependencies.iter().map(move |d| (p, d)))
        .filter(|(_, d)| !d.local && d.requirement == "*")
        .map(|(p, d)| format!("{}: {} has no version", p.name, d.name))
        .collect()
}

/// `deny.toml` allows exactly what [`ALLOWED`] does, and excepts exactly [`EXCEPTED`].
#[must_use]
pub fn same_as_deny(deny: &str) -> Vec<String> {
    let Some(list) = deny.split("allow = [").nth(1).and_then(|rest| rest.split(']').next()) else {
        return vec!["deny.toml has no list of allowed licences".to_owned()];
    };
    let theirs: Vec<&str> =
        list.split(',').map(|l| l.trim().trim_matches('"')).filter(|l| !l.is_empty()).collect();
    let mut found = Vec::new();
    if theirs != ALLOWED {
        found.push(format!("deny.toml allows {theirs:?}, tests/src/tidy/licence.rs allows {ALLOWED:?}"));
    }
    let begin = format!("{{ allow = [\"{EXCEPTION}\"], crate = \"");
    let excepted: Vec<&str> =
        deny.lines().filter_map(|line| line.trim().strip_prefix(&begin)?.split('"').next()).collect();
    if excepted != EXCEPTED || deny.matches("], crate =").count() != excepted.len() {
        found.push(format!("deny.toml excepts {excepted:?}, tests/src/tidy/licence.rs {EXCEPTED:?}"));
    }
    found
}

fn outside(graph: &Graph) -> impl Iterator<Item = &super::graph::Package> {
    graph.packages.iter().filter(|(id, _)| !graph.members.contains(*id)).map(|(_, p)| p)
}

#[cfg(test)]
mod tests {
    use super::super::graph::planted;
    use super::{EXCEPTION, acceptable, licences, same_as_deny, sources, wildcards};

    #[test]
    fn expressions_are_judged_by_their_best_choice() {
        for fine in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(acceptable(fine), "{fine}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR GPL-3.0) AND AGPL-3.0",
            "(MIT",
            "MIT MIT",
            "MIT WITH",
            "OR",
        ] {
            assert!(!acceptable(bad), "{bad}");
        }
        assert!(!acceptable(&"( ".repeat(100_000)), "bounded");
    }

    #[test]
    fn planted_licence_source_and_wildcard_are_found() {
        let mut graph = planted::graph(&[("asterism-proto", &["copyleft"])]);
        let outside = graph.packages.get_mut("copyleft").expect("planted");
        outside.licence = "AGPL-3.0".to_owned();
        outside.source = "git+https://example.org/copyleft".to_owned();
        graph.packages.get_mut("asterism-proto").expect("planted").dependencies[0].requirement =
            "*".to_owned();
        assert_eq!(licences(&graph).len(), 1);
        assert_eq!(sources(&graph).len(), 1);
        assert_eq!(wildcards(&graph), ["asterism-proto: copyleft has no version"]);
    }

    #[test]
    fn a_licence_in_one_list_only_is_found() {
        assert_eq!(same_as_deny("allow = [\n \"MIT\",\n]\n").len(), 2);
        assert_eq!(same_as_deny("nothing").len(), 1);
        let deny = include_str!("../../../deny.toml");
        assert_eq!(same_as_deny(deny), Vec::<String>::new());
        let more =
            deny.replace("exceptions = [", "exceptions = [\n  { allow = [\"GPL-3.0\"], crate = \"x\" },");
        assert_eq!(same_as_deny(&more).len(), 1);
    }

    #[test]
    fn an_exception_is_for_its_crate_and_licence_only() {
        let mut graph = planted::graph(&[("asterism-proto", &["symphonia", "other"])]);
        for name in ["symphonia", "other"] {
            graph.packages.get_mut(name).expect("planted").licence = EXCEPTION.to_owned();
        }
        let found = licences(&graph);
        assert!(found.len() == 1 && found[0].starts_with("other "), "{found:?}");
        graph.packages.get_mut("symphonia").expect("planted").licence = "GPL-3.0".to_owned();
        assert_eq!(licences(&graph).len(), 2);
    }
}
