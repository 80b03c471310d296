//! One line that shows how far something is: on a terminal only, and gone when it is done.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// How often the line is drawn at most.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Characters of the bar.
const WIDTH: u64 = 30;

/// A progress bar on standard error.
pub struct Bar {
    shown: bool,
    began: Instant,
    drawn: Option<Instant>,
}

impl Bar {
    /// A bar, where there is a terminal to show it and `wanted` says so.
    pub fn new(wanted: bool) -> Self {
        Self { shown: wanted && std::io::stderr().is_terminal(), began: Instant::now(), drawn: None }
    }

    /// Draws how far it is. `of` may be too high: it is an estimate.
    pub fn draw(&mut self, done: u64, of: u64, what: &str) {
        if !self.shown || self.drawn.is_some_and(|at| at.elapsed() < DRAW_EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(done, of, self.began.elapsed(), what);
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Counts so that a person can read them: `1,000,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn line(done: u64, of: u64, took: Duration, what: &str) -> String {
    let of = of.max(done).max(1);
    let filled = (done * WIDTH / of) as usize;
    let mut text = format!("[{}{}]", "#".repeat(filled), "-".repeat(WIDTH as usize - filled));
    let _ = write!(text, " {:>3} %  {} {what}", done * 100 / of, grouped(done));
    let took_ms = took.as_millis() as u64;
    if took_ms >= 1_000 && done > 0 {
        let left_s = took_ms * (of - done) / done / 1_000;
        let _ = write!(text, ", {} a second, about {left_s} s left", grouped(done * 1_000 / took_ms));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_how_fast_and_how_long() {
        let text = line(340_000, 1_000_000, Duration::from_secs(17), "contacts");
        assert_eq!(
            text,
            "[##########--------------------]  34 %  340,000 contacts, 20,000 a second, about 33 s left"
        );
        assert_eq!(line(0, 0, Duration::ZERO, "rows"), format!("[{}]   0 %  0 rows", "-".repeat(30)));
        assert!(line(7, 5, Duration::ZERO, "rows").contains("100 %"), "an estimate may be too low");
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
