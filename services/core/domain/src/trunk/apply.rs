//! The reducer of trunks.

use super::Trunk;
use super::health::{Breaker, BreakerState, Health};
use crate::campaign::apply::trunks;
use crate::event::Event;
use crate::ids::Timestamp;
use crate::state::{Effectless, State};

const UNKNOWN: Effectless = Effectless::Void("there is no such trunk");

/// Applies an event about a trunk.
pub(crate) fn apply(state: &mut State, event: &Event, at: Timestamp) -> Result<(), Effectless> {
    match event {
        Event::TrunkSet { trunk, settings, configured, .. } => {
            let known = state.trunks.entry(trunk.clone()).or_default();
            let cap = settings.max_channels;
            known.above_cap = if cap > 0 && known.channels > cap { known.channels } else { 0 };
            let revision = settings.revision();
            if known.revision != revision {
                known.health = Health::default(); // another way to it
                known.revision = revision;
            }
            known.settings = Some(settings.clone());
            (known.configured, known.removed, known.set_at) = (*configured, false, at);
            Ok(())
        }
        Event::TrunkRemoved { trunk, .. } => {
            usable(state, trunk)?.removed = true;
            for node in state.fleet.nodes.values_mut() {
                node.trunks.remove(trunk);
            }
            trunks::removed(&mut state.campaigns, &state.trunks);
            Ok(())
        }
        Event::TrunkHeld { node, trunk, revision } => {
            let home = state.fleet.nodes.get_mut(node).ok_or(Effectless::incident("unknown node"))?;
            if !home.status.exists() {
                return Err(Effectless::void("the node has ended"));
            }
            home.trunks.insert(trunk.clone(), revision.clone());
            Ok(())
        }
        Event::TrunkBreaker { trunk, state: to, until_ms, reason, .. } => {
            let health = &mut usable(state, trunk)?.health;
            let opened = step(&health.breaker, *to)?;
            health.breaker = Breaker {
                state: *to,
                since_ms: at,
                until_ms: *until_ms,
                opened,
                reason: reason.clone(),
                ..Breaker::default()
            };
            if *to == BreakerState::Closed {
                health.ends.clear(); // what opened it is told; it opens again on what comes
            }
            Ok(())
        }
        Event::TrunkPaced { trunk, per_1000_s, .. } => {
            let known = usable(state, trunk)?;
            if known.health.per_1000_s == 0 {
                // Half of it is what it falls to.
                let full = known.full_per_1000_s();
                known.health.full_per_1000_s = if full > 0 { full } else { per_1000_s.saturating_mul(2) };
            }
            (known.health.per_1000_s, known.health.paced_at) = (*per_1000_s, at);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Times it has opened in a row behind the step.
fn step(breaker: &Breaker, to: BreakerState) -> Result<u32, Effectless> {
    use BreakerState::{Closed, HalfOpen, Open};
    match (breaker.state, to) {
        (Closed | HalfOpen, Open) => Ok(breaker.opened + 1),
        (Open, HalfOpen) => Ok(breaker.opened),
        (HalfOpen, Closed) => Ok(0),
        _ => Err(Effectless::void("the breaker does not stand so")),
    }
}

fn usable<'a>(state: &'a mut State, trunk: &str) -> Result<&'a mut Trunk, Effectless> {
    state.trunks.get_mut(trunk).filter(|known| known.usable().is_some()).ok_or(UNKNOWN)
}
