//! Why a contact that waits is not dialled now, in one phrase: asked of the state, in the order in which the dialer would
//! find out.

use super::budget;
use super::decide::LOOKAHEAD_MS;
use super::judge::{Clock, Verdict, ZoneStands, judge};
use super::state::{Campaign, CampaignStatus, Contact, ContactStatus, KeptOff};
use super::waiting::ZoneIndex;
use crate::fleet::Node;
use crate::ids::Timestamp;
use crate::state::State;
use crate::trunk::health::BreakerState;
use crate::trunk::state::keeps_pace;
use crate::trunk::{Trunk, TrunkSettings, choose};

/// A reason, and until when it holds if that is known.
pub type Waits = (String, Option<Timestamp>);

/// Why a waiting contact is not dialled at `at`.
pub fn waits_for(state: &State, campaign: &str, contact: &Contact, at: Timestamp) -> Waits {
    let Some(known) = state.campaigns.get(campaign) else {
        return ("there is no such campaign".into(), None);
    };
    of_campaign(state, known, contact, at)
        .or_else(|| of_person(state, known, contact, at))
        .or_else(|| of_room(state, known, contact, at))
        .unwrap_or_else(|| ("for its turn: it can be dialled now".into(), None))
}

/// Why nobody of the campaign is dialled, or not this one before go-live.
fn of_campaign(state: &State, known: &Campaign, contact: &Contact, at: Timestamp) -> Option<Waits> {
    let rules = &known.rules;
    let why = match known.status {
        CampaignStatus::Running => "",
        CampaignStatus::Created => "its campaign has not been started",
        CampaignStatus::Paused => match budget::reached(known) {
            Some(budget) => return Some((format!("its campaign has used up its budget: {budget}"), None)),
            None => "its campaign is paused",
        },
        CampaignStatus::Stopped => "its campaign was stopped before its turn",
        CampaignStatus::Completed => "its campaign is complete",
    };
    if !why.is_empty() {
        return Some((why.into(), None));
    }
    let hold = state.hold();
    if !hold.is_empty() {
        return Some((format!("dialling is held: {hold}"), None));
    }
    if at < rules.starts_at_ms {
        return Some(("its campaign has not begun".into(), Some(rules.starts_at_ms)));
    }
    if rules.deadline_ms > 0 && at >= rules.deadline_ms {
        return Some(("its campaign's deadline has passed: it will be excluded".into(), None));
    }
    if rules.ends_at_ms > 0 && at >= rules.ends_at_ms {
        return Some(("its campaign's end time has come: the campaign will be stopped".into(), None));
    }
    if !known.live && !known.allowed.contains(contact.number_hash.as_slice()) {
        let outside = |name: &&String| {
            state.trunks.get(*name).and_then(Trunk::usable).is_some_and(TrunkSettings::is_outside)
        };
        let trunk = known.trunks.iter().find(outside)?;
        let why = format!(
            "its campaign is not live: over {trunk}, which leads outside, only allowed numbers are dialled until go-live"
        );
        return Some((why, None));
    }
    None
}

/// Why it is not its turn by its own delays, hours, trunks and number.
fn of_person(state: &State, known: &Campaign, contact: &Contact, at: Timestamp) -> Option<Waits> {
    let rules = &known.rules;
    let judged = judge(&state.do_not_call, &state.numbers, rules, contact.asked(), at);
    if contact.due_ms > at {
        let why = match judged {
            Verdict::Defer(_, rule) => number_rule(rule),
            _ if contact.rang > 0 || contact.never_rang > 0 => {
                "it is to be tried again, and the delay after its last attempt is not over"
            }
            _ => "a rule about its number put it off",
        };
        return Some((why.into(), Some(contact.due_ms)));
    }
    let clock = Clock::new(known);
    match clock.look(contact.zone, at) {
        ZoneStands::Closed if clock.never_opens(contact.zone, at) => {
            let why = "no moment is within the calling windows of all its time zones: it will be excluded";
            return Some((why.into(), None));
        }
        ZoneStands::Closed => {
            return Some(("its calling window is closed".into(), clock.opens_at(contact.zone, at)));
        }
        ZoneStands::Unknown => {
            return Some(("nobody knows its time zone: it will be excluded".into(), None));
        }
        ZoneStands::Open(_) => {}
    }
    match judged {
        Verdict::Dial => None,
        Verdict::Exclude(rule, detail) if detail.is_empty() => {
            Some((format!("it will be excluded, {}", rule.name()), None))
        }
        Verdict::Exclude(rule, detail) => {
            Some((format!("it will be excluded, {} ({detail})", rule.name()), None))
        }
        Verdict::Defer(until, rule) => Some((number_rule(rule).into(), Some(until))),
        Verdict::Wait(why) => Some((why.into(), None)),
    }
}

fn number_rule(rule: &str) -> &'static str {
    match rule {
        "min-gap" => "the least gap between two rings of its number, over all campaigns, is not over",
        "cap" => "its number has rung as often as a cap over all campaigns lets it",
        _ => "a rule about its number put it off",
    }
}

/// Why there is no room for it: caps, paces, trunks, nodes.
fn of_room(state: &State, known: &Campaign, contact: &Contact, at: Timestamp) -> Option<Waits> {
    let say = |why: String| Some((why, None));
    if known.max_channels > 0 && known.counts.in_flight >= known.max_channels {
        return say(format!("its campaign is at its cap of {} channels", known.max_channels));
    }
    if budget::room(known) == Some(0) {
        return say("the calls that ring now may use up its campaign's budget of answered calls".into());
    }
    if is_early(known.last_start_ms, known.calls_per_second.saturating_mul(1_000), at) {
        return say(format!("its campaign is at its pace of {} calls a second", known.calls_per_second));
    }
    let paced = &state.fleet.paced;
    if paced.room(state.in_flight) == 0 {
        return say(format!("the fleet is at its cap of {} channels", paced.caps.max_channels));
    }
    if is_early(paced.last_start_ms, paced.per_1000_s(), at) {
        return say(format!("the fleet is at its pace of {} calls a second", paced.caps.calls_per_second));
    }
    // In a log from before trunks were in it nothing is known of them.
    let told = state.trunks.values().any(|trunk| trunk.settings.is_some());
    let channels = state.catalogue.channels(&known.flow);
    if let Some(why) = all_shut(state, known, contact, &|_, trunk| shut(trunk, channels, at)).filter(|_| told)
    {
        return say(why);
    }
    let dialable = || state.fleet.nodes.values().filter(|node| node.dialable());
    if dialable().next().is_none() {
        let (there, owed) = (state.fleet.existing().count(), state.fleet.owed_launches().count());
        return say(format!("there is no node that takes calls ({there} exist, {owed} are being launched)"));
    }
    let nodes: Vec<&Node> = dialable().filter(|node| node.manifests.contains(&known.manifest)).collect();
    if nodes.is_empty() {
        return say("no node that takes calls has its prompts yet".into());
    }
    if nodes.iter().all(|node| node.free_slots() == 0) {
        let slots: u32 = nodes.iter().map(|node| node.capacity).sum();
        return say(format!("every slot is taken: {slots} on {} nodes", nodes.len()));
    }
    let early = |node: &&Node| is_early(node.last_start_ms, paced.node_per_1000_s(), at);
    let mut open = nodes.iter().filter(|node| node.free_slots() > 0);
    if open.clone().next().is_some() && open.all(early) {
        let pace = paced.caps.node_calls_per_second;
        return say(format!("each node with a free slot is at its pace of {pace} calls a second"));
    }
    let lacks = |name: &str, trunk: &Trunk| {
        let has = |node: &&Node| node.trunks.get(name) == Some(&trunk.revision) && node.free_slots() > 0;
        (!nodes.iter().any(has)).then(|| "no node with a free slot has it as it is set".to_owned())
    };
    let all = all_shut(state, known, contact, &|name, trunk| {
        shut(trunk, channels, at).or_else(|| lacks(name, trunk))
    });
    all.filter(|_| told).and_then(say)
}

/// What is wrong with each of a campaign's trunks, if something is with each.
fn all_shut(
    state: &State,
    known: &Campaign,
    contact: &Contact,
    wrong: &dyn Fn(&str, &Trunk) -> Option<String>,
) -> Option<String> {
    let of_each: Option<Vec<String>> = (known.trunks.iter().enumerate())
        .map(|(place, name)| {
            let why = match state.trunks.get(name) {
                None => Some("it was never set".to_owned()),
                Some(_) if contact.tried & choose::bit(place) != 0 => {
                    Some(if contact.kept_off == KeptOff::ForARetry {
                        "its last attempt was there, and its retry is to be on another".to_owned()
                    } else {
                        "it turned this contact away".to_owned()
                    })
                }
                Some(trunk) => wrong(name, trunk),
            };
            why.map(|why| format!("{name}: {why}"))
        })
        .collect();
    of_each.map(|all| format!("for a trunk: {}", all.join("; ")))
}

/// Why nothing may be put on a trunk now, whatever the nodes say.
fn shut(trunk: &Trunk, channels: u32, at: Timestamp) -> Option<String> {
    if let Some(why) = trunk.closed() {
        let rests = trunk.health.breaker.state == BreakerState::Open && trunk.usable().is_some();
        return Some(if rests { format!("it rests: {why}") } else { why });
    }
    if !trunk.has_room(channels) {
        let cap = trunk.usable().map_or(0, |set| set.max_channels);
        return Some(format!("it is at its cap of {cap} channels"));
    }
    if trunk.health.probes_left() == Some(0) {
        return Some("it rests, and the calls that try it are out".to_owned());
    }
    let pace = trunk.per_1000_s();
    is_early(trunk.last_start_ms, pace, at)
        .then(|| format!("it is at its pace of {}.{:03} calls a second", pace / 1_000, pace % 1_000))
}

/// Whether the next start by a pace is further ahead than the dialer gives one out.
fn is_early(last_start_ms: Timestamp, per_1000_s: u32, at: Timestamp) -> bool {
    !keeps_pace(last_start_ms, at.saturating_add(LOOKAHEAD_MS), per_1000_s)
}

/// What keeps a running campaign from dialling the next of those who wait, whom their own delays would let ring first; none
/// if it does not run or nobody waits.
pub fn limit(state: &State, campaign: &str, at: Timestamp) -> Option<Waits> {
    let known = state.campaigns.get(campaign).filter(|known| known.status == CampaignStatus::Running)?;
    let clock = Clock::new(known);
    let open = |zone: &ZoneIndex| matches!(clock.look(*zone, at), ZoneStands::Open(_));
    let zones: Vec<ZoneIndex> = known.waiting.zones().filter(open).collect();
    let next = known.waiting.candidates(&zones, at).next().or_else(|| known.waiting.all().next())?;
    Some(waits_for(state, campaign, known.contacts.get(next as usize)?, at))
}

/// How a contact stands, whatever its state, and until when if that is known.
pub fn stands(state: &State, campaign: &str, contact: &Contact, at: Timestamp) -> Waits {
    let said = match &contact.status {
        ContactStatus::Waiting => {
            let (why, until) = waits_for(state, campaign, contact, at);
            return (format!("waits to be dialled: {why}"), until);
        }
        ContactStatus::InFlight => "has an attempt in flight".to_owned(),
        ContactStatus::Settled(outcome) => format!("is settled: {}", outcome.name()),
        ContactStatus::Uncertain => {
            "is uncertain: it may have been rung, nobody can prove how that ended, and it is not dialled again by itself"
                .to_owned()
        }
        ContactStatus::Erased => "was erased before it was settled: there is no number to dial".to_owned(),
        ContactStatus::Excluded(rule) => format!("is not dialled: {}: {}", rule.name(), rule.words()),
    };
    (said, None)
}

/// A contact's attempts by how far they came: an attempt is ordered, a ring is what the callee may have heard of it.
pub fn attempts(contact: &Contact) -> String {
    let (never_rang, turned_away) = (u32::from(contact.never_rang), u32::from(contact.turned_away));
    let rang = u32::from(contact.rang);
    let not_dialled = contact.attempts.saturating_sub(rang + never_rang + turned_away);
    let parts = [
        (rang, "may have rung"),
        (never_rang, "failed in the PBX before anything left for the carrier"),
        (turned_away, "turned away by a carrier, which rang nobody"),
        (not_dialled, "not dialled: refused by its node, or not yet"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    match contact.attempts {
        0 => "no attempt was ordered".to_owned(),
        1 => format!("1 attempt was ordered: {}", parts.join(", ")),
        many => format!("{many} attempts were ordered: {}", parts.join(", ")),
    }
}
