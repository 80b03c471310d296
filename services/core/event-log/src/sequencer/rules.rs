//! The rules of acceptance, in the order they are applied.

use std::collections::BTreeMap;

use asterism_proto::hash::{Hash, sha256};
use asterism_proto::{OpenFrame, Origin, PublicKey, Role, v1};
use prost::Message as _;

use super::control::{Body, Control, controls};
use super::origins::{LogCreated, OriginState};
use super::verdict::{Denied, RefusedReason, StopReason};
use super::{Changes, Sequencer, Signature};

impl Sequencer {
    /// Whether the frame is the next of its origin, and what it changes.
    pub(super) fn rule(&self, frame: &OpenFrame, signature: Signature) -> Result<Changes, Denied> {
        if frame.header.fleet != self.fleet {
            return Err(RefusedReason::WrongFleet.into());
        }
        let Some(created) = &self.created else { return self.rule_first(frame) };
        let mut changes = Changes::default();
        let state = self.state_of(frame, created)?;
        let controls = controls(frame);
        let check = match signature {
            Signature::Now => true,
            Signature::Later => !controls.as_ref().is_ok_and(Vec::is_empty),
            Signature::Trusted => false,
        };
        if check && !frame.signed_by(&state.key) {
            return Err(RefusedReason::Signature.into());
        }
        changes.unsigned = (!check).then_some(state.key);
        let controls = controls?;
        let elected = place(frame, &state, &controls)?;
        if self.awaiting_continues && !controls.iter().any(|c| c.is(v1::EventType::Continues)) {
            return Err(RefusedReason::BeforeContinues.into());
        }
        let is_new_process = !self.origins.known.contains_key(&frame.origin);
        if is_new_process {
            changes.staged.admit_proc(&self.origins, &frame.origin, state.key, frame.epoch)?;
        }
        if elected {
            let leader = OriginState { epoch: frame.epoch, term: frame.header.term, number: 0, ..state };
            changes.staged.put(frame.origin.clone(), leader);
        }
        for control in controls.iter().filter(|c| !c.is(v1::EventType::LeaderElected)) {
            self.rule_control(frame, control, elected, &mut changes)?;
        }
        Ok(changes)
    }

    /// What is known of the writer. A process that never wrote stands as number 0 of the epoch it brings.
    fn state_of(&self, frame: &OpenFrame, created: &LogCreated) -> Result<OriginState, RefusedReason> {
        if let Some(state) = self.origins.known.get(&frame.origin) {
            return Ok(state.clone());
        }
        match &frame.origin {
            Origin::Proc(role @ Role::LogicResponder, _) => {
                let key = created.role_key(*role).ok_or(RefusedReason::UnknownOrigin)?;
                Ok(OriginState::new(key, frame.epoch))
            }
            _ => Err(RefusedReason::UnknownOrigin),
        }
    }

    /// Frame 1: `LogCreated`, alone, by `role/fleet`, signed by the key it names.
    fn rule_first(&self, frame: &OpenFrame) -> Result<Changes, Denied> {
        let controls = controls(frame)?;
        let ([control], 1) = (controls.as_slice(), frame.events.len()) else {
            return Err(RefusedReason::NotCreated.into());
        };
        let header = &frame.header;
        let is_first = frame.origin == Origin::Role(Role::Fleet) && header.number == 1 && header.term == 0;
        if !is_first || !control.is(v1::EventType::LogCreated) {
            return Err(RefusedReason::NotCreated.into());
        }
        let Body::LogCreated(body) = control.body()? else { return Err(control.not_allowed().into()) };
        if body.fleet != self.fleet {
            return Err(RefusedReason::WrongFleet.into());
        }
        // The header's hash, not the leaf: the leaf holds the stream's time, which nobody knows in advance.
        let anchor = frame.header_hash();
        let created = log_created(&body, anchor).map_err(|why| control.refused(why))?;
        if !frame.signed_by(&created.fleet_key) {
            return Err(RefusedReason::Signature.into());
        }
        if self.configured_anchor.is_some_and(|configured| configured != anchor) {
            return Err(RefusedReason::WrongAnchor.into());
        }
        let mut changes = Changes::default();
        changes.staged.put(Origin::Role(Role::Fleet), OriginState::new(created.fleet_key, frame.epoch));
        for (role, key) in created.role_keys.iter().filter(|(role, _)| role.leads()) {
            changes.staged.put(Origin::Role(*role), OriginState::new(*key, [0; 16]));
        }
        changes.created = Some(created);
        Ok(changes)
    }

    /// What one of the log's own events does, by who may write it.
    fn rule_control(
        &self,
        frame: &OpenFrame,
        control: &Control,
        elected: bool,
        changes: &mut Changes,
    ) -> Result<(), Denied> {
        let writer = &frame.origin;
        let is_scaler = *writer == Origin::Role(Role::Scaler);
        let is_ledger = *writer == Origin::Role(Role::Ledger);
        let closes = is_scaler || matches!(writer, Origin::Node(_) | Origin::Proc(..));
        let allowed = match v1::EventType::try_from(control.kind.cast_signed()) {
            Ok(v1::EventType::NodeAdmitted) => is_scaler,
            Ok(v1::EventType::OriginClosed) => closes,
            Ok(v1::EventType::Checkpoint | v1::EventType::FramesLost) => is_ledger,
            // Alone, or behind the election of the ledger that continues.
            Ok(v1::EventType::Continues) => is_ledger && frame.events.len() == 1 + usize::from(elected),
            _ => false,
        };
        if !allowed {
            return Err(control.not_allowed().into());
        }
        match control.body()? {
            Body::NodeAdmitted(body) => {
                changes.staged.admit_node(&self.origins, &body).map_err(|why| control.refused(why).into())
            }
            Body::OriginClosed(body) => {
                changes.staged.close(&self.origins, writer, &body).map_err(|why| control.refused(why).into())
            }
            Body::FramesLost(body) => {
                let end = self.size() + frame.events.len() as u64;
                let lost = changes.staged.lose(&self.origins, writer, &body, end);
                lost.map_err(|why| control.refused(why).into())
            }
            Body::Checkpoint(body) => {
                self.rule_checkpoint(&body).map_err(|why| control.refused(why))?;
                changes.checkpoints.push((control.index, body));
                Ok(())
            }
            Body::Continues(body) => {
                if body.size != self.size() || body.root != self.root() {
                    let reason = StopReason::Continues { theirs: body.size, ours: self.size() };
                    return Err(Denied::Stop(reason));
                }
                changes.continued = true;
                Ok(())
            }
            Body::LogCreated(_) | Body::LeaderElected(_) => Err(control.not_allowed().into()),
        }
    }
}

impl Sequencer {
    /// Sizes never go back, so an old one signed with another root has no effect on any copy; that the newest size has
    /// one root only is compared, not refused.
    fn rule_checkpoint(&self, body: &v1::Checkpoint) -> Result<(), &'static str> {
        match &self.checkpoint {
            _ if body.root.len() != 32 => Err("the root is not 32 bytes"),
            Some(newest) if body.size < newest.size => Err("a newer checkpoint is in the log"),
            _ => Ok(()),
        }
    }
}

impl Sequencer {
    /// Whether a frame of a version not known here is by a member of the fleet: then this reader must stop. Anybody else
    /// could stop all readers at once. Every version keeps the outer frame, the header's origin and what is signed.
    pub(super) fn is_ours(&self, bytes: &[u8]) -> bool {
        let Ok(v1::Frame { header, signature, .. }) = v1::Frame::decode(bytes) else { return false };
        let Ok(read) = v1::FrameHeader::decode(header.as_slice()) else { return false };
        let Ok(origin) = read.origin.parse::<Origin>() else { return false };
        let Some(created) = &self.created else {
            return self.configured_anchor.is_none_or(|anchor| anchor == sha256(&header));
        };
        let key = match (self.origins.known.get(&origin), &origin) {
            (Some(state), _) => Some(state.key),
            (None, Origin::Proc(role, _)) => created.role_key(*role),
            (None, _) => None,
        };
        read.fleet == self.fleet && key.is_some_and(|key| key.verifies(&header, &signature))
    }
}

/// Reads `LogCreated`; a role this version does not know is refused, since its frames would be.
fn log_created(body: &v1::LogCreated, anchor: Hash) -> Result<LogCreated, &'static str> {
    let fleet_key = PublicKey::from_bytes(&body.fleet_key).map_err(|_| "the fleet key is malformed")?;
    let log_key = PublicKey::from_bytes(&body.log_key).map_err(|_| "the log key is malformed")?;
    let mut role_keys = BTreeMap::new();
    for entry in &body.role_keys {
        let role: Role = entry.role.parse().map_err(|_| "a role is unknown")?;
        let key = PublicKey::from_bytes(&entry.public_key).map_err(|_| "a role's key is malformed")?;
        if role == Role::Fleet || role_keys.insert(role, key).is_some() {
            return Err("a role is named twice, or is the fleet itself");
        }
    }
    Ok(LogCreated { anchor, fleet_key, log_key, created_at_ms: body.created_at_ms, role_keys })
}

/// Places the frame in its origin's order; `true` if it is the election of a new leader.
fn place(frame: &OpenFrame, state: &OriginState, controls: &[Control]) -> Result<bool, Denied> {
    let (header, is_current) = (&frame.header, frame.epoch == state.epoch);
    let Origin::Role(role) = &frame.origin else {
        return match (is_current, header.term) {
            (false, _) => Err(RefusedReason::Epoch.into()),
            (true, 0) => {
                state.place(header.number)?;
                no_election(controls).map(|()| false)
            }
            (true, got) => Err(RefusedReason::Term { current: 0, got }.into()),
        };
    };
    if is_current && header.term == state.term {
        if !role.leads() && header.number > state.number {
            // `role/fleet` has written frame 1 and may not write again.
            return Err(RefusedReason::Closed.into());
        }
        state.place(header.number)?;
        return no_election(controls).map(|()| false);
    }
    if role.leads() && controls.first().is_some_and(|c| c.index == 0 && c.is(v1::EventType::LeaderElected)) {
        return election(*role, frame, state, controls).map(|()| true);
    }
    if header.term == state.term {
        return Err(RefusedReason::Epoch.into());
    }
    Err(RefusedReason::Term { current: state.term, got: header.term }.into())
}

fn no_election(controls: &[Control]) -> Result<(), Denied> {
    match controls.iter().find(|c| c.is(v1::EventType::LeaderElected)) {
        Some(control) => Err(control.not_allowed().into()),
        None => Ok(()),
    }
}

/// `LeaderElected` as event 0, the only one of its kind, number 1 of a fresh epoch, term = last + 1.
fn election(role: Role, frame: &OpenFrame, state: &OriginState, controls: &[Control]) -> Result<(), Denied> {
    let [first, rest @ ..] = controls else {
        return Err(RefusedReason::Election("it is not event 0").into());
    };
    no_election(rest)?;
    let current = state.term;
    if frame.header.term != current + 1 {
        return Err(RefusedReason::Term { current, got: frame.header.term }.into());
    }
    let Body::LeaderElected(body) = first.body()? else { return Err(first.not_allowed().into()) };
    let broken = if body.role != role.name() {
        Some("it elects for another role")
    } else if body.term != frame.header.term {
        Some("its term is not the frame's")
    } else if frame.header.number != 1 {
        Some("it is not number 1")
    } else if frame.epoch == state.epoch {
        Some("its epoch is the former leader's")
    } else {
        None
    };
    broken.map_or(Ok(()), |why| Err(RefusedReason::Election(why).into()))
}
