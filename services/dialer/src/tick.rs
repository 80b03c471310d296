//! The dialer's tick: one command, at most every 20 ms, at once after the log moved.

use std::sync::Arc;
use std::time::Duration;

use asterism_domain::State;
use asterism_domain::campaign::{CampaignCommand, CampaignStatus, DialTick};
use asterism_runtime::heartbeat::Heartbeats;
use asterism_runtime::leader::Desk;
use asterism_runtime::role::Deps;

use crate::config::DialerConfig;
use crate::emergency::Brake;

/// Least time between ticks.
const TICK_LEAST_MS: u64 = 20;

/// Ticks while this process leads.
pub async fn run(
    config: Arc<DialerConfig>,
    deps: Deps,
    desk: Desk<CampaignCommand>,
    heartbeats: Heartbeats,
    brake: Brake,
) {
    let mut leading = desk.leading();
    let mut clock = tokio::time::interval(Duration::from_millis(config.tick_ms.max(TICK_LEAST_MS)));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        clock.tick().await;
        if brake.is_on() || !deps.log.read(has_work) {
            continue;
        }
        let tick = DialTick {
            fresh: heartbeats.fresh_ready(),
            order_window_ms: config.order_window_ms,
            max_intents: config.max_intents,
            caps: Some(config.caps),
        };
        if let Err(error) = desk.tell(CampaignCommand::Tick(tick)).await {
            tracing::debug!(%error, "tick not decided");
        }
    }
}

fn has_work(state: &State) -> bool {
    state.campaigns.values().any(|campaign| campaign.status == CampaignStatus::Running)
}
