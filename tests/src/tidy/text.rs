//! Rules on the text of committed files.

/// One committed file: path from the repository's root, and its content.
pub type File = (String, String);

/// Hard limit of a Rust file; 300 is the aim.
const LINES_MAX: usize = 500;

/// The one file where subjects are spelled, its golden tests, and tests that speak to the server behind its back.
const SUBJECTS: &[&str] = &["nats/src/subject.rs", "nats/src/subject_tests.rs", "nats/tests/"];

// Put together so that this file does not hold what it forbids.
const SUBJECT_LITERAL: &str = concat!("\"ast", ".v1.");
const IGNORED: &str = concat!("#[igno", "re");
const STUBS: &[&str] = &[concat!("todo", "!("), concat!("unimplemen", "ted!(")];

/// Hosts and folders of one machine or one registry: scripts use what the machine's own tools are configured for.
const PRIVATE: &[&str] = &[
    concat!("deb.deb", "ian.org"),
    concat!("archive.ubun", "tu.com"),
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("index.crates", ".io/"),
    concat!("static.crates", ".io/"),
    concat!("registry.npm", "js.org"),
    concat!("proxy.gol", "ang.org"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
];

fn is_rust(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extension == "rs")
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|(path, _)| is_rust(path))
}

/// No Rust file is longer than the limit.
#[must_use]
pub fn length(files: &[File]) -> Vec<String> {
    rust(files)
        .map(|(path, content)| (path, content.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{path}: {lines} lines; split by meaning (limit {LINES_MAX})"))
        .collect()
}

/// Every Rust file under a `src` folder says what it is for in its first line.
#[must_use]
pub fn module_docs(files: &[File]) -> Vec<String> {
    rust(files)
        .filter(|(path, _)| path.starts_with("src/") || path.contains("/src/"))
        .filter(|(_, content)| !content.starts_with("//!"))
        .map(|(path, _)| format!("{path}: does not open with `//!`"))
        .collect()
}

/// Subjects are spelled in one file.
#[must_use]
pub fn subjects(files: &[File]) -> Vec<String> {
    lines_with(
        rust(files).filter(|(path, _)| !SUBJECTS.iter().any(|known| path.starts_with(known))),
        &[SUBJECT_LITERAL],
    )
}

/// No test is switched off.
#[must_use]
pub fn ignored(files: &[File]) -> Vec<String> {
    lines_with(rust(files), &[IGNORED])
}

/// No stub pretends.
#[must_use]
pub fn stubs(files: &[File]) -> Vec<String> {
    lines_with(rust(files), STUBS)
}

/// No committed file names a registry's host or a folder of one machine.
#[must_use]
pub fn private(files: &[File]) -> Vec<String> {
    lines_with(files.iter(), PRIVATE)
}

/// Every crate takes the workspace's lints. `manifests` are the Cargo.toml files of the members.
#[must_use]
pub fn lints(manifests: &[File]) -> Vec<String> {
    manifests
        .iter()
        .filter(|(_, content)| {
            let mut lines = content.lines().map(str::trim).skip_while(|l| *l != "[lints]").skip(1);
            !lines
                .by_ref()
                .take_while(|l| !l.starts_with('['))
                .any(|l| l.replace(' ', "") == "workspace=true")
        })
        .map(|(path, _)| format!("{path}: no `[lints] workspace = true`"))
        .collect()
}

fn lines_with<'a>(files: impl Iterator<Item = &'a File>, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, content) in files {
        for (number, line) in content.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{path}:{}: `{word}`", number + 1));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        File, IGNORED, PRIVATE, STUBS, SUBJECT_LITERAL, ignored, length, lints, module_docs, private, stubs,
        subjects,
    };

    fn file(path: &str, content: &str) -> File {
        (path.to_owned(), content.to_owned())
    }

    #[test]
    fn a_file_of_501_lines_is_found() {
        assert_eq!(length(&[file("a/src/x.rs", &"x\n".repeat(500))]), Vec::<String>::new());
        assert_eq!(length(&[file("a/src/x.rs", &"x\n".repeat(501))]).len(), 1);
        assert_eq!(length(&[file("a/x.md", &"x\n".repeat(501))]), Vec::<String>::new());
    }

    #[test]
    fn a_module_without_a_first_line_is_found() {
        let files =
            [file("a/src/x.rs", "use y;\n"), file("a/src/z.rs", "//! Why.\n"), file("a/build.rs", "fn main")];
        assert_eq!(module_docs(&files), ["a/src/x.rs: does not open with `//!`"]);
    }

    #[test]
    fn a_subject_literal_elsewhere_is_found() {
        let line = format!("//! x\nlet s = {SUBJECT_LITERAL}cmd\";\n");
        assert_eq!(subjects(&[file("nats/src/subject.rs", &line)]), Vec::<String>::new());
        assert_eq!(subjects(&[file("nats/src/stream.rs", &line)]).len(), 1);
    }

    #[test]
    fn a_test_switched_off_or_a_stub_is_found() {
        assert_eq!(ignored(&[file("tests/tests/x.rs", &format!("{IGNORED}]\nfn x() {{}}"))]).len(), 1);
        for stub in STUBS {
            assert_eq!(stubs(&[file("a/src/x.rs", &format!("fn x() {{ {stub}) }}"))]).len(), 1, "{stub}");
        }
    }

    #[test]
    fn a_host_or_folder_of_one_machine_is_found_in_any_file() {
        for word in PRIVATE {
            assert_eq!(private(&[file("Makefile", &format!("fetch {word}x"))]).len(), 1, "{word}");
        }
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let fine = file("a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n");
        assert_eq!(lints(&[fine]), Vec::<String>::new());
        for bad in ["[package]\n", "[lints]\n[features]\nworkspace = true\n", "[lints]\nworkspace = false\n"]
        {
            assert_eq!(lints(&[file("a/Cargo.toml", bad)]).len(), 1, "{bad}");
        }
    }
}
