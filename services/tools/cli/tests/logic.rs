//! `asterism logic draw` and `logic try`, as a web developer uses them with the guide beside the examples: the guide's commands
//! on the guide's files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../compose/logic")
}

/// What a command said: status, standard output, standard error.
fn asterism(args: &[&str], keys: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_asterism"))
        .args(args)
        .current_dir(examples())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(keys.as_bytes()); // it may have ended by itself
    let ran = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr))
}

/// The example over HTTP, running.
struct Backend(Child, u16);

impl Backend {
    fn start(key: Option<&Path>) -> Self {
        let mut command = Command::new("python3");
        command.args(["-B", "http_backend.py", "0"]).args(key).current_dir(examples());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port =
            line.trim().strip_prefix("listening on ").expect("it says where it listens").parse().unwrap();
        Self(child, port)
    }

    /// An example's flow with this server's port, in a folder.
    fn flow(&self, dir: &Path, name: &str) -> String {
        let text = std::fs::read_to_string(examples().join(name)).unwrap();
        assert!(text.contains("127.0.0.1:8080"), "{name} names the guide's port");
        let path = dir.join(name);
        std::fs::write(&path, text.replace(":8080", &format!(":{}", self.1))).unwrap();
        path.display().to_string()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Verbs and tags of each step, and how it ended.
fn steps(out: &str) -> (Vec<String>, String) {
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, steps) = lines.split_last().unwrap();
    let shown =
        |step: &Value| format!("{} {} {}", step["verb"].as_str().unwrap(), step["vars"], step["tags"]);
    (steps.iter().map(shown).collect(), end["end"].as_str().unwrap().to_owned())
}

#[test]
fn a_flow_is_walked_without_a_phone_in_words_and_as_json() {
    let (status, out, err) = asterism(&["logic", "try", "survey.toml"], "2\n3\n\n");
    assert_eq!(status, 0, "{err}");
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "   1  ask greeting                         [language]",
            "          menu",
            "      1 key, 8 s",
            "   2  ask q1                               [q1]",
            "      1 key, 8 s",
            "      tag de",
            "      language = de",
            "   3  ask q2                               [q2]",
            "      1 key, 8 s",
            "      q1 = 3",
            "   4  play bye                             [bye]",
            "      q2 =",
            "   5  hang up                              [end]",
            "      the flow hangs up",
        ],
        "{out}"
    );
    let (status, out, _) = asterism(&["--json", "logic", "try", "survey.toml"], "1\n9\n");
    let (steps, end) = steps(&out);
    assert_eq!((status, end.as_str()), (0, "the flow hangs up"));
    assert_eq!(steps.last().unwrap(), "optout|bye {\"language\":\"en\",\"q1\":\"9\"} [\"opted-out\"]");
    let (_, out, _) = asterism(&["logic", "try", "survey.toml"], "2\n");
    assert!(out.ends_with("the caller hangs up\n"), "{out}");
    let (status, _, err) = asterism(&["logic", "try", "survey.toml"], "x\n");
    assert!(status == 2 && err.contains("AST-Q142") && err.contains("'x' is no key"), "{err}");
    let (status, _, err) = asterism(&["logic", "try", "survey.toml", "--field", "colour=red"], "");
    assert!(status == 2 && err.contains("AST-Q140"), "{err}");
}

#[test]
fn the_guides_server_is_asked_as_in_a_call_and_does_what_the_file_does() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Backend::start(None));
    let flow = server.flow(dir.path(), "http.toml");
    assert_eq!(asterism(&["logic", "check", &flow], "").0, 0);
    for keys in ["2\n3\n1\n5\n", "1\n9\n", "\n\n", "7\n1\n3\n3\n9\n", "2\n"] {
        let words = ["--json", "logic", "try", "--deadline-ms", "10000"];
        let own = asterism(&[&words[..], &["survey.toml"]].concat(), keys);
        let asked = asterism(&[&words[..], &[&flow]].concat(), keys);
        assert_eq!((own.0, asked.0), (0, 0), "{own:?} {asked:?}");
        assert_eq!(steps(&own.1), steps(&asked.1), "{keys:?}");
    }
    drop(server);
    let (status, out, _) = asterism(&["logic", "try", &flow], "");
    assert_eq!(status, 0);
    assert!(out.contains("! AST-Q121: no connection") && out.contains("play sorry"), "{out}");
}

#[test]
fn a_signed_question_is_answered_and_one_with_another_key_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (key, wrong) = (dir.path().join("survey.key"), dir.path().join("wrong.key"));
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::write(&wrong, "another-key-that-is-long-enough\n").unwrap();
    let server = Backend::start(Some(&key));
    let flow = server.flow(dir.path(), "http-signed.toml");
    let with = |key: &Path| {
        let key = format!("survey={}", key.display());
        asterism(&["logic", "try", &flow, "--key", &key, "--deadline-ms", "10000"], "2\n").1
    };
    let out = with(&key);
    assert!(out.contains("ask q1") && !out.contains('!'), "{out}");
    let out = with(&wrong);
    assert!(out.contains("! AST-Q121: it said 403") && out.contains("play sorry"), "{out}");
    let (_, out, _) = asterism(&["logic", "try", &flow], "");
    assert!(out.contains("! AST-Q124") && out.contains("play sorry"), "no key at all: {out}");
    let unsigned = server.flow(dir.path(), "http.toml");
    assert!(asterism(&["logic", "try", &unsigned], "").1.contains("it said 403"));
}

#[test]
fn the_guides_flow_is_the_one_in_the_folder() {
    let guide = std::fs::read_to_string(examples().join("README.md")).unwrap();
    let block: Vec<&str> = guide
        .lines()
        .skip_while(|line| !line.starts_with("    name = \"survey\""))
        .take_while(|line| line.starts_with("    "))
        .map(|line| line.split('#').next().unwrap().trim())
        .collect();
    let file = std::fs::read_to_string(examples().join("http.toml")).unwrap();
    let file: Vec<&str> = file
        .lines()
        .map(|line| line.split('#').next().unwrap().trim())
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(block, file);
}

#[test]
fn a_flow_is_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("survey.svg");
    let (status, out, err) =
        asterism(&["logic", "draw", "survey.toml", "--out", picture.to_str().unwrap()], "");
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("survey.svg: 19 states"), "{out}");
    let file = std::fs::read_to_string(&picture).unwrap();
    assert_eq!(asterism(&["logic", "draw", "survey.toml"], "").1, file, "the same each time");
    let (_, json, _) = asterism(&["--json", "logic", "draw", "survey.toml"], "");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["svg"], file);
    let (status, _, err) = asterism(&["logic", "draw", "survey.toml", "--out", "/nowhere/a.svg"], "");
    assert!(status == 1 && err.contains("AST-Q143"), "{err}");
    let (status, _, err) = asterism(&["logic", "draw", "survey.py"], "");
    assert!(status == 1 && err.contains("AST-F"), "{err}");
}
