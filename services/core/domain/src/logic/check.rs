//! What must hold between the states of a flow, and the making of a [`Flow`] that passed.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::problem::{FlowProblem, Problems, Target, code, did_you_mean};
use super::read::{Draft, DraftState, Shape, draft};
use super::{Act, Answer, Flow, MAX_DOCUMENT_BYTES, MAX_FALLBACK_STEPS, MAX_VARS, State, Then, flow_id};

/// Reads and checks a document.
pub(super) fn flow(text: &str) -> Result<Flow, Vec<FlowProblem>> {
    let mut problems = Problems::new(text);
    if text.len() > MAX_DOCUMENT_BYTES {
        let reason = format!("{} bytes; at most {MAX_DOCUMENT_BYTES} are allowed", text.len());
        problems.add(code::DOCUMENT, &(0..0), "", reason);
        return Err(problems.into_sorted());
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        problems.add(code::SYNTAX, &error.span().unwrap_or_default(), "", error.message());
    }
    // What a parser made of a broken text is a guess, and complaints about guesses mislead.
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    let draft = draft(root.get_ref(), 0..0, &mut problems);
    let by_name = index(&draft);
    check_named(&by_name, &mut problems);
    if let (true, Some(graph)) = (problems.is_empty(), Graph::new(&draft, &by_name)) {
        if draft.backend.is_none() {
            graph.check_reachable(&mut problems);
        }
        graph.check_busy_loops(&mut problems);
        graph.check_fallback(&mut problems);
        graph.check_vars(&mut problems);
        if problems.is_empty() {
            let flow = graph.into_flow(flow_id(text.as_bytes()), &draft.name);
            let Draft { backend, destinations, hold_s, .. } = draft;
            let destinations =
                destinations.into_iter().filter_map(|(name, one)| Some((name, one?))).collect();
            return Ok(Flow { hold_s, backend, destinations, ..flow });
        }
    }
    Err(problems.into_sorted())
}

fn index(draft: &Draft) -> BTreeMap<String, usize> {
    draft.states.iter().enumerate().map(|(index, state)| (state.name.clone(), index)).collect()
}

fn check_named(by_name: &BTreeMap<String, usize>, problems: &mut Problems<'_>) {
    for target in std::mem::take(&mut problems.named) {
        if !by_name.contains_key(&target.state) {
            let hint = did_you_mean(&target.state, by_name.keys().map(String::as_str));
            let reason = format!("there is no state {:?}{hint}", target.state);
            problems.add(code::UNKNOWN_STATE, &target.at, &target.path, reason);
        }
    }
}

/// The states with every name resolved.
struct Graph<'d> {
    states: Vec<(&'d DraftState, &'d Shape)>,
    /// Which states can follow each.
    after: Vec<Vec<usize>>,
    start: usize,
    fallback: usize,
    fallback_at: &'d Target,
    by_name: &'d BTreeMap<String, usize>,
}

impl<'d> Graph<'d> {
    /// `None` only where a problem was reported before.
    fn new(draft: &'d Draft, by_name: &'d BTreeMap<String, usize>) -> Option<Self> {
        let mut states = Vec::with_capacity(draft.states.len());
        let mut after = Vec::with_capacity(draft.states.len());
        for state in &draft.states {
            let shape = state.shape.as_ref()?;
            after.push(shape.targets().map(|t| by_name.get(&t.state).copied()).collect::<Option<Vec<_>>>()?);
            states.push((state, shape));
        }
        let fallback_at = draft.fallback.as_ref()?;
        // With a back end a call starts there, and what it leaves to the flow may be any state.
        let start = if draft.backend.is_some() { fallback_at } else { draft.start.as_ref()? };
        Some(Self {
            states,
            after,
            start: *by_name.get(&start.state)?,
            fallback: *by_name.get(&fallback_at.state)?,
            fallback_at,
            by_name,
        })
    }

    /// Every state that can follow one of `from`, through states that `pass` only.
    fn reach(&self, from: impl IntoIterator<Item = usize>, pass: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let mut waiting: Vec<usize> = from.into_iter().filter(|state| pass(*state)).collect();
        let mut seen: BTreeSet<usize> = waiting.iter().copied().collect();
        while let Some(state) = waiting.pop() {
            for &follower in &self.after[state] {
                if pass(follower) && seen.insert(follower) {
                    waiting.push(follower);
                }
            }
        }
        seen
    }

    fn check_reachable(&self, problems: &mut Problems<'_>) {
        let reached = self.reach([self.start, self.fallback], |_| true);
        for (index, (state, _)) in self.states.iter().enumerate() {
            if !reached.contains(&index) {
                let reason = "no call gets here from start or fallback; remove the state or lead to it";
                problems.add(code::UNREACHABLE, &state.at, &format!("states.{}", state.name), reason);
            }
        }
    }

    fn check_busy_loops(&self, problems: &mut Problems<'_>) {
        let busy = |state: usize| !self.states[state].1.waits();
        let mut told = BTreeSet::new();
        for (index, (state, _)) in self.states.iter().enumerate() {
            let reached = self.reach(self.after[index].iter().copied(), busy);
            if !busy(index) || !reached.contains(&index) || told.contains(&index) {
                continue;
            }
            let in_loop: Vec<usize> = reached
                .into_iter()
                .filter(|other| self.reach(self.after[*other].iter().copied(), busy).contains(&index))
                .collect();
            let names: Vec<&str> = in_loop.iter().map(|other| self.states[*other].0.name.as_str()).collect();
            let reason = format!(
                "{} can repeat without end and nothing in between waits; put a gather or a pause into the loop",
                names.join(", ")
            );
            problems.add(code::BUSY_LOOP, &state.at, &format!("states.{}", state.name), reason);
            told.extend(in_loop);
        }
    }

    /// The fallback is what a node does alone: it may decide nothing and must end.
    fn check_fallback(&self, problems: &mut Problems<'_>) {
        let mut at = self.fallback;
        for _ in 0..MAX_FALLBACK_STEPS {
            let (state, shape) = self.states[at];
            if !shape.alone() {
                let reason = format!(
                    "the fallback comes to {:?}, a {} that nobody is there to decide; let it play, pause and hang up",
                    state.name, shape.verb
                );
                problems.add(code::FALLBACK, &self.fallback_at.at, "fallback", reason);
                return;
            }
            match self.after[at].first() {
                None => return,
                Some(follower) => at = *follower,
            }
        }
        let reason = format!("the fallback does not come to a hangup within {MAX_FALLBACK_STEPS} steps");
        problems.add(code::FALLBACK, &self.fallback_at.at, "fallback", reason);
    }

    /// Bounded: they travel with every question.
    fn check_vars(&self, problems: &mut Problems<'_>) {
        let mut names = BTreeSet::new();
        for (state, shape) in &self.states {
            names.extend(shape.set.iter().map(|(name, _)| name).chain(&shape.save));
            if names.len() > MAX_VARS {
                let reason =
                    format!("more than {MAX_VARS} variables; a call carries them with every question");
                problems.add(code::OUT_OF_BOUNDS, &state.at, &format!("states.{}", state.name), reason);
                return;
            }
        }
    }

    fn into_flow(self, id: String, name: &str) -> Flow {
        let resolve = |target: &Target| self.by_name.get(&target.state).copied().unwrap_or(self.fallback);
        let states = self.states.iter().map(|(state, shape)| {
            let on = shape.on.iter().map(|(pressed, target)| (pressed.clone(), resolve(target))).collect();
            let only = shape.only.as_ref().map(|(pattern, invalid)| (pattern.clone(), resolve(invalid)));
            let answer = Answer { save: shape.save.clone(), only };
            let answer = (answer.save.is_some() || answer.only.is_some()).then_some(answer);
            let then = match (&shape.otherwise, &shape.field) {
                (None, _) => Then::End,
                (Some(target), _) if shape.verb == "dial" => Then::Leg { on, otherwise: resolve(target) },
                (Some(target), Some(field)) if shape.say.is_none() => {
                    Then::Match { field: field.clone(), on, otherwise: resolve(target) }
                }
                (Some(target), _) => Then::Go { on, otherwise: resolve(target), answer },
            };
            let act = match (&shape.reply, &shape.say, &shape.field) {
                (Some(reply), ..) => Act::Verb(reply.clone()),
                (None, Some((say, unsaid)), Some(field)) => {
                    Act::Say { say: say.clone(), field: field.clone(), unsaid: resolve(unsaid) }
                }
                _ => Act::Silent { set: shape.set.clone(), tag: shape.tag.clone() },
            };
            State { name: state.name.clone(), act, prompts: shape.prompts.clone(), then }
        });
        Flow {
            id,
            name: name.to_owned(),
            states: states.collect(),
            by_name: self.by_name.clone(),
            start: self.start,
            fallback: self.fallback,
            hold_s: 0,
            backend: None,
            destinations: BTreeMap::new(),
        }
    }
}
