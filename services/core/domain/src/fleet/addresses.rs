//! Public addresses that carriers know: a named pool, of which each node gets one before it takes calls.
//!
//! A carrier that authenticates by address takes calls from nowhere else, so the pool caps the fleet like any other
//! limit. An address is promised to a node in the log first ([`Event::AddressIntended`]), given to it by the cloud
//! ([`Event::AddressAssociated`]), usable once a heartbeat names it ([`Event::AddressShown`]), and free again only when the cloud has taken it back ([`Event::AddressReleased`]):
//! killed at any step, the scaler finds in the log what is owed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::plan::{FleetPolicy, FleetView, Plan};
use super::state::{Fleet, Node, NodeStatus};
use crate::event::Event;
use crate::ids::NodeId;
use crate::state::Effectless;

/// Addresses one carrier takes calls from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// Its name.
    pub name: String,
    /// IPv4 addresses, as people write them.
    pub addresses: BTreeSet<String>,
}

/// How far a node has got with its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AddressStatus {
    /// Promised; the cloud is to give it.
    Intended,
    /// The cloud has given it; the node's PBX may not have it yet.
    Associated,
    /// The node has said that its PBX shows it to the world.
    Shown,
    /// The node has ended and the cloud has it back.
    Released,
}

/// A node's public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// It.
    pub address: String,
    /// How far it has got.
    pub status: AddressStatus,
}

impl Node {
    /// Whether carriers that authenticate by address take its calls.
    pub fn is_addressed(&self) -> bool {
        !self.needs_address || self.address.as_ref().is_some_and(|held| held.status == AddressStatus::Shown)
    }
}

impl Fleet {
    /// Nodes that hold an address: promised, given, or not taken back yet.
    pub fn addressed(&self) -> impl Iterator<Item = (&NodeId, &Node, &NodeAddress)> {
        let held = self.nodes.iter().filter_map(|(id, node)| Some((id, node, node.address.as_ref()?)));
        held.filter(|(.., held)| held.status != AddressStatus::Released)
    }

    /// Nodes the cloud is to give their address.
    pub fn owed_addresses(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        let owed = self.addressed().filter(|(_, node, held)| {
            held.status == AddressStatus::Intended && node.status < NodeStatus::Terminating
        });
        owed.map(|(id, _, held)| (id, held.address.as_str()))
    }

    /// Nodes that end or have ended, whose address the cloud is to take back.
    pub fn owed_releases(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        let owed = self.addressed().filter(|(_, node, _)| node.status >= NodeStatus::Terminating);
        owed.map(|(id, _, held)| (id, held.address.as_str()))
    }

    /// Addresses nobody holds.
    fn free_addresses(&self) -> impl Iterator<Item = &String> {
        let held: BTreeSet<&str> = self.addressed().map(|(.., held)| held.address.as_str()).collect();
        let all = self.addresses.iter().flat_map(|pool| &pool.addresses);
        all.filter(move |address| !held.contains(address.as_str()))
    }
}

/// Nodes there may be: the policy's, and no more than the pool has addresses.
pub(super) fn most_nodes(policy: &FleetPolicy) -> u32 {
    let pool = policy.addresses.as_ref().map_or(usize::MAX, |pool| pool.addresses.len());
    policy.max_nodes.min(u32::try_from(pool).unwrap_or(u32::MAX))
}

/// What the plan does about addresses, and what it says of the pool.
pub(super) fn plan(view: &FleetView<'_>, policy: &FleetPolicy, asked: u32, plan: &mut Plan) {
    plan.pool_is_news = view.fleet.addresses != policy.addresses;
    // Addresses of a pool the log does not know are promised by the next plan.
    if plan.pool_is_news || policy.addresses.is_none() {
        return;
    }
    let without = view.fleet.existing().filter(|(_, node)| {
        node.needs_address && node.address.is_none() && node.status < NodeStatus::Terminating
    });
    let free = view.fleet.free_addresses();
    plan.address = without.zip(free).map(|((id, _), address)| (id.clone(), address.clone())).collect();
    let is_shown = |(id, _, held): &(&NodeId, &Node, &NodeAddress)| {
        held.status == AddressStatus::Associated && view.hearing.address(id, policy) == Some(&held.address)
    };
    let shown = view.fleet.addressed().filter(is_shown);
    plan.shown = shown.map(|(id, _, held)| (id.clone(), held.address.clone())).collect();
    let most = most_nodes(policy);
    if let Some(pool) = policy.addresses.as_ref().filter(|_| asked > most && most < policy.max_nodes) {
        let _ = write!(
            plan.reason,
            "; {asked} nodes would be wanted: the pool {} has {} addresses, and a node without one reaches no carrier",
            pool.name,
            pool.addresses.len()
        );
    }
}

/// What a plan decides, as events.
pub(super) fn events(plan: &Plan, policy: &FleetPolicy) -> (Option<Event>, Vec<Event>) {
    let pool = policy.addresses.clone().unwrap_or_default();
    let name = pool.name.clone();
    let set = Event::AddressPoolSet { pool: pool.name, addresses: pool.addresses.into_iter().collect() };
    let given = plan.address.iter().map(|(node, address)| Event::AddressIntended {
        node: node.clone(),
        address: address.clone(),
        pool: name.clone(),
    });
    let shown = plan
        .shown
        .iter()
        .map(|(node, address)| Event::AddressShown { node: node.clone(), address: address.clone() });
    (Some(set).filter(|_| plan.pool_is_news), given.chain(shown).collect())
}

/// Applies an event about addresses; judged again where it lands.
pub(super) fn apply(fleet: &mut Fleet, event: &Event) -> Result<(), Effectless> {
    match event {
        Event::AddressPoolSet { pool, addresses } => {
            let new = AddressPool { name: pool.clone(), addresses: addresses.iter().cloned().collect() };
            fleet.addresses = (!new.addresses.is_empty()).then_some(new);
            let needs = fleet.addresses.is_some();
            // A node that is there already gets one too; what it was given it keeps until it ends.
            for node in fleet.nodes.values_mut().filter(|node| node.status.exists()) {
                node.needs_address = needs;
            }
            fleet.recount(true);
        }
        Event::AddressIntended { node, address, .. } => {
            if !fleet.free_addresses().any(|free| free == address) {
                return Err(Effectless::void("the address is not of the pool, or not free"));
            }
            let known = fleet.nodes.get_mut(node).ok_or(Effectless::incident("unknown node"))?;
            if known.status >= NodeStatus::Terminating || known.address.is_some() {
                return Err(Effectless::void("the node has an address, or ends"));
            }
            known.address = Some(NodeAddress { address: address.clone(), status: AddressStatus::Intended });
        }
        Event::AddressAssociated { node, address } => {
            let held = held(fleet, node, address)?;
            if held.status != AddressStatus::Intended {
                return Err(Effectless::void("the node has it already"));
            }
            held.status = AddressStatus::Associated;
        }
        Event::AddressShown { node, address } => {
            let held = held(fleet, node, address)?;
            if held.status != AddressStatus::Associated {
                return Err(Effectless::void("the cloud has not given it, or it is shown already"));
            }
            held.status = AddressStatus::Shown;
        }
        Event::AddressReleased { node, address } => {
            if fleet.nodes.get(node).is_some_and(|known| known.status < NodeStatus::Terminating) {
                return Err(Effectless::void("the node does not end"));
            }
            held(fleet, node, address)?.status = AddressStatus::Released;
        }
        _ => {}
    }
    Ok(())
}

fn held<'a>(fleet: &'a mut Fleet, node: &NodeId, address: &str) -> Result<&'a mut NodeAddress, Effectless> {
    let known = fleet.nodes.get_mut(node).ok_or(Effectless::incident("unknown node"))?;
    let held = known.address.as_mut().filter(|held| held.address == address);
    held.filter(|held| held.status != AddressStatus::Released)
        .ok_or(Effectless::void("the node does not hold this address"))
}
