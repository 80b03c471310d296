//! What the scaler runs with.

use std::collections::BTreeMap;

use asterism_domain::fleet::FleetPolicy;
use asterism_runtime::config::{Config, Provider};

/// Least time between ticks.
pub const TICK_LEAST_MS: u64 = 20;
/// Least time between listings, whoever asks for them.
pub const LIST_LEAST_MS: u64 = 200;

/// What an instance is launched from. The same for every launch of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchTemplate {
    /// Machine image; may be empty when `launch_template` names one.
    pub image_id: String,
    /// Subnet.
    pub subnet_id: Option<String>,
    /// Firewall groups.
    pub security_group_ids: Vec<String>,
    /// Id or name of a launch template of the cloud.
    pub launch_template: Option<String>,
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
                node_capacity: scaler.node_capacity,
                price_micro_usd_per_hour: scaler.price_micro_usd_per_hour,
                budget_micro_usd: scaler.budget_micro_usd,
                launches_per_minute: scaler.launch_per_minute,
                boot_deadline_ms: scaler.boot_deadline_ms,
                instance_type: named(&ec2.instance_type),
                stale_after_ms: config.agent.stale_after_ms,
                dead_after_ms: config.agent.dead_after_ms,
                not_ready_grace_ms: scaler.not_ready_grace_ms,
                unreachable_terminate_after_ms: scaler.unreachable_terminate_after_ms,
                gone_after_ms: scaler.gone_after_ms,
                refusing_terminate_after_ms: scaler.refusing_terminate_after_ms,
                budget_reserve_ms: scaler.budget_reserve_ms,
            },
            tick_ms: scaler.tick_ms,
            // Reading a few folders costs nothing; the requests of EC2 are counted.
            list_every_ms: if local { 1_000 } else { 10_000 },
            orphan_after_ms: 120_000,
            orphan_confirm_ms: 5_000,
            order_repeat_ms: 5_000,
            template: LaunchTemplate {
                image_id: named(&ec2.image_id),
                subnet_id: ec2.subnet_id.clone().filter(|_| !local),
                security_group_ids: if local { Vec::new() } else { ec2.security_group_ids.clone() },
                launch_template: ec2.launch_template.clone().filter(|_| !local),
                tags: BTreeMap::new(),
            },
        }
    }
}
