//! INV-10 under replies that come twice, late, out of order or from several replicas at once: 100,000 of them against the
//! node's real rules (a tenth unless `ASTERISM_TEST_FULL=1`). Of all replies to one step of a call one takes effect, it is the
//! first that could be used, the dialplan hears the same line however often it asks, and the fact names its decision.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use asterism_agent::dialplan::{LastVerb, Question};
use asterism_agent::fact::Body;
use asterism_agent::machine::{Effect, Gate, Machine, Output, PbxEvent, PbxUp, Saved};
use asterism_proto::v1;

const NOW: u64 = 1_000_000;
const CALLS: usize = 50;
const REPLICAS: u64 = 3;
const FROM_RESPONDER: u32 = 1;

/// Pseudo-random numbers: the same history each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

type Step = (String, u32);
/// Where a decision stands: origin, frame.
type Place = (String, u64);

/// A node, the replies that are on their way to it, and what it made of those that came.
struct World {
    machine: Machine,
    dice: Dice,
    on_their_way: Vec<(Step, Result<v1::StepAnswer, String>)>,
    /// Every decision that was ever made for a step, with its words.
    decided: BTreeMap<Step, BTreeMap<Place, String>>,
    /// The first usable reply that came while it was waited for.
    first: BTreeMap<Step, Option<Place>>,
    taken: BTreeMap<Step, v1::StepTaken>,
    heard: BTreeMap<Step, String>,
    at: Vec<u32>,
    frames: u64,
    counts: BTreeMap<&'static str, u64>,
}

fn call(number: usize) -> String {
    format!("camp-{number}-1")
}

impl World {
    fn start() -> Self {
        let mut machine = Machine::new("i-1", u32::try_from(CALLS).unwrap(), Saved::default());
        machine.on_gate(Gate::Admitted(true));
        machine.on_gate(Gate::Clock(true));
        machine.on_manifest("m1");
        let up = PbxUp {
            boot_id: "b1".to_owned(),
            version: "22".to_owned(),
            channels: BTreeMap::new(),
            journal: vec![],
        };
        machine.on_pbx_up(up, NOW);
        let attempt = |number| v1::DialAttempt {
            attempt: call(number),
            campaign: "camp".to_owned(),
            number: "+15550100123".to_owned(),
            trunk: "trunk-a".to_owned(),
            not_before_ms: NOW,
            not_after_ms: NOW + 2_000,
            ring_timeout_ms: 30_000,
            flow: "survey".to_owned(),
            manifest: "m1".to_owned(),
            fallback: "play|sorry|0".to_owned(),
            ..v1::DialAttempt::default()
        };
        let attempts = (0..CALLS).map(attempt).collect();
        machine.on_dial(1, v1::DialOrder { term: 1, log_position: 1, attempts }, NOW);
        machine.due(NOW);
        for number in 0..CALLS {
            let originated = PbxEvent::Originated { attempt: call(number), answered: true, reason: 4 };
            machine.on_pbx_event(originated, NOW + 900);
        }
        Self {
            machine,
            dice: Dice(7),
            on_their_way: Vec::new(),
            decided: BTreeMap::new(),
            first: BTreeMap::new(),
            taken: BTreeMap::new(),
            heard: BTreeMap::new(),
            at: vec![0; CALLS],
            frames: 0,
            counts: BTreeMap::new(),
        }
    }

    /// The dialplan asks: for its next step if it has heard the last one, else for the same again.
    fn ask(&mut self) {
        let number = self.dice.roll(CALLS);
        let last = (call(number), self.at[number]);
        if self.at[number] == 0 || self.heard.contains_key(&last) && self.dice.roll(3) > 0 {
            self.at[number] += 1;
        }
        let question = Question {
            channel_id: call(number),
            step: self.at[number],
            last_verb: if self.at[number] == 1 { LastVerb::Start } else { LastVerb::Play },
            status: "OK".to_owned(),
            ..Question::default()
        };
        let out = self.machine.on_question(&question, NOW + 1_000);
        self.look(out, None);
    }

    /// Each replica that is asked decides for itself; each reply may be sent more than once, or say that there is none.
    fn decide(&mut self, asked: &v1::StepQuestion) {
        let step: Step = (asked.call.clone(), asked.step);
        for replica in 0..=self.dice.roll(REPLICAS as usize) {
            self.frames += 1;
            let place = (format!("proc/logic-responder-{replica}"), self.frames);
            // Back ends may well answer differently when they are asked twice.
            let reply = format!("play|p{replica}-{}|0", asked.step);
            self.decided.entry(step.clone()).or_default().insert(place.clone(), reply.clone());
            let answer = v1::StepAnswer {
                reply,
                next_state: "next".to_owned(),
                origin: place.0,
                epoch: vec![1; 16],
                frame: place.1,
                ..v1::StepAnswer::default()
            };
            for _ in 0..=self.dice.roll(3) {
                self.on_their_way.push((step.clone(), Ok(answer.clone())));
            }
        }
    }

    /// Any reply that is on its way comes; now and then it is only a copy, and the reply itself comes later once more.
    fn deliver(&mut self) -> bool {
        if self.on_their_way.is_empty() {
            return false;
        }
        let at = self.dice.roll(self.on_their_way.len());
        let is_copy = self.dice.roll(5) == 0;
        let (step, answer) =
            if is_copy { self.on_their_way[at].clone() } else { self.on_their_way.swap_remove(at) };
        let waited = self.heard.contains_key(&step);
        let what = match (is_copy, waited) {
            (true, _) => "copies",
            (false, true) => "late or second",
            (false, false) => "in time",
        };
        *self.counts.entry(what).or_default() += 1;
        let place = answer.as_ref().ok().map(|answer| (answer.origin.clone(), answer.frame));
        let out = self.machine.on_answer(&step.0, step.1, answer);
        if waited {
            assert!(out.facts.is_empty() && out.effects.is_empty(), "{step:?} was answered before: {out:?}");
        }
        self.look(out, place.as_ref());
        true
    }

    fn look(&mut self, out: Output, from: Option<&Place>) {
        for fact in out.facts {
            let Body::StepTaken(taken) = fact.body else { continue };
            let step = (taken.call.clone(), taken.step);
            assert_eq!(taken.source, FROM_RESPONDER, "{taken:?}");
            self.first.insert(step.clone(), from.cloned());
            let second = self.taken.insert(step, taken);
            assert!(second.is_none(), "a second answer to one step: {second:?}");
        }
        for effect in out.effects {
            match effect {
                Effect::Ask(question) => self.decide(&question),
                Effect::Answer { call, step, line: Some(line) } => {
                    let known = self.heard.entry((call, step)).or_insert_with(|| line.clone());
                    assert_eq!(*known, line, "the dialplan hears two answers to one step");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn of_many_replies_to_a_step_one_takes_effect_however_they_come() {
    let full = std::env::var_os("ASTERISM_TEST_FULL").is_some_and(|value| value == "1");
    let replies = if full { 100_000 } else { 10_000 };
    let mut world = World::start();
    let mut came = 0;
    while came < replies {
        if world.dice.roll(3) == 0 {
            world.ask();
        }
        came += u64::from(world.deliver());
    }
    let steps: BTreeSet<&Step> = world.heard.keys().collect();
    assert_eq!(
        steps,
        world.taken.keys().collect::<BTreeSet<_>>(),
        "what is heard is told, and the other way round"
    );
    for (step, taken) in &world.taken {
        let decision = taken.decision.as_ref().expect("it names its decision");
        let place: Place = (decision.origin.clone(), decision.frame);
        assert_eq!(
            world.decided[step].get(&place),
            Some(&taken.reply),
            "{step:?} is not what was decided there"
        );
        assert_eq!(world.first[step].as_ref(), Some(&place), "{step:?} is not the first that came");
        assert!(
            world.heard[step].contains(&format!("m1/{}", &taken.reply[5..9])),
            "{step:?}: {}",
            world.heard[step]
        );
    }
    eprintln!("{replies} replies (in full: 100000): {:?}, {} steps", world.counts, world.taken.len());
    assert!(world.counts.values().all(|count| *count > replies / 20), "{:?}", world.counts);
    assert!(world.taken.len() as u64 > replies / 20);
}
