//! The carrier recorder: one process outside all nodes that counts rings.
//!
//! A simulated node reports each ring here before it answers the originate, and dials nothing it could not report.
//! So the recorder's file says what the far end saw, whatever happened to the node, the agent or the log since.
//!
//! The protocol is lines over TCP: `RING <attempt-id> <number> <node>` is answered `OK` once the ring is on disk,
//! `COUNT` is answered `<rings> <attempts> <double_rings>`, anything else `ERR <why>`.

mod client;
mod file;
mod server;

pub use client::RecorderClient;
pub use file::{Ring, RingCount, read_rings};
pub use server::{Recorder, RecorderConfig};

use asterism_agent::dialplan::is_channel_id;

use crate::Error;

/// Longest line of the protocol and of the rings file, in bytes.
pub const MAX_LINE_BYTES: usize = 320;
/// Most rings one recorder takes, and most that [`read_rings`] reads.
pub const MAX_RINGS: u64 = 5_000_000;
/// Most connections at once; one per node.
pub const MAX_CONNECTIONS: usize = 4096;
/// Most rings written and synced together.
pub const MAX_GROUP: usize = 1024;
/// Longest number dialled, in bytes.
pub const MAX_NUMBER_BYTES: usize = 64;
/// Longest name of a node, in bytes.
pub const MAX_NODE_BYTES: usize = 64;

/// A request to the recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Ring { attempt_id: String, number: String, node: String },
    Count,
}

impl Request {
    fn parse(line: &str) -> Result<Self, Error> {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next(), words.next(), words.next()) {
            (Some("COUNT"), None, ..) => Ok(Self::Count),
            (Some("RING"), Some(id), Some(number), Some(node), None) => {
                if is_channel_id(id) && is_number(number) && is_node(node) {
                    Ok(Self::Ring { attempt_id: id.into(), number: number.into(), node: node.into() })
                } else {
                    Err(Error::BadRing)
                }
            }
            _ => Err(Error::BadRing),
        }
    }
}

/// Whether `number` can be a dialled number: 1 to 64 of `A-Za-z0-9+*#._-`.
pub fn is_number(number: &str) -> bool {
    is_token(number, MAX_NUMBER_BYTES, b"+*#._-")
}

/// Whether `node` can be the name of a node: 1 to 64 of `A-Za-z0-9._-`.
pub fn is_node(node: &str) -> bool {
    is_token(node, MAX_NODE_BYTES, b"._-")
}

fn is_token(text: &str, max: usize, more: &[u8]) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}
