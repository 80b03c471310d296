//! One script set for two PBXes: pbx-sim and real Asterisk 22 with SIPp do the same calls, and what they say on AMI and
//! ask of the step server is written down in one text. Equal texts keep the simulator honest.

mod ami;
mod pbx;
mod steps;
mod story;
mod tape;

pub use ami::Ami;
pub use pbx::{Pbx, Which};
pub use steps::{Says, Steps};
pub use story::{CALLER, Call, headers, response, same_as_golden, story};
pub use tape::{Entry, Tape};
