//! Wire and log format: the `.proto` files as prost types, and the frame, the one envelope every event travels in.
//!
//! Reading order: [`v1`] (generated), [`origin`] (who may write), [`frame`] (build, sign, open), [`hash`] (RFC 6962),
//! [`key`] (nkey seeds as Ed25519 keys), [`notice`] (what a checkpoint lets its hearers forget), [`note`] (a
//! checkpoint as C2SP text), [`cosign`] (its witnesses).

pub mod cosign;
pub mod events;
pub mod frame;
pub mod hash;
pub mod key;
pub mod note;
pub mod notice;
pub mod origin;

/// Types generated from `proto/asterism/v1/*.proto`.
#[allow(missing_docs, clippy::pedantic, unused_qualifications)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/asterism.v1.rs"));
}

pub use events::Events;
pub use frame::{Frame, FrameDraft, FrameError, OpenFrame};
pub use key::{KeyError, OriginKey, PublicKey};
pub use notice::NoticeError;
pub use origin::{Origin, Role};
