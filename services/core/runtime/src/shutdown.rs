//! Orderly stop: SIGTERM or the first Ctrl-C asks every task to drain; the second Ctrl-C exits at once.

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

    /// Waits until somebody asks.
    pub async fn requested(&mut self) {
        let _ = self.asked.wait_for(|asked| *asked).await;
    }
}
