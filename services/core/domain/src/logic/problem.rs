//! What is wrong with a flow document, where, and why.

use std::fmt;
use std::ops::Range;

/// A place in the document, in bytes.
pub(super) type Span = Range<usize>;

/// Stable codes of flow problems. Each has one meaning for ever.
pub mod code {
    /// The document is too long, or is no UTF-8 text.
    pub const DOCUMENT: &str = "AST-F001";
    /// The document is no TOML.
    pub const SYNTAX: &str = "AST-F002";
    /// A key that has no meaning here.
    pub const UNKNOWN_KEY: &str = "AST-F003";
    /// A value of the wrong type.
    pub const WRONG_TYPE: &str = "AST-F004";
    /// A key that must be there is not.
    pub const MISSING_KEY: &str = "AST-F005";
    /// A number or a list outside its bounds.
    pub const OUT_OF_BOUNDS: &str = "AST-F006";
    /// A name outside the alphabet of names.
    pub const BAD_NAME: &str = "AST-F007";
    /// A state that is named but not defined.
    pub const UNKNOWN_STATE: &str = "AST-F008";
    /// A state no call can get to.
    pub const UNREACHABLE: &str = "AST-F009";
    /// States that follow one another for ever without waiting for the caller or the clock.
    pub const BUSY_LOOP: &str = "AST-F010";
    /// The fallback does not end by itself.
    pub const FALLBACK: &str = "AST-F011";
    /// A state with no verb, or with more than one.
    pub const VERB: &str = "AST-F012";
    /// Keys nobody can press in this gather.
    pub const DIGITS: &str = "AST-F013";
    /// A destination that is none, or that nobody has described.
    pub const DESTINATION: &str = "AST-F014";
}

/// One problem of a flow document. The text of the document is quoted only where it is a key or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowProblem {
    /// Stable code, `AST-F0xx` (see [`code`]).
    pub code: &'static str,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Path of keys, like `states.menu.on."3"`; empty when the whole document is meant.
    pub path: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl FlowProblem {
    /// The problem with its file in front, as editors and people find it: `file:line:column: code path: reason`.
    pub fn in_file(&self, file: &str) -> String {
        format!("{file}:{self}")
    }
}

impl fmt::Display for FlowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.code)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for FlowProblem {}

/// Collects the problems of one document and turns byte offsets into lines and columns.
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<FlowProblem>,
    /// Every state the document names, also inside states that cannot be read as a whole.
    pub(super) named: Vec<Target>,
}

/// A state that is named somewhere.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) state: String,
    pub(super) at: Span,
    pub(super) path: String,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: Vec::new(), named: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn add(&mut self, code: &'static str, at: &Span, path: &str, reason: impl Into<String>) {
        let (line, column) = self.position(at.start);
        let problem = FlowProblem { code, line, column, path: path.to_owned(), reason: reason.into() };
        if self.found.len() < super::MAX_PROBLEMS {
            self.found.push(problem);
        }
    }

    /// All problems in the order of the document.
    pub(super) fn into_sorted(mut self) -> Vec<FlowProblem> {
        self.found
            .sort_by(|a, b| (a.line, a.column, a.code, &a.path).cmp(&(b.line, b.column, b.code, &b.path)));
        self.found
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[line_start..].chars().count() + 1;
        (line as u32, column as u32)
    }
}

/// `; did you mean "x"?` when one of the candidates is close, else nothing.
pub(super) fn did_you_mean<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    // Names are at most 64 characters; a longer key of a hostile document is far from all of them.
    if wrong.len() > 256 {
        return String::new();
    }
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(wrong, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean {candidate:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_not_bytes() {
        let mut problems = Problems::new("a = \"ü\" # x\nb = 1\n");
        problems.add(code::SYNTAX, &(9..10), "", "here");
        problems.add(code::SYNTAX, &(14..15), "", "there");
        problems.add(code::SYNTAX, &(999..1000), "", "after the end");
        let places: Vec<_> = problems.into_sorted().iter().map(|p| (p.line, p.column)).collect();
        assert_eq!(places, [(1, 9), (2, 2), (3, 1)]);
    }

    #[test]
    fn only_close_names_are_suggested() {
        assert_eq!(did_you_mean("tanks", ["thanks", "menu"]), "; did you mean \"thanks\"?");
        assert_eq!(did_you_mean("done", ["thanks", "menu"]), "");
        assert_eq!(
            did_you_mean("plya", ["play", "pause"]),
            "; did you mean \"play\"?",
            "two letters swapped"
        );
        assert_eq!(did_you_mean("nxt", ["next", "on"]), "; did you mean \"next\"?");
    }
}
