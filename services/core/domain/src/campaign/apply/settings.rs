//! What a campaign is, and where it stands.

use std::collections::{BTreeMap, BTreeSet};

use super::super::state::{Campaign, CampaignStatus, Counts};
use super::super::stats::{Stats, Used};
use super::super::waiting::Waiting;
use super::{known, trunks};
use crate::event::Event;
use crate::ids::Timestamp;
use crate::state::{Effectless, State};

pub(super) fn status(state: &mut State, event: &Event, at: Timestamp) -> Result<(), Effectless> {
    let Some(id) = event.campaign() else { return Ok(()) };
    let used = match event {
        Event::CampaignStarted { .. } | Event::CampaignStopped { .. } | Event::CampaignCompleted { .. } => {
            state.used()
        }
        _ => Used::default(),
    };
    let campaign = known(state, id)?;
    let (from, to): (&[CampaignStatus], CampaignStatus) = match event {
        Event::CampaignStarted { .. } => (&[CampaignStatus::Created], CampaignStatus::Running),
        Event::CampaignPaused { .. } | Event::CampaignBudgetReached { .. } => {
            (&[CampaignStatus::Running], CampaignStatus::Paused)
        }
        Event::CampaignResumed { .. } => (&[CampaignStatus::Paused], CampaignStatus::Running),
        Event::CampaignStopped { .. } => (
            &[CampaignStatus::Created, CampaignStatus::Running, CampaignStatus::Paused],
            CampaignStatus::Stopped,
        ),
        Event::CampaignCompleted { .. } => (&[CampaignStatus::Running], CampaignStatus::Completed),
        Event::CampaignLive { .. } => {
            campaign.live = true;
            return Ok(());
        }
        _ => return Ok(()),
    };
    if !from.contains(&campaign.status) {
        return Err(Effectless::void("the campaign is not in a state for this"));
    }
    if to == CampaignStatus::Completed && !(campaign.waiting.is_empty() && campaign.in_flight.is_empty()) {
        return Err(Effectless::void("the campaign has contacts that wait or are in flight"));
    }
    campaign.status = to;
    match to {
        CampaignStatus::Running => {
            if campaign.started_at.is_none() {
                campaign.started_at = Some(at);
                campaign.stats.at_start = used;
            }
        }
        CampaignStatus::Stopped | CampaignStatus::Completed => {
            campaign.ended_at = Some(at);
            campaign.stats.at_end = Some((used, campaign.slots_ms(at)));
        }
        CampaignStatus::Created | CampaignStatus::Paused => {}
    }
    Ok(())
}

pub(super) fn created(event: &Event, at: Timestamp) -> Option<Campaign> {
    let Event::CampaignCreated {
        campaign: _,
        name,
        flow,
        manifest,
        trunk,
        max_channels,
        calls_per_second,
        ring_timeout_ms,
        max_attempts,
        caller_id,
        live,
        allowed_hashes,
        rules,
        trunks,
        caller_ids,
    } = event.clone()
    else {
        return None;
    };
    let trunks = std::iter::once(trunk.clone()).chain(trunks).collect();
    Some(Campaign {
        name,
        flow,
        manifest,
        manifest_before: String::new(),
        trunk,
        trunks,
        max_channels,
        above_cap: 0,
        calls_per_second,
        ring_timeout_ms,
        max_attempts: max_attempts.max(1),
        caller_id,
        more_caller_ids: caller_ids,
        rules: rules.unwrap_or_default(),
        live,
        allowed: allowed_hashes.into_iter().collect(),
        status: CampaignStatus::Created,
        open_imports: BTreeSet::new(),
        imports: Vec::new(),
        contacts: Vec::new(),
        zones: Vec::new(),
        waiting: Waiting::default(),
        numbers: BTreeMap::new(),
        in_flight: BTreeMap::new(),
        counts: Counts::default(),
        stats: Stats::default(),
        last_start_ms: 0,
        created_at: at,
        started_at: None,
        ended_at: None,
    })
}

pub(super) fn changed(campaign: &mut Campaign, event: &Event) -> Result<(), Effectless> {
    let Event::CampaignChanged {
        max_channels,
        calls_per_second,
        ring_timeout_ms,
        max_attempts,
        caller_id,
        caller_ids,
        rules,
        trunks,
        manifest,
        ..
    } = event
    else {
        return Ok(());
    };
    if campaign.ended_at.is_some() {
        return Err(Effectless::void("the campaign has ended"));
    }
    campaign.max_channels = *max_channels;
    let in_flight = campaign.counts.in_flight;
    campaign.above_cap = if *max_channels > 0 && in_flight > *max_channels { in_flight } else { 0 };
    campaign.calls_per_second = *calls_per_second;
    campaign.ring_timeout_ms = *ring_timeout_ms;
    campaign.max_attempts = (*max_attempts).max(1);
    campaign.caller_id.clone_from(caller_id);
    campaign.more_caller_ids.clone_from(caller_ids);
    campaign.rules = rules.clone().unwrap_or_default();
    if !trunks.is_empty() {
        trunks::relisted(campaign, trunks);
    }
    if !manifest.is_empty() && *manifest != campaign.manifest {
        campaign.manifest_before = std::mem::replace(&mut campaign.manifest, manifest.clone());
    }
    Ok(())
}
