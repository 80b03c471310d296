//! Names of recordings on the wire.

use super::RecordingId;
use crate::wire::Field;

impl Field<Vec<String>> for Vec<RecordingId> {
    fn put(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
    fn take(wire: Vec<String>) -> Result<Self, &'static str> {
        wire.iter().map(|id| id.parse().map_err(|_| "recording")).collect()
    }
}
