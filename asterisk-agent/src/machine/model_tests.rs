//! Random interleavings with crashes: never two originates of one attempt, never more attempts than slots, one final
//! fact each, one answer a step. The store is modelled: what was not synced is lost with the machine, not with the agent;
//! effects come after their sync, or at once where they do not wait for it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_proto::v1;
use proptest::prelude::*;

use super::tests::{boot, open_gates, order};
use super::*;
use crate::dialplan::{EndReport, LastVerb, Question};

const NOW: u64 = 1_000_000;
const CAPACITY: u32 = 3;

#[derive(Debug, Clone, Copy)]
enum Act {
    Order { id: usize, term: u64 },
    Wait { ms: u64 },
    Sync,
    AgentDies,
    PowerFails,
    PbxCrash,
    PbxBlink,
    Response { id: usize, answered: bool },
    Hangup { id: usize },
    Question { id: usize, step: u32 },
    Answer { id: usize, step: u32, usable: bool },
    Report { id: usize },
    Stop { id: usize },
    Drain { on: bool },
}

fn act() -> impl Strategy<Value = Act> {
    let id = 0..5_usize;
    prop_oneof![
        6 => (id.clone(), 1..4_u64).prop_map(|(id, term)| Act::Order { id, term }),
        4 => (0..3_000_u64).prop_map(|ms| Act::Wait { ms }),
        6 => Just(Act::Sync),
        1 => Just(Act::AgentDies),
        1 => Just(Act::PowerFails),
        1 => Just(Act::PbxCrash),
        1 => Just(Act::PbxBlink),
        3 => (id.clone(), any::<bool>()).prop_map(|(id, answered)| Act::Response { id, answered }),
        3 => id.clone().prop_map(|id| Act::Hangup { id }),
        3 => (id.clone(), 1..4_u32).prop_map(|(id, step)| Act::Question { id, step }),
        3 => (id.clone(), 1..4_u32, any::<bool>()).prop_map(|(id, step, usable)| Act::Answer { id, step, usable }),
        1 => id.clone().prop_map(|id| Act::Report { id }),
        1 => id.prop_map(|id| Act::Stop { id }),
        1 => any::<bool>().prop_map(|on| Act::Drain { on }),
    ]
}

/// A node with its store and its PBX, as far as the rules can see them.
struct World {
    now: u64,
    machine: Machine,
    durable: Saved,
    unsynced: VecDeque<Output>,
    boots: u32,
    live: BTreeSet<String>,
    originates: BTreeMap<String, u32>,
    finals: BTreeMap<String, u32>,
    lines: BTreeMap<(String, u32), String>,
}

fn name(id: usize) -> String {
    format!("a{id}")
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: NOW,
            machine: Machine::new("i-1", CAPACITY, Saved::default()),
            durable: Saved::default(),
            unsynced: VecDeque::new(),
            boots: 1,
            live: BTreeSet::new(),
            originates: BTreeMap::new(),
            finals: BTreeMap::new(),
            lines: BTreeMap::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        open_gates(&mut self.machine);
        let channels: Vec<(&str, bool)> = self.live.iter().map(|id| (id.as_str(), false)).collect();
        let out = self.machine.on_pbx_up(boot(&format!("b{}", self.boots), &channels), self.now);
        self.take(out);
    }

    /// Written ahead: what need not wait for the sync happens now.
    fn take(&mut self, mut out: Output) {
        let (later, at_once): (Vec<_>, Vec<_>) = out.effects.into_iter().partition(Effect::waits_for_sync);
        out.effects = later;
        self.unsynced.push_back(out);
        for effect in at_once {
            self.perform(effect);
        }
    }

    fn sync(&mut self) {
        while let Some(effects) = self.keep() {
            for effect in effects {
                self.perform(effect);
            }
        }
    }

    /// Makes the oldest commit durable, and gives the effects that waited for it.
    fn keep(&mut self) -> Option<Vec<Effect>> {
        let out = self.unsynced.pop_front()?;
        for change in out.changes {
            self.store(change);
        }
        for fact in &out.facts {
            if matches!(fact.body, Body::Refused(_) | Body::Ended(_) | Body::Uncertain(_)) {
                *self.finals.entry(fact.attempt().to_owned()).or_default() += 1;
            }
        }
        Some(out.effects)
    }

    fn store(&mut self, change: Change) {
        let saved = &mut self.durable;
        match change {
            Change::PutAttempt(id, mut attempt) => {
                attempt.watch = Watch::default();
                saved.attempts.insert(id, *attempt);
            }
            Change::DropAttempt(id) => drop(saved.attempts.remove(&id)),
            Change::PutPast(key, past) => drop(saved.past.insert(key, past)),
            Change::DropPast(key) => drop(saved.past.remove(&key)),
            Change::PutTerm(role, term) => drop(saved.terms.insert(role, term)),
            Change::PutDrain(drain) => saved.drain = drain,
            Change::PutReady(boot_id) => saved.ready = boot_id,
            Change::PutManifest(manifest) => drop(saved.manifests.insert(manifest)),
            Change::DropManifest(manifest) => drop(saved.manifests.remove(&manifest)),
            Change::PutWitnessed(witnessed) => saved.witnessed = *witnessed,
            Change::PutRecording(name, it) => drop(saved.recordings.insert(name, *it)),
            Change::DropRecording(name) => drop(saved.recordings.remove(&name)),
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Originate(originate) => {
                assert!(
                    self.durable.attempts[&originate.attempt].phase == Phase::Originating,
                    "written down first"
                );
                *self.originates.entry(originate.attempt.clone()).or_default() += 1;
                self.live.insert(originate.attempt);
            }
            Effect::Answer { call, step, line: Some(line) } if !line.contains("hangup|16") => {
                let first = self.lines.entry((call, step)).or_insert_with(|| line.clone());
                assert_eq!(*first, line, "one answer per step");
            }
            _ => {}
        }
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        let machine = &mut self.machine;
        let out = match act {
            Act::Order { id, term } => {
                let mut order = order(term, &[&name(id)]);
                order.attempts[0].not_before_ms = now;
                order.attempts[0].not_after_ms = now + 2_000;
                machine.on_dial(1, order, now)
            }
            Act::Wait { ms } => {
                self.now += ms;
                let due = machine.due(self.now);
                self.take(due);
                self.machine.on_tick(self.now, 0, SpoolView::default())
            }
            Act::Sync => return self.sync(),
            Act::AgentDies => {
                while self.keep().is_some() {} // the next start finds the commits, and nobody performed what waited
                self.machine = Machine::new("i-1", CAPACITY, self.durable.clone());
                return self.start();
            }
            Act::PowerFails => {
                self.unsynced.clear();
                self.boots += 1;
                self.live.clear();
                self.machine = Machine::new("i-1", CAPACITY, self.durable.clone());
                return self.start();
            }
            Act::PbxCrash => {
                self.boots += 1;
                self.live.clear();
                let down = machine.on_pbx_down("gone", now);
                self.take(down);
                return self.start();
            }
            Act::PbxBlink => {
                // Effects wait for their sync, and the connection is remade only by the shell that performs them.
                self.sync();
                let down = self.machine.on_pbx_down("blink", now);
                self.take(down);
                return self.start();
            }
            Act::Response { id, answered } if self.live.contains(&name(id)) => {
                let reason = if answered { 4 } else { 0 };
                machine.on_pbx_event(PbxEvent::Originated { attempt: name(id), answered, reason }, now)
            }
            Act::Hangup { id } if self.live.remove(&name(id)) => {
                machine.on_pbx_event(PbxEvent::Hangup { attempt: name(id), cause: 16, sip_status: 0 }, now)
            }
            Act::Question { id, step } => {
                let question = Question {
                    channel_id: name(id),
                    step,
                    misses: 0,
                    flow: String::new(),
                    last_verb: LastVerb::Start,
                    status: String::new(),
                    digits: String::new(),
                    listened: None,
                    leg: None,
                };
                machine.on_question(&question, now)
            }
            Act::Answer { id, step, usable } => {
                let reply = if usable { format!("play|p{now}|0") } else { "no".to_owned() };
                machine.on_answer(&name(id), step, Ok(v1::StepAnswer { reply, ..v1::StepAnswer::default() }))
            }
            Act::Report { id } => {
                machine.on_end_report(&EndReport { channel_id: name(id), ..EndReport::default() }, now).1
            }
            Act::Stop { id } => {
                let stop =
                    v1::HangupOrder { term: 3, attempts: vec![name(id)], ..v1::HangupOrder::default() };
                machine.on_hangup_order(1, &stop, now)
            }
            Act::Drain { on } => {
                let number = machine.drain.number + u64::from(on);
                machine.on_drain(1, &v1::DrainOrder { term: 1, drain: number, undrain: !on })
            }
            Act::Response { .. } | Act::Hangup { .. } => return,
        };
        self.take(out);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn any_interleaving_keeps_the_rules(acts in proptest::collection::vec(act(), 1..80)) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
            let slots = world.machine.slots();
            prop_assert!(slots.ringing + slots.up <= CAPACITY, "more attempts than slots");
            prop_assert!(world.originates.values().all(|count| *count == 1), "{:?}", world.originates);
        }
        // Left alone, everything ends, and each attempt ends once.
        world.sync();
        world.live.clear();
        world.start();
        world.act(Act::Wait { ms: 3_000 });
        world.act(Act::Wait { ms: PBX_LOST_MS });
        world.sync();
        prop_assert_eq!(world.machine.slots().free, CAPACITY);
        prop_assert!(world.finals.values().all(|count| *count == 1), "{:?}", world.finals);
        prop_assert!(world.originates.keys().all(|id| world.finals.contains_key(id)), "an attempt without an end");
    }
}
