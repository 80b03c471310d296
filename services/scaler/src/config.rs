//! What the scaler runs with.

use std::collections::BTreeMap;

use asterism_domain::fleet::{AddressPool, FleetPolicy, Place};
use asterism_runtime::config::{self, Config, Ec2Config, Provider};

use crate::places::{ON_DEMAND, SPOT};

/// Least time between ticks.
pub const TICK_LEAST_MS: u64 = 20;
/// Least time between listings, whoever asks for them.
pub const LIST_LEAST_MS: u64 = 200;

/// What an instance is launched from. The same for every launch of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchTemplate {
    /// Machine image; may be empty when `launch_template` names one.
    pub image_id: String,
    /// What can be asked for, best first: types, subnets and markets. None: each intent is a request of its own.
    pub places: Vec<Place>,
    /// Firewall groups.
    pub security_group_ids: Vec<String>,
    /// Id or name of a launch template of the cloud.
    pub launch_template: Option<String>,
    /// Call slots that types were measured to have.
    pub call_slots: BTreeMap<String, u32>,
    /// Further tags.
    pub tags: BTreeMap<String, String>,
}

/// The scaler's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalerConfig {
    /// Limits, prices and patience.
    pub policy: FleetPolicy,
    /// Time between plans, at least 20.
    pub tick_ms: u64,
    /// Time between listings of the cloud, at least 200.
    pub list_every_ms: u64,
    /// Age at which an instance the log does not explain is terminated.
    pub orphan_after_ms: u64,
    /// How long an orphan is looked at, by this process's own clock, before it is terminated.
    pub orphan_confirm_ms: u64,
    /// How long a place without room is passed over.
    pub capacity_memory_ms: u64,
    /// How long a launch waits for room before it fails and the need is looked at anew.
    pub capacity_patience_ms: u64,
    /// Time after which a drain order is repeated that was taken and has had no effect in the log.
    pub order_repeat_ms: u64,
    /// What instances are launched from.
    pub template: LaunchTemplate,
}

impl Default for ScalerConfig {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for ScalerConfig {
    fn from(config: &Config) -> Self {
        let (scaler, ec2) = (&config.scaler, &config.scaler.ec2);
        let local = scaler.provider == Provider::Local;
        let named =
            |name: &Option<String>| if local { "local".into() } else { name.clone().unwrap_or_default() };
        Self {
            policy: FleetPolicy {
                min_nodes: scaler.min_nodes,
                max_nodes: scaler.max_nodes,
                node_capacity: if local { scaler.node_capacity } else { fewest_slots(scaler) },
                price_micro_usd_per_hour: scaler.price_micro_usd_per_hour,
                prices: None,
                max_micro_usd_per_hour: scaler.max_micro_usd_per_hour,
                budget_micro_usd: scaler.budget_micro_usd,
                addresses: if local { None } else { pool(ec2) },
                launches_per_minute: scaler.launch_per_minute,
                boot_deadline_ms: scaler.boot_deadline_ms,
                instance_type: named(&ec2.instance_type),
                stale_after_ms: config.agent.stale_after_ms,
                dead_after_ms: config.agent.dead_after_ms,
                not_ready_grace_ms: scaler.not_ready_grace_ms,
                unreachable_terminate_after_ms: scaler.unreachable_terminate_after_ms,
                gone_after_ms: scaler.gone_after_ms,
                refusing_terminate_after_ms: scaler.refusing_terminate_after_ms,
                recordings_wait_ms: scaler.recordings_wait_ms,
                budget_reserve_ms: scaler.budget_reserve_ms,
            },
            tick_ms: scaler.tick_ms,
            // Reading a few folders costs nothing; the requests of EC2 are counted.
            list_every_ms: if local { 1_000 } else { 10_000 },
            orphan_after_ms: 120_000,
            orphan_confirm_ms: 5_000,
            capacity_memory_ms: 180_000,
            capacity_patience_ms: 600_000,
            order_repeat_ms: 5_000,
            template: LaunchTemplate {
                image_id: named(&ec2.image_id),
                places: if local { Vec::new() } else { places(ec2) },
                security_group_ids: if local { Vec::new() } else { ec2.security_group_ids.clone() },
                launch_template: ec2.launch_template.clone().filter(|_| !local),
                call_slots: if local { BTreeMap::new() } else { ec2.call_slots.clone() },
                tags: BTreeMap::new(),
            },
        }
    }
}

/// Call slots that every node has, whichever of the types it is.
fn fewest_slots(scaler: &config::ScalerConfig) -> u32 {
    let types = scaler.ec2.instance_type.iter().chain(&scaler.ec2.more_instance_types);
    let slots = types.map(|name| scaler.ec2.call_slots.get(name).copied().unwrap_or(scaler.node_capacity));
    slots.min().unwrap_or(scaler.node_capacity)
}

/// The addresses carriers know, if nodes are to have one.
fn pool(ec2: &Ec2Config) -> Option<AddressPool> {
    let name = ec2.address_pool.clone().unwrap_or_default();
    let addresses = ec2.addresses.iter().cloned().collect();
    (!ec2.addresses.is_empty()).then_some(AddressPool { name, addresses })
}

/// Every type in every subnet: as spot first if that is asked for, then on demand. A type that is farther down the list is
/// asked for when no subnet has the one before.
fn places(ec2: &Ec2Config) -> Vec<Place> {
    let or_any = |first: &Option<String>, more: &[String]| {
        let mut all: Vec<String> = first.iter().chain(more).cloned().collect();
        if all.is_empty() {
            all.push(String::new());
        }
        all
    };
    let types = or_any(&ec2.instance_type, &ec2.more_instance_types);
    let subnets = or_any(&ec2.subnet_id, &ec2.more_subnet_ids);
    let markets = if ec2.spot { vec![SPOT, ON_DEMAND] } else { vec![ON_DEMAND] };
    let mut places = Vec::new();
    for market in markets {
        for instance_type in &types {
            places.extend(subnets.iter().map(|subnet| Place {
                instance_type: instance_type.clone(),
                subnet: subnet.clone(),
                market: market.to_owned(),
            }));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered_by_market_type_and_subnet() {
        let ec2 = Ec2Config {
            instance_type: Some("a".into()),
            more_instance_types: vec!["b".into()],
            more_subnet_ids: vec!["s1".into(), "s2".into()],
            spot: true,
            ..Ec2Config::default()
        };
        let words: Vec<String> =
            places(&ec2).iter().map(|p| format!("{} {} {}", p.instance_type, p.subnet, p.market)).collect();
        let order = ["a s1 spot", "a s2 spot", "b s1 spot", "b s2 spot", "a s1 on-demand", "a s2 on-demand"];
        assert_eq!(words[..6], order);
        assert_eq!(words.len(), 8);
        let any = Place { market: ON_DEMAND.into(), ..Place::default() };
        assert_eq!(places(&Ec2Config::default()), [any], "a launch template says the rest");
        assert!(ScalerConfig::default().template.places.is_empty(), "local instances are not placed");
    }
}
