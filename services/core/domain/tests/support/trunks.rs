//! Campaigns over two trunks, `a` and `b`, and what their carriers say.

use asterism_domain::campaign::command::{ImportRow, Limits, NewCampaign};
use asterism_domain::campaign::{CampaignCommand, decide};
use asterism_domain::invariant::Judge;
use asterism_domain::rules::CampaignRules;
use asterism_domain::trunk::TrunkSettings;
use asterism_domain::trunk::health::Heard;
use asterism_domain::{AttemptId, Event, Outcome, State};

use super::{Lab, loopback};

pub const A: &str = "+12025550101";
pub const B: &str = "+12025550102";

pub fn limits(caller_ids: &[&str]) -> Limits {
    Limits {
        max_channels: 0,
        calls_per_second: 0,
        ring_timeout_ms: 20_000,
        max_attempts: 1,
        caller_id: String::new(),
        caller_ids: caller_ids.iter().map(ToString::to_string).collect(),
        rules: CampaignRules::default(),
    }
}

pub fn create(trunks: &[&str], caller_ids: &[&str]) -> CampaignCommand {
    CampaignCommand::Create(Box::new(new("c", trunks, caller_ids)))
}

pub fn new(id: &str, trunks: &[&str], caller_ids: &[&str]) -> NewCampaign {
    NewCampaign {
        campaign: id.into(),
        name: "c".into(),
        flow: "f".into(),
        manifest: "m".into(),
        trunks: trunks.iter().map(ToString::to_string).collect(),
        limits: limits(caller_ids),
        live: false,
        allowed_hashes: vec![],
    }
}

/// A lab with trunks `a` and `b`, one wide node that has both, and a campaign over them that runs.
pub fn lab(a: TrunkSettings, b: TrunkSettings, contacts: u8, caller_ids: &[&str]) -> Lab {
    let mut lab = Lab::new();
    lab.now = 1_000_000;
    lab.trunk("a", a);
    lab.trunk("b", b);
    lab.wide_node(200);
    lab.dialer(&create(&["a", "b"], caller_ids));
    let rows = (0..contacts)
        .map(|n| ImportRow { number_hash: [n; 16], sealed: vec![n; 60], ..ImportRow::default() })
        .collect();
    lab.dialer(&CampaignCommand::Import {
        campaign: "c".into(),
        import: "c-1".into(),
        rows,
        last: true,
        skip_known: vec![],
    });
    lab.dialer(&CampaignCommand::Start { campaign: "c".into() });
    lab
}

pub fn first() -> TrunkSettings {
    TrunkSettings { priority: 10, ..loopback() }
}

/// Attempts of a tick with trunk and caller id.
pub fn intended(events: &[Event]) -> Vec<(AttemptId, String, String)> {
    let one = |event: &Event| match event {
        Event::AttemptIntended { attempt, trunk, caller_id, .. } => {
            Some((attempt.clone(), trunk.clone(), caller_id.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

pub fn end(lab: &mut Lab, attempt: &AttemptId, outcome: Outcome, sip_status: u32, heard: Heard) {
    let node = lab.in_flight().into_iter().find(|(id, _)| id == attempt).unwrap().1;
    let attempt = attempt.clone();
    lab.node(&node, Event::AttemptAccepted { attempt: attempt.clone(), order_term: 1 });
    lab.node(&node, Event::AttemptOriginating { attempt: attempt.clone(), boot_id: "b".into() });
    if outcome == Outcome::Answered {
        lab.node(&node, Event::AttemptAnswered { attempt: attempt.clone() });
    }
    lab.node(
        &node,
        Event::AttemptEnded {
            attempt,
            outcome,
            cause: 0,
            reason: 0,
            ring_ms: 1,
            talk_ms: 1,
            digits: String::new(),
            path: String::new(),
            never_rang: false,
            sip_status,
            heard,
        },
    );
}

/// What a judge finds who folds what was written once more.
pub fn judged(lab: &Lab) -> Vec<(&'static str, u64)> {
    let (mut state, mut judge) = (State::default(), Judge::new());
    let mut found = Vec::new();
    for recorded in &lab.written {
        let broken = judge.apply(&mut state, recorded);
        found.extend(broken.into_iter().map(|finding| (finding.id, recorded.sequence)));
    }
    assert_eq!(state, lab.state);
    found
}

pub fn refused(state: &State, command: &CampaignCommand) -> (&'static str, String) {
    let rejection = decide(state, command, 1).unwrap_err();
    (rejection.code, rejection.reason.to_string())
}
