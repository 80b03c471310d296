//! What a person is told when something fails: a stable code, what, why, and the command that helps.

use std::fmt;

use serde_json::{Value, json};

/// Exit status of a failed command.
pub const EXIT_FAILED: u8 = 1;
/// Exit status of a command line that makes no sense.
pub const EXIT_USAGE: u8 = 2;

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    /// Stable code, `AST-…`.
    pub code: String,
    /// What failed.
    pub what: String,
    /// Why; empty if `what` says it.
    pub why: String,
    /// The command to try next; empty if there is none.
    pub next_command: String,
    /// Whether the command line is at fault.
    usage: bool,
}

impl CliError {
    /// An error.
    pub fn new(code: &str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            what: what.into(),
            why: why.into(),
            next_command: String::new(),
            usage: false,
        }
    }

    /// An error of the command line.
    pub fn usage(code: &str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(code, what, why) }
    }

    /// An error of another crate: its text begins with its code.
    pub fn from_text(error: impl fmt::Display) -> Self {
        let text = error.to_string();
        match text.split_once(": ").filter(|(code, _)| is_code(code)) {
            // Of several lines each has its own code; then the first stands for all.
            Some((code, rest)) if !text.contains('\n') => Self::new(code, rest, ""),
            Some((code, _)) => Self::new(code, text.clone(), ""),
            None => Self::new("AST-U000", text, ""),
        }
    }

    /// One error of everything that is wrong: a single one as it is, several one a line, each with its code.
    pub fn of_all(what: &str, problems: Vec<Self>) -> Option<Self> {
        if problems.len() < 2 {
            return problems.into_iter().next();
        }
        let lines: Vec<String> = problems.iter().map(|one| format!("  {one}")).collect();
        let first = &problems[0];
        let text = format!("{what}: {} things are wrong\n{}", problems.len(), lines.join("\n"));
        Some(Self { usage: problems.iter().all(|one| one.usage), ..Self::new(&first.code, text, "") })
    }

    /// Names the command that helps.
    #[must_use]
    pub fn next(mut self, command: impl Into<String>) -> Self {
        self.next_command = command.into();
        self
    }

    /// The process's exit status.
    pub fn exit_status(&self) -> u8 {
        if self.usage { EXIT_USAGE } else { EXIT_FAILED }
    }

    /// For machines: `{"error":{"code":…,"what":…,"why":…,"next":…}}`.
    pub fn to_json(&self) -> Value {
        let Self { code, what, why, next_command, .. } = self;
        json!({ "error": { "code": code, "what": what, "why": why, "next": next_command } })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A list of problems brings a code in each line.
        if !self.what.starts_with(&self.code) {
            write!(f, "{}: ", self.code)?;
        }
        f.write_str(&self.what)?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        if !self.next_command.is_empty() {
            write!(f, "; next: {}", self.next_command)?;
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

/// `AST-` and what follows, as every code is spelt.
fn is_code(text: &str) -> bool {
    text.strip_prefix("AST-").is_some_and(|rest| {
        (4..=6).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    })
}

/// Conversions of errors that bring their own code.
macro_rules! from_coded {
    ($($error:ty => $next:expr),* $(,)?) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::from_text(error).next($next)
            }
        })*
    };
}

from_coded! {
    asterism_nats::Error => "asterism doctor",
    asterism_nats::SubjectError => "asterism config check",
    asterism_object_store::Error => "asterism doctor",
    asterism_runtime::archive::ArchiveError => "asterism archive list",
    asterism_runtime::config::ConfigError => "asterism config check",
    asterism_runtime::keys::KeyringError => "asterism doctor",
    asterism_media_sync::publish::Error => "",
    crate::import::Error => "",
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_names_code_what_why_and_next_and_leaves_out_what_is_missing() {
        let full = CliError::new("AST-U001", "nothing done", "no server").next("asterism doctor");
        assert_eq!(full.to_string(), "AST-U001: nothing done: no server; next: asterism doctor");
        assert_eq!(CliError::new("AST-U001", "nothing done", "").to_string(), "AST-U001: nothing done");
        assert_eq!(full.exit_status(), EXIT_FAILED);
        assert_eq!(CliError::usage("AST-U002", "x", "y").exit_status(), EXIT_USAGE);
        assert_eq!(full.to_json()["error"]["next"], "asterism doctor");
    }

    #[test]
    fn errors_of_other_crates_keep_their_code() {
        let one = CliError::from_text("AST-N002: no server: start one");
        assert_eq!((one.code.as_str(), one.what.as_str()), ("AST-N002", "no server: start one"));
        let two = CliError::from_text("AST-C003: a\nAST-C004: b");
        assert_eq!((two.code.as_str(), two.to_string().as_str()), ("AST-C003", "AST-C003: a\nAST-C004: b"));
        assert_eq!(CliError::from_text("plain").to_string(), "AST-U000: plain");
    }

    proptest! {
        #[test]
        fn any_text_becomes_an_error_without_panic(text in "(AST-[A-Z0-9]{0,8})?(: )?\\PC{0,60}") {
            let error = CliError::from_text(&text);
            prop_assert!(error.to_string().contains(text.trim_end_matches(": ")) || error.code == "AST-U000");
        }
    }
}
