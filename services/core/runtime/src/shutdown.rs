//! Orderly stop: SIGTERM or the first Ctrl-C asks every task to drain; the second Ctrl-C exits at once.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit status after a second Ctrl-C.
const ABORTED: i32 = 130;

/// Asks to stop. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    ask: std::sync::Arc<watch::Sender<bool>>,
    asked: watch::Receiver<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A stop nobody has asked for yet.
    pub fn new() -> Self {
        let (ask, asked) = watch::channel(false);
        Self { ask: std::sync::Arc::new(ask), asked }
    }

    /// A stop that SIGTERM and Ctrl-C ask for.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let ask = shutdown.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = term.recv() => ask.request(),
                    _ = interrupt.recv() => {
                        if ask.is_requested() {
                            std::process::exit(ABORTED);
                        }
                        ask.request();
                    }
                }
            }
        });
        Ok(shutdown)
    }

    /// Asks everyone to stop.
    pub fn request(&self) {
        self.ask.send_replace(true);
    }

    /// Whether somebody has asked.
    pub fn is_requested(&self) -> bool {
        *self.asked.borrow()
    }

    /// Drains for at most this long. Whether the work ended by itself; what it had not done is dropped.
    pub async fn drain_within(drain_timeout: Duration, work: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(drain_timeout, work).await.is_ok()
    }

    /// Waits until somebody asks.
    pub async fn requested(&mut self) {
        let _ = self.asked.wait_for(|asked| *asked).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn sigterm_asks_every_clone_to_stop() {
        let shutdown = Shutdown::on_signals().unwrap();
        let mut task = shutdown.clone();
        assert!(!task.is_requested());
        let id = std::process::id().to_string();
        std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
        tokio::time::timeout(Duration::from_secs(10), task.requested()).await.unwrap();
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_drain_has_an_end() {
        assert!(Shutdown::drain_within(Duration::from_secs(10), async {}).await);
        assert!(!Shutdown::drain_within(Duration::from_millis(1), std::future::pending()).await);
    }
}
