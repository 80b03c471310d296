//! What a node wrote into the log, as the stream has it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;

use asterism_proto::{OpenFrame, v1};
use prost::Message;

/// What was read from the stream.
#[derive(Default)]
pub struct Log {
    /// Frames in the stream's order, a repeated number once.
    pub frames: Vec<OpenFrame>,
    /// Frames published more than once.
    pub repeated: u32,
    /// Events in log order.
    pub events: Vec<v1::Event>,
}

impl Log {
    pub(super) fn take(&mut self, payload: &[u8]) {
        let frame = OpenFrame::read(payload).unwrap();
        if self.frames.iter().any(|known| known.header.number == frame.header.number) {
            self.repeated += 1;
            let known = &self.frames[frame.header.number as usize - 1];
            assert_eq!(known.header_bytes, frame.header_bytes, "repeated with other bytes");
            return;
        }
        self.events.extend(frame.events.iter().map(|event| v1::Event::decode(event).unwrap()));
        self.frames.push(frame);
    }

    pub fn first(&self, kind: v1::EventType) -> Option<v1::Event> {
        self.of(kind).first().cloned()
    }

    pub fn of(&self, kind: v1::EventType) -> Vec<v1::Event> {
        self.events.iter().filter(|event| event.r#type == kind as u32).cloned().collect()
    }

    /// Whether the node told that it holds the manifest.
    pub fn held(&self, manifest: &str) -> bool {
        let told = |event: &v1::Event| v1::ManifestHeld::decode(event.body.as_slice()).unwrap().manifest;
        self.of(v1::EventType::ManifestHeld).iter().any(|event| told(event) == manifest)
    }

    /// Whether the node told that the manifest goes.
    pub fn dropped(&self, manifest: &str) -> bool {
        let told = |event: &v1::Event| v1::ManifestDropped::decode(event.body.as_slice()).unwrap().manifest;
        self.of(v1::EventType::ManifestDropped).iter().any(|event| told(event) == manifest)
    }

    /// Ends by attempt: none says what its codes mean.
    pub fn ended(&self) -> BTreeMap<String, v1::AttemptEnded> {
        let ended = self.of(v1::EventType::AttemptEnded);
        let count = ended.len();
        let by_attempt: BTreeMap<_, _> = ended
            .iter()
            .map(|event| v1::AttemptEnded::decode(event.body.as_slice()).unwrap())
            .map(|body| (body.attempt.clone(), body))
            .collect();
        assert_eq!(by_attempt.len(), count, "an attempt ended twice");
        assert!(by_attempt.values().all(|end| end.outcome == 0), "{by_attempt:?}");
        by_attempt
    }

    /// Steps taken in a call, in order.
    pub fn steps(&self, call: &str) -> Vec<v1::StepTaken> {
        self.of(v1::EventType::StepTaken)
            .iter()
            .map(|event| v1::StepTaken::decode(event.body.as_slice()).unwrap())
            .filter(|taken| taken.call == call)
            .collect()
    }
}
