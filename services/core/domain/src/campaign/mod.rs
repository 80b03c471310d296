//! Campaigns, contacts and attempts.
//!
//! ```text
//! contact:  waiting ──AttemptIntended──▶ in flight ──AttemptEnded──▶ settled (or waiting again, by max_attempts)
//!              ▲                            │ │
//!              └──────AttemptRefused────────┘ └──AttemptUncertain, node lost──▶ uncertain (never dialled by itself: ContactsReopened)
//!           a contact erased while it waits, or comes back to waiting, is erased: it is never dialled again
//! attempt:  intended ─▶ accepted ─▶ originating ─▶ answered ─▶ ended
//! ```

pub mod apply;
pub mod backlog;
pub mod budget;
pub mod command;
pub mod decide;
pub mod forecast;
pub mod judge;
pub mod outlook;
pub mod state;
pub mod stats;
pub mod waiting;
pub mod waits;

pub use command::{CampaignCommand, DialTick};
pub use decide::decide;
pub use state::{
    Attempt, AttemptStatus, Campaign, CampaignStatus, Campaigns, Contact, ContactStatus, Counts, Digits,
    Erasure, KeptOff,
};
