//! Subjects are spelt in one file of the whole project.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && name != "target" {
                rust_files(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_other_file_spells_a_subject() {
    let nats = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(nats.parent().unwrap(), &mut files);
    assert!(files.len() > 50, "the project's folder was not found: {} files", files.len());
    let spells = |file: &&PathBuf| {
        let allowed = file.starts_with(nats.join("tests")) || file.starts_with(nats.join("src"));
        !allowed && std::fs::read_to_string(file).unwrap().contains("\"ast.v1.")
    };
    let guilty: Vec<_> = files.iter().filter(spells).collect();
    assert!(guilty.is_empty(), "use asterism_nats::subject::Subject instead: {guilty:?}");
    let source = rust_source_outside_subject(nats);
    assert!(source.is_empty(), "subjects belong in nats/src/subject.rs: {source:?}");
}

fn rust_source_outside_subject(nats: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    rust_files(&nats.join("src"), &mut files);
    files.retain(|file| {
        let name = file.file_name().unwrap().to_string_lossy();
        !name.starts_with("subject") && std::fs::read_to_string(file).unwrap().contains("\"ast.v1.")
    });
    files
}
