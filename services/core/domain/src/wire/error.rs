//! Why an event cannot be read, and whether that stops its reader.

use asterism_proto::Origin;

/// Why an event's bytes are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The envelope cannot be decoded.
    #[error("the event envelope cannot be decoded")]
    Envelope,
    /// A type this version does not know.
    #[error("event type {0} is not known here; a newer version wrote it")]
    UnknownType(u32),
    /// A schema version of a known type that this version does not know.
    #[error("event type {0} has schema version {1}, which is not known here; a newer version wrote it")]
    UnknownSchema(u32, u32),
    /// The body cannot be decoded.
    #[error("the body of event type {0} cannot be decoded")]
    Body(u32),
    /// A field is out of its range.
    #[error("a field of event type {0} is malformed: {1}")]
    Field(u32, &'static str),
}

impl DecodeError {
    /// Whether a reducer that meets this, written by this origin, must stop: only a service can be newer than its readers,
    /// and what it means is not known here. Bytes that are no event in any version never stop anybody, and nor does a
    /// node: whatever it writes, it is one of many, and could else stop the fleet.
    pub fn stops(&self, writer: &Origin) -> bool {
        let newer = match self {
            Self::UnknownType(number) => *number != 0,
            Self::UnknownSchema(_, schema) => *schema != 0,
            Self::Envelope | Self::Body(_) | Self::Field(..) => false,
        };
        newer && !matches!(writer, Origin::Node(_))
    }
}
