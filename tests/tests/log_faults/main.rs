//! What may befall the stream of the log, each on a real nats-server: blocks with a turned bit, a stream made again, frames
//! nobody has any more, hostile frames, rivals behind a cut link. Everything ends in agreement with the newest checkpoint or
//! in a stop with a reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, clippy::print_stdout)]

mod abuse;
mod duplicates;
mod expired;
mod fleet;
mod hostile;
mod lost;
mod random;
mod rivals;
mod stream;
