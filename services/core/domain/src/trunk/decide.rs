//! Decisions about trunks themselves.

use std::collections::BTreeMap;

use super::check::TRUNKS_MAX;
use super::{Trunk, TrunkSettings, check};
use crate::Rejection;
use crate::event::Event;
use crate::fleet::NodeStatus;
use crate::ids::NodeId;
use crate::state::State;

/// What the dialer can be asked about trunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrunkCommand {
    /// Add one, or change the settings of one there is.
    Set {
        /// Its name.
        trunk: String,
        /// All of its settings.
        settings: Box<TrunkSettings>,
        /// It must not be there yet.
        new: bool,
        /// Why, for the log.
        reason: String,
    },
    /// Take one away: nothing new is put on it.
    Remove {
        /// Its name.
        trunk: String,
        /// Why, for the log.
        reason: String,
    },
    /// The trunks of the dialer's configuration, all of them.
    Configured(BTreeMap<String, TrunkSettings>),
}

pub(crate) fn decide(state: &State, command: &TrunkCommand) -> Result<Vec<Event>, Rejection> {
    match command {
        TrunkCommand::Set { trunk, settings, new, reason } => set(state, trunk, settings, *new, reason),
        TrunkCommand::Remove { trunk, reason } => remove(state, trunk, reason),
        TrunkCommand::Configured(trunks) => Ok(configured(state, trunks)),
    }
}

fn set(
    state: &State,
    name: &str,
    settings: &TrunkSettings,
    new: bool,
    reason: &str,
) -> Result<Vec<Event>, Rejection> {
    let problems: Vec<String> = check(name, settings).iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(Rejection::with("AST-D100", problems.join("; ")));
    }
    let known = state.trunks.get(name);
    let there = known.and_then(Trunk::usable);
    if there.is_some() && known.is_some_and(|trunk| trunk.configured) {
        return Err(Rejection::new(
            "AST-D101",
            "the trunk stands in the dialer's configuration: change it there and restart the dialer",
        ));
    }
    if new && there.is_some() {
        return Err(Rejection::new(
            "AST-D102",
            "a trunk of this name exists already; `trunk set` changes it",
        ));
    }
    if !new && there.is_none() {
        return Err(NONE);
    }
    if there.is_none() && usable(state).count() >= TRUNKS_MAX {
        return Err(Rejection::new("AST-D103", "there are 64 trunks already"));
    }
    if there == Some(settings) {
        return Ok(Vec::new());
    }
    let (trunk, settings, reason) = (name.to_owned(), settings.clone(), reason.to_owned());
    Ok(vec![Event::TrunkSet { trunk, settings, configured: false, reason }])
}

const NONE: Rejection = Rejection::new("AST-D104", "there is no trunk of this name; `trunk add` adds one");

fn remove(state: &State, name: &str, reason: &str) -> Result<Vec<Event>, Rejection> {
    let known = state.trunks.get(name).filter(|trunk| trunk.usable().is_some()).ok_or(NONE)?;
    if known.configured {
        return Err(Rejection::new(
            "AST-D101",
            "the trunk stands in the dialer's configuration: take it out there and restart the dialer",
        ));
    }
    let open = state.campaigns.iter().filter(|(_, campaign)| campaign.ended_at.is_none());
    let used: Vec<&str> = open
        .filter(|(_, campaign)| campaign.trunks.iter().any(|trunk| trunk == name))
        .map(|(id, _)| id.as_str())
        .collect();
    if !used.is_empty() {
        let why = format!(
            "campaigns that have not ended use it: {}; stop them, or give them others with `campaign set`",
            used.join(", ")
        );
        return Err(Rejection::with("AST-D105", why));
    }
    Ok(vec![Event::TrunkRemoved { trunk: name.to_owned(), reason: reason.to_owned() }])
}

/// What differs: set as it stands in the configuration, or taken away with it. A trunk of the configuration wins over one
/// of the same name that was added by command.
pub fn configured(state: &State, trunks: &BTreeMap<String, TrunkSettings>) -> Vec<Event> {
    let same = |name: &str, settings: &TrunkSettings| {
        state.trunks.get(name).is_some_and(|known| known.configured && known.usable() == Some(settings))
    };
    let mut events: Vec<Event> = trunks
        .iter()
        .filter(|(name, settings)| !same(name, settings))
        .map(|(name, settings)| Event::TrunkSet {
            trunk: name.clone(),
            settings: settings.clone(),
            configured: true,
            reason: "as the configuration has it".to_owned(),
        })
        .collect();
    let gone = usable(state).filter(|(name, trunk)| trunk.configured && !trunks.contains_key(*name));
    events.extend(gone.map(|(name, _)| Event::TrunkRemoved {
        trunk: name.clone(),
        reason: "the configuration has it no more".to_owned(),
    }));
    events
}

fn usable(state: &State) -> impl Iterator<Item = (&String, &Trunk)> {
    state.trunks.iter().filter(|(_, trunk)| trunk.usable().is_some())
}

/// Trunks that open nodes still have to be told of, in the order of the nodes: what the dialer owes them. A node proves by
/// its own fact that its PBX has one.
pub fn owed(state: &State) -> impl Iterator<Item = (&NodeId, Vec<&String>)> {
    let open = state
        .fleet
        .nodes
        .iter()
        .filter(|(_, node)| matches!(node.status, NodeStatus::Admitted | NodeStatus::Ready));
    open.filter_map(|(id, node)| {
        let missing: Vec<&String> = usable(state)
            .filter(|(name, trunk)| node.trunks.get(*name) != Some(&trunk.revision))
            .map(|(name, _)| name)
            .collect();
        (!missing.is_empty()).then_some((id, missing))
    })
}
