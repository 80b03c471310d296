//! A simulated Asterisk: it speaks AMI on the wire as Asterisk 22.10 does, dials callees that exist only as a table
//! of habits, and walks answered calls through the same dialplan steps by real HTTP.
//!
//! `asterism up`, the tests and the demo run the agent against this where no Asterisk is installed. What it sends
//! was compared with recordings of the real thing; what it leaves out is at the end of this page. The second
//! program of this crate, the carrier recorder, counts rings outside all nodes (see [`recorder`]).
//!
//! ```text
//! agent --AMI--> session --Originate--> call --RING--> carrier recorder
//!   ^                       events <-----+ |
//!   +---------- POST /s, /h_end <----------+  (answered calls)
//! ```
//!
//! Left out: media, SIP, bridged legs, inbound calls, the verbs that later flows need, `Command` and every action
//! not listed in `action.rs`. A prompt's length comes from its name, not from a file.

pub mod callees;
pub mod recorder;
pub mod start;

mod action;
mod call;
mod channel;
mod endpoints;
mod error;
mod event;
mod join;
mod recording;
mod session;
mod sim;
mod step;
mod walk;

pub use error::Error;
pub use sim::{Sim, SimConfig};

use std::time::Duration;

/// Pause after a connection could not be accepted (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
