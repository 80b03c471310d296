//! What comes in from outside: everything the one loop ([`crate::shell`]) hears, as one enum.

use std::collections::BTreeMap;
use std::time::Duration;

use asterism_nats::{Bus, Reply, Verb};
use asterism_proto::v1;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Sample;
use crate::dialplan::{EndReport, Question};
use crate::machine::{Made, PbxEvent, PbxUp};

/// Inputs waiting for the loop; senders wait beyond.
pub const INPUTS_MAX: usize = 4_096;

/// One thing that came in.
pub enum Input {
    /// The bus is connected for the first time.
    Bus(Bus),
    /// An order, as it came.
    Order {
        /// Its kind.
        verb: Verb,
        /// Its bytes.
        payload: Vec<u8>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// The scaler admitted this node.
    Admitted,
    /// The cloud takes this instance away.
    Leaving,
    /// The fleet's clock was asked.
    Clock(Vec<Sample>),
    /// A heartbeat of this node came back.
    HeartbeatBack(u64),
    /// A checkpoint was announced by who may.
    Checkpoint(v1::NoticeBody),
    /// Steps of the log's growth up to a checkpoint that could not be proved by itself; none if nobody had them.
    Growth(Box<v1::NoticeBody>, Vec<v1::GrowthStep>),
    /// A frame was published, or not.
    Published {
        /// Its number.
        number: u64,
        /// How long the acknowledgement took; `None` without one.
        acknowledged: Option<Duration>,
        /// How long was waited.
        waited: Duration,
    },
    /// The dialplan asks.
    Question(Question, oneshot::Sender<Option<String>>),
    /// The dialplan reports the end of a call; whether it was taken.
    EndReport(EndReport, oneshot::Sender<bool>),
    /// The responder answered a step, or did not.
    Answer {
        /// The call.
        call: String,
        /// The step.
        step: u32,
        /// The answer, or why there is none.
        answer: Result<v1::StepAnswer, String>,
    },
    /// The PBX said something of an attempt.
    Pbx(PbxEvent),
    /// The PBX can be spoken to. Its journal is read by the loop.
    PbxUp(PbxUp),
    /// It cannot any more.
    PbxDown(String),
    /// A list of live channels.
    Channels(BTreeMap<String, bool>),
    /// A manifest is on disk and verified.
    Manifest(String),
    /// A trunk order was tried: trunks the PBX has, each with its revision, and what is wrong with the others.
    Trunks {
        /// The order.
        ticket: u64,
        /// Name and revision of each.
        held: Vec<(String, String)>,
        /// Empty if nothing is.
        problem: String,
    },
    /// A recording's file was looked at: what it is, or why nobody will ever have it; `None` = not now.
    RecordingTaken(String, Option<Result<Made, String>>),
    /// The log has that the store has a recording.
    RecordingStored(String),
    /// A recording's file is gone.
    RecordingGone(String, String),
    /// Time to end in order.
    Stop,
}

/// Where inputs go.
pub type Inputs = mpsc::Sender<Input>;
