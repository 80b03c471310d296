//! The only crate that speaks NATS: one connection ([`Bus`]), the fleet's stream, its ordered reader, leases and services.
//!
//! Reading order: [`subject`] (every subject there is), [`bus`] (connect, publish, subscribe, request), [`publish`]
//! (frames into the stream), [`stream`] (its limits and identity), [`reader`] (every frame once, in order), [`lease`]
//! (who should try to lead), [`service`] (answering requests), [`pace`] (when the next frame leaves), [`server`] (a
//! nats-server as a child process), [`crash`] (where the processes of tests die).

pub mod bus;
pub mod crash;
pub mod error;
pub mod lease;
pub mod pace;
pub mod publish;
pub mod reader;
pub mod secret;
pub mod server;
pub mod service;
pub mod stream;
pub mod subject;

mod connect;

pub use bus::{Bus, BusConfig, BusStats, Message, Reply, RequestError, Subscription};
pub use error::Error;
pub use lease::{Lease, LeaseEvent, LeaseTiming, LeaseView};
pub use pace::Pace;
pub use publish::{FrameAck, PublishFrameError};
pub use reader::{ReadFrom, Reader, ReaderEvent, ReaderIncident};
pub use secret::Secret;
pub use server::NatsServer;
pub use service::{ServiceError, ServiceHandle, ServiceSpec, serve};
pub use stream::{StreamInfo, StreamSpec, ensure_stream};
pub use subject::{Parsed, Subject, SubjectError, Verb};
