//! What every process shares: configuration, keys, its copy of the log, leadership, health, shutdown.
//!
//! Reading order: [`log`] (follow and fold), `stream` (which one, and its holes), [`snapshot`], [`commit`] (a leader's commit), [`spool`] and [`gaps`] (frames sent again when
//! the log misses them), [`leader`] (the one loop: receive, decide, commit, apply, act), [`keys`] and [`seal`],
//! [`heartbeat`], [`archive`] and [`restore`], then [`config`], [`health`], [`telemetry`], [`shutdown`].

pub mod archive;
pub mod boot;
mod clock;
pub mod commit;
pub mod config;
pub mod gaps;
pub mod health;
pub mod heartbeat;
pub mod keys;
pub mod leader;
pub mod log;
pub mod program;
pub mod restore;
pub mod role;
pub mod seal;
pub mod shutdown;
pub mod snapshot;
pub mod spool;
mod storage;
mod stream;
pub mod telemetry;
#[cfg(feature = "test-util")]
pub mod testkit;
pub mod web;
