//! What every process shares: configuration, keys, its copy of the log, leadership, health, shutdown.
//!
//! Reading order: [`log`] (follow and fold), [`commit`] (a leader's commit), [`leader`] (the one loop: receive, decide,
//! commit, apply, act), [`keys`] and [`seal`], [`heartbeat`], then [`config`], [`health`], [`telemetry`], [`shutdown`].

pub mod boot;
pub mod commit;
pub mod config;
pub mod health;
pub mod heartbeat;
pub mod keys;
pub mod leader;
pub mod log;
pub mod role;
pub mod seal;
pub mod shutdown;
mod storage;
pub mod telemetry;
