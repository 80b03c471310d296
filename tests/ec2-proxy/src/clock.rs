//! The proxy's time: a machine's own, or one that only a test moves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Milliseconds since the proxy started.
#[derive(Debug)]
pub struct Clock {
    start: Option<Instant>,
    moved_ms: AtomicU64,
}

impl Clock {
    /// Time that passes by itself.
    pub fn real() -> Self {
        Self { start: Some(Instant::now()), moved_ms: AtomicU64::new(0) }
    }

    /// Time that stands still until it is moved.
    pub fn manual() -> Self {
        Self { start: None, moved_ms: AtomicU64::new(0) }
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        let own = self.start.map_or(0, |start| start.elapsed().as_millis() as u64);
        own + self.moved_ms.load(Ordering::SeqCst)
    }

    /// Moves it forward.
    pub fn advance(&self, ms: u64) {
        self.moved_ms.fetch_add(ms, Ordering::SeqCst);
    }
}
