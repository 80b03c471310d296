//! The house rules, run on this repository. What each rule is and why: `asterism_tests::tidy`.
#![allow(clippy::expect_used)]

use std::sync::OnceLock;

use asterism_tests::tidy::{codes, graph::Graph, layers, licence, output_of, repository, text};

/// The workspace's graph with all features on: a rule must hold for the largest build.
fn graph() -> &'static Graph {
    static GRAPH: OnceLock<Graph> = OnceLock::new();
    GRAPH.get_or_init(|| {
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let json = output_of(cargo, &["metadata", "--format-version", "1", "--all-features", "--locked"]);
        Graph::parse(&json.expect("cargo metadata runs")).expect("cargo metadata is understood")
    })
}

/// Every committed text file.
fn files() -> &'static [text::File] {
    static FILES: OnceLock<Vec<text::File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let list = output_of("git", &["ls-files", "-z"]).expect("git lists the committed files");
        let read =
            |path: &str| Some((path.to_owned(), std::fs::read_to_string(repository().join(path)).ok()?));
        list.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect()
    })
}

#[track_caller]
fn clean(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn crates_depend_downwards_only() {
    clean(&layers::direction(graph()));
}

#[test]
fn outside_crates_have_owners() {
    clean(&layers::owners(graph()));
}

#[test]
fn pure_crates_and_the_auditor_reach_no_network() {
    clean(&layers::reach(graph()));
}

#[test]
fn cloud_sdks_are_behind_a_feature() {
    clean(&layers::cloud_is_optional(graph()));
}

#[test]
fn folder_and_crate_name_agree() {
    clean(&layers::folders(graph(), &repository().to_string_lossy()));
}

#[test]
fn licences_sources_and_versions_are_fine() {
    clean(&licence::licences(graph()));
    clean(&licence::sources(graph()));
    clean(&licence::wildcards(graph()));
    let deny = std::fs::read_to_string(repository().join("deny.toml")).expect("deny.toml is there");
    clean(&licence::same_as_deny(&deny));
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let root = repository();
    let manifests: Vec<_> = graph()
        .own()
        .map(|p| format!("{}/Cargo.toml", p.folder))
        .map(|path| {
            (path.clone(), std::fs::read_to_string(root.join(&path)).expect("a manifest is readable"))
        })
        .collect();
    assert!(manifests.len() > 10, "only {} manifests", manifests.len());
    clean(&text::lints(&manifests));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    assert!(files().len() > 20, "only {} committed files", files().len());
    clean(&text::length(files()));
    clean(&text::module_docs(files()));
}

#[test]
fn subjects_are_spelled_in_one_file() {
    clean(&text::subjects(files()));
}

#[test]
fn each_error_code_is_given_out_by_one_crate() {
    let all = codes::all(files());
    assert!(all.len() > 100, "only {} codes: {all:?}", all.len());
    clean(&codes::unique(files()));
}

#[test]
fn no_test_is_switched_off_and_no_stub_pretends() {
    clean(&text::ignored(files()));
    clean(&text::stubs(files()));
}

#[test]
fn nothing_committed_names_a_host_of_a_registry_or_a_folder_of_a_machine() {
    clean(&text::private(files()));
}
