//! `tail`: the last events in plain words.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::ControlFlow;

use asterism_domain::State;
use serde::Serialize;

use crate::Error;
use crate::explain::{Line, line};
use crate::fold::{self, Pass};

/// Most lines there can be.
pub const LINES_MAX: usize = 10_000;

/// The last events.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tail {
    /// In log order.
    pub lines: VecDeque<Line>,
    /// Events read.
    pub events: u64,
}

/// The last `count` events, at most [`LINES_MAX`].
pub fn tail(pass: &mut Pass<'_>, count: usize) -> Result<Tail, Error> {
    let count = count.min(LINES_MAX);
    let (mut state, mut last) = (State::default(), VecDeque::with_capacity(count));
    // Words are made of those that stay only.
    pass.each(&mut |_, event| {
        let no_effect = fold::apply(&mut state, event);
        if last.len() == count {
            last.pop_front();
        }
        if count > 0 {
            last.push_back((event.clone(), no_effect));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let lines = last.into_iter().map(|(event, no_effect)| line(&event, no_effect)).collect();
    Ok(Tail { lines, events: state.size })
}

impl Tail {
    /// For people.
    pub fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        self.lines.iter().try_for_each(|line| line.print(out))
    }
}
