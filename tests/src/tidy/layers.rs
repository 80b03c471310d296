//! The dependency direction of ARCHITECTURE.md as a table, and what each crate may reach outside the workspace.

use super::graph::{Graph, Kind};

/// Crate (without `asterism-`) and the crates of ours it may link.
const LAYERS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("audio", &[]),
    ("domain", &["proto"]),
    ("nats", &["proto"]),
    ("event-log", &["proto"]),
    ("object-store", &[]),
    ("runtime", &["proto", "domain", "nats", "event-log", "object-store"]),
    ("dialer", SERVICE),
    ("scaler", SERVICE),
    ("logic-responder", SERVICE),
    ("media-sync", &["proto", "audio", "domain", "nats", "event-log", "object-store", "runtime"]),
    ("ledger", SERVICE),
    ("agent", &["proto", "domain", "nats", "object-store", "runtime"]),
    // The simulator speaks AMI with the agent's own codec.
    ("pbx-sim", &["proto", "agent"]),
    ("replay", &["proto", "domain", "event-log"]),
    // The policy lab runs the domain's own staffing, and its plans the domain's own reducer, in virtual time.
    ("simulator", &["proto", "domain"]),
    ("cli", EVERYTHING),
    // EC2 for tests: crates name it for their tests only.
    ("ec2-proxy", &[]),
    ("tests", EVERYTHING),
];

/// Services meet on the bus only, never in a manifest.
const SERVICE: &[&str] = &["proto", "domain", "nats", "event-log", "object-store", "runtime"];

/// Everything but `tests`, which nothing links.
const EVERYTHING: &[&str] = &[
    "proto",
    "audio",
    "domain",
    "nats",
    "event-log",
    "object-store",
    "runtime",
    "dialer",
    "scaler",
    "logic-responder",
    "media-sync",
    "ledger",
    "agent",
    "pbx-sim",
    "replay",
    "simulator",
    "cli",
];

/// A crate from outside (a name, or a prefix with a `*` at its end) and the only crates of ours that may name it as a
/// dependency. `tests` may name anything: the benchmarks compare with the raw parts.
const ONLY: &[(&str, &[&str], &str)] = &[
    ("async-nats", &["nats"], "one crate speaks NATS"),
    ("sled", &["event-log", "agent"], "the log's segments and the agent's spool are the only stores"),
    ("symphonia*", &["audio"], "one crate decodes what strangers recorded"),
    ("aws-sdk-ec2", &["scaler"], "the scaler is the only owner of instances"),
    ("aws-sdk-s3", &["object-store"], "one file of one crate speaks S3"),
    (
        "anyhow",
        &["cli", "replay", "agent", "pbx-sim", "dialer", "scaler", "logic-responder", "media-sync", "ledger"],
        "libraries have typed errors",
    ),
];

/// A crate of ours and what it must not reach, however far away (prefix with a `*` at its end), with the reason.
const OUT_OF_REACH: &[(&str, &[&str], &str)] = &[
    ("domain", &["tokio", "async-nats", "sled", "tracing", "hyper", "mio", "aws-*"], "decisions are pure"),
    ("proto", &["tokio", "async-nats", "sled", "tracing", "hyper", "mio", "aws-*"], "the format is pure"),
    ("audio", &["tokio", "async-nats", "sled", "tracing", "hyper", "mio", "aws-*"], "bytes in, bytes out"),
    ("event-log", &["async-nats", "hyper", "aws-*"], "the log stores bytes; it speaks to nobody"),
    ("replay", &["async-nats", "hyper", "reqwest", "rustls", "aws-*"], "an auditor's program cannot act"),
    ("simulator", &["tokio", "async-nats", "hyper", "mio", "aws-*"], "virtual time has no network"),
];

/// A crate of ours and what its manifest must not name (it may come in below, unused), with the reason.
const UNNAMED: &[(&str, &[&str], &str)] = &[(
    "domain",
    // chrono is there for the calendar, without its clock (`clippy.toml` bans that too).
    &["rand", "getrandom", "uuid", "time", "nix"],
    "time, ids and randomness are inputs",
)];

fn short(name: &str) -> &str {
    name.strip_prefix("asterism-").unwrap_or(name)
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}

/// Our crates link only what the table allows; a crate that is not in the table is a violation too.
#[must_use]
pub fn direction(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for package in graph.own() {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == short(&package.name)) else {
            found.push(format!(
                "{} has no place in the table of layers (tests/src/tidy/layers.rs)",
                package.name
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.name.starts_with("asterism-")) {
            let to = short(&dependency.name);
            // A crate's tests may use what it may not link, but nothing ever uses the harness.
            let fine = if dependency.kind == Kind::Dev { to != "tests" } else { allowed.contains(&to) };
            if !fine {
                found.push(format!("{} may not depend on {}", package.name, dependency.name));
            }
        }
    }
    found
}

/// Some outside crates belong to one crate of ours.
#[must_use]
pub fn owners(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for package in graph.own().filter(|p| short(&p.name) != "tests") {
        for dependency in package.dependencies.iter().filter(|d| d.kind != Kind::Dev) {
            for (pattern, owners, why) in ONLY {
                if matches(pattern, &dependency.name) && !owners.contains(&short(&package.name)) {
                    found.push(format!("{} may not depend on {}: {why}", package.name, dependency.name));
                }
            }
            for (_, names, why) in UNNAMED.iter().filter(|(name, ..)| *name == short(&package.name)) {
                if names.contains(&dependency.name.as_str()) {
                    found.push(format!("{} may not depend on {}: {why}", package.name, dependency.name));
                }
            }
        }
    }
    found
}

/// Some crates must not reach others by any way.
#[must_use]
pub fn reach(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (from, patterns, why) in OUT_OF_REACH {
        for pattern in *patterns {
            if let Some(path) = graph.path(&format!("asterism-{from}"), |name| matches(pattern, name)) {
                found.push(format!("asterism-{from} must not reach {pattern}: {why}: {path}"));
            }
        }
    }
    found
}

/// The cloud SDKs come in by the feature `aws` only.
#[must_use]
pub fn cloud_is_optional(graph: &Graph) -> Vec<String> {
    graph
        .own()
        .filter(|p| short(&p.name) != "tests")
        .flat_map(|p| p.dependencies.iter().map(move |d| (p, d)))
        .filter(|(_, d)| d.name.starts_with("aws-") && d.kind == Kind::Normal && !d.optional)
        .map(|(p, d)| format!("{}: {} must be optional (feature `aws`)", p.name, d.name))
        .collect()
}

/// Crate `asterism-X` lives in folder X. `root` is the repository's folder.
#[must_use]
pub fn folders(graph: &Graph, root: &str) -> Vec<String> {
    graph
        .own()
        .filter_map(|package| {
            let folder = package.folder.strip_prefix(root).unwrap_or(&package.folder).trim_start_matches('/');
            let last = folder.rsplit('/').next().unwrap_or(folder);
            // The agent's folder carries the name of what it stands beside.
            let fine = last == short(&package.name)
                || (package.name == "asterism-agent" && folder == "asterisk-agent");
            (!fine || !package.name.starts_with("asterism-"))
                .then(|| format!("{} lives in {folder}: folder and crate name must agree", package.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Kind, planted};
    use super::{cloud_is_optional, direction, folders, owners, reach};

    #[test]
    fn upward_and_sideways_edges_are_found() {
        let fine = planted::graph(&[("asterism-domain", &["asterism-proto"]), ("asterism-proto", &[])]);
        assert_eq!(direction(&fine), Vec::<String>::new());
        let up = planted::graph(&[("asterism-domain", &["asterism-runtime"])]);
        assert_eq!(direction(&up), ["asterism-domain may not depend on asterism-runtime"]);
        let sideways = planted::graph(&[("asterism-dialer", &["asterism-scaler"])]);
        assert_eq!(direction(&sideways).len(), 1);
        let unknown = planted::graph(&[("asterism-newcomer", &[])]);
        assert!(direction(&unknown)[0].contains("no place in the table"));
    }

    #[test]
    fn nothing_uses_the_harness_not_even_tests() {
        let mut graph = planted::graph(&[("asterism-proto", &[])]);
        let proto = graph.packages.get_mut("asterism-proto").expect("planted");
        proto.dependencies.push(planted::dependency("asterism-domain", Kind::Dev));
        assert_eq!(direction(&graph), Vec::<String>::new());
        let proto = graph.packages.get_mut("asterism-proto").expect("planted");
        proto.dependencies.push(planted::dependency("asterism-tests", Kind::Dev));
        assert_eq!(direction(&graph).len(), 1);
    }

    #[test]
    fn outside_crates_have_owners() {
        let graph = planted::graph(&[
            ("asterism-dialer", &["async-nats", "sled"]),
            ("asterism-nats", &["async-nats"]),
            ("asterism-domain", &["rand", "anyhow"]),
            ("asterism-tests", &["async-nats", "sled"]),
        ]);
        let found = owners(&graph).join("\n");
        assert_eq!(found.lines().count(), 4, "{found}");
        assert!(
            found.contains("asterism-dialer may not depend on async-nats: one crate speaks NATS"),
            "{found}"
        );
        assert!(found.contains("asterism-domain may not depend on rand"), "{found}");
    }

    #[test]
    fn a_far_away_reach_is_found_with_its_path() {
        let graph = planted::graph(&[
            ("asterism-replay", &["asterism-domain"]),
            ("asterism-domain", &["harmless"]),
            ("harmless", &["aws-config", "tokio"]),
        ]);
        let found = reach(&graph).join("\n");
        assert!(found.contains("asterism-replay -> asterism-domain -> harmless -> aws-config"), "{found}");
        assert!(found.contains("asterism-domain must not reach tokio"), "{found}");
        assert!(!found.contains("asterism-replay must not reach tokio"), "{found}");
    }

    #[test]
    fn a_cloud_sdk_outside_its_feature_is_found() {
        let mut graph = planted::graph(&[("asterism-scaler", &["aws-sdk-ec2"])]);
        assert_eq!(cloud_is_optional(&graph).len(), 1);
        graph.packages.get_mut("asterism-scaler").expect("planted").dependencies[0].optional = true;
        assert_eq!(cloud_is_optional(&graph), Vec::<String>::new());
    }

    #[test]
    fn a_crate_in_the_wrong_folder_is_found() {
        let mut graph = planted::graph(&[("asterism-agent", &[]), ("asterism-dialer", &[])]);
        graph.packages.get_mut("asterism-agent").expect("planted").folder = "/r/asterisk-agent".to_owned();
        graph.packages.get_mut("asterism-dialer").expect("planted").folder = "/r/services/dialer".to_owned();
        assert_eq!(folders(&graph, "/r"), Vec::<String>::new());
        graph.packages.get_mut("asterism-dialer").expect("planted").folder =
            "/r/services/dialling".to_owned();
        assert_eq!(folders(&graph, "/r").len(), 1);
    }
}
