//! The program `asterism` beside a stack: what a command printed, or that it was refused.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::stack::{Stack, program};

/// Runs a command in the stack's folder, with its configuration.
fn asterism(stack: &Stack, words: &[&str]) -> Output {
    let config = stack.path().join("asterism.toml");
    let mut command = Command::new(program("asterism"));
    let command = command.arg("--json").arg("--config").arg(config).args(words).stdin(Stdio::null());
    command.current_dir(stack.path()).output().unwrap()
}

/// A command that needs no system, and what it printed.
pub fn alone(words: &[&str]) -> Value {
    let ran =
        Command::new(program("asterism")).arg("--json").args(words).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// A command that succeeds, and what it printed.
pub fn done(stack: &Stack, words: &[&str]) -> Value {
    let ran = asterism(stack, words);
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// A command that succeeds, and the JSON lines it printed.
pub fn lines(stack: &Stack, words: &[&str]) -> Vec<Value> {
    let ran = asterism(stack, words);
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8(ran.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A command that fails and says so: its code, or a word of it.
pub fn refused(stack: &Stack, words: &[&str], why: &str) {
    let ran = asterism(stack, words);
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!ran.status.success() && said.contains(why), "{words:?}: {said}");
}
