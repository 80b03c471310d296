//! From TOML to a draft: every key known, every value of its type and inside its bounds, every place remembered.
//!
//! Reading never stops at the first problem; what cannot be read is left out of the draft and reported.

use std::collections::BTreeMap;

use toml::de::DeTable;

use super::backend::{self, Backend};
use super::destination::{self, Drafts};
use super::problem::{Problems, Span, Target, code, did_you_mean};
use super::values::{
    NAME_RULE, Node, flag, name, names, node, number, only_keys, required, state_name, string, target,
};
use super::{
    LEG_OUTCOMES, MAX_ANSWERS, MAX_ATTEMPTS, MAX_CAUSE, MAX_DIGITS, MAX_HOLD_S, MAX_MATCH_BYTES,
    MAX_NAME_BYTES, MAX_PAUSE_S, MAX_PROMPTS, MAX_RECORD_S, MAX_RING_S, MAX_STATES, MAX_TALK_S,
    MAX_TIMEOUT_S, MAX_VAR_BYTES, MAX_VARS, Pattern, Say, is_name, verb::Finish,
};

const VERBS: [&str; 11] =
    ["play", "gather", "say", "pause", "hangup", "match", "set", "tag", "optout", "dial", "record"];
const BARGE_DIGITS: u32 = 1;

/// A document as it was written, before anything between states is checked.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) name: String,
    /// `None` with a back end, which says where a call starts.
    pub(super) start: Option<Target>,
    pub(super) backend: Option<Backend>,
    pub(super) fallback: Option<Target>,
    pub(super) hold_s: u32,
    pub(super) destinations: Drafts,
    /// In the order of the document.
    pub(super) states: Vec<DraftState>,
}

/// One state. A state that could not be read has no `shape`.
pub(super) struct DraftState {
    pub(super) name: String,
    pub(super) at: Span,
    pub(super) shape: Option<Shape>,
}

/// What a state does.
pub(super) struct Shape {
    pub(super) verb: &'static str,
    /// The variable or the contact's field that a `match` looks at.
    pub(super) field: Option<String>,
    /// `None` where nobody hears it.
    pub(super) reply: Option<String>,
    pub(super) prompts: Vec<String>,
    pub(super) on: BTreeMap<String, Target>,
    /// The variable an answer becomes.
    pub(super) save: Option<String>,
    /// What an answer must be like, and where another one leads.
    pub(super) only: Option<(Pattern, Target)>,
    /// What a `say` says, and where a value leads that cannot be said.
    pub(super) say: Option<(Say, Target)>,
    /// Variables of a `set`.
    pub(super) set: Vec<(String, String)>,
    /// The tag of a `tag`.
    pub(super) tag: Option<String>,
    /// `next` or `otherwise`; `None` where the call ends.
    pub(super) otherwise: Option<Target>,
}

impl Shape {
    /// Whether the verb waits for the caller or the clock, so that a loop through it is no busy loop.
    pub(super) fn waits(&self) -> bool {
        matches!(self.verb, "gather" | "pause" | "record")
    }

    /// A verb of these words, that leads on by nothing.
    pub(super) fn of(verb: &'static str, reply: Option<String>, otherwise: Option<Target>) -> Self {
        let (prompts, on, set) = (Vec::new(), BTreeMap::new(), Vec::new());
        let (field, save, only, say, tag) = (None, None, None, None, None);
        Self { verb, field, reply, prompts, on, save, only, say, set, tag, otherwise }
    }

    /// Whether a node can do it by itself: it decides nothing, and nobody has to know of it.
    pub(super) fn alone(&self) -> bool {
        matches!(self.verb, "play" | "pause" | "hangup") && self.on.is_empty()
    }

    /// Every state that can follow.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        let (only, say) = (self.only.as_ref().map(|only| &only.1), self.say.as_ref().map(|say| &say.1));
        self.on.values().chain(only).chain(say).chain(&self.otherwise)
    }
}

/// Reads the top level of a document that is TOML.
pub(super) fn draft(root: &DeTable<'_>, whole: Span, problems: &mut Problems<'_>) -> Draft {
    let root = Node { table: root, at: whole, path: String::new() };
    let known = ["name", "start", "fallback", "hold_s", "backend", "destinations", "states"];
    only_keys(&root, &known, "", problems);
    let spec = root.get("backend").and_then(|found| node(found, "backend", problems));
    let backend = spec.and_then(|spec| backend::backend(&spec, problems));
    let mut draft = Draft {
        name: required(&root, "name", problems)
            .and_then(|found| name(&found, "name", problems))
            .unwrap_or_default(),
        start: start(&root, problems),
        backend,
        fallback: target(&root, "fallback", problems),
        hold_s: number(&root, "hold_s", 0..=MAX_HOLD_S, Some(0), problems).unwrap_or(0),
        destinations: destination::destinations(&root, problems),
        states: Vec::new(),
    };
    let Some(states) = required(&root, "states", problems).and_then(|found| node(found, "states", problems))
    else {
        return draft;
    };
    if states.table.is_empty() {
        problems.add(code::MISSING_KEY, &states.at, "states", "a flow needs at least one state");
    }
    if states.table.len() > MAX_STATES {
        let reason = format!("{} states; at most {MAX_STATES} are allowed", states.table.len());
        problems.add(code::OUT_OF_BOUNDS, &states.at, "states", reason);
        problems.named.clear(); // none was read, so none could be found
        return draft;
    }
    for (key, value) in states.table {
        let path = states.path_of(key.get_ref());
        if !is_name(key.get_ref()) {
            problems.add(code::BAD_NAME, &key.span(), &path, NAME_RULE);
        }
        let shape = node((value.get_ref(), value.span()), &path, problems)
            .and_then(|state| shape(&state, &draft, problems));
        draft.states.push(DraftState { name: key.get_ref().to_string(), at: key.span(), shape });
    }
    draft.states.sort_by_key(|state| state.at.start);
    draft
}

fn start(root: &Node<'_>, problems: &mut Problems<'_>) -> Option<Target> {
    match (root.get("backend"), root.get("start")) {
        (None, _) => target(root, "start", problems),
        (Some(_), None) => None,
        (Some(_), Some((_, at))) => {
            let reason = "the back end says where a call starts; leave start out";
            problems.add(code::UNKNOWN_KEY, &at, "start", reason);
            None
        }
    }
}

fn shape(state: &Node<'_>, draft: &Draft, problems: &mut Problems<'_>) -> Option<Shape> {
    let verbs: Vec<&'static str> = VERBS.into_iter().filter(|verb| state.get(verb).is_some()).collect();
    let [verb] = verbs[..] else {
        let reason = if verbs.is_empty() {
            // A misspelt verb is named, with the one that was meant.
            only_keys(state, &[&VERBS[..], &["barge", "next", "on", "otherwise"]].concat(), "", problems);
            "the state does nothing; give it one of play, gather, say, pause, hangup, match, set, tag, optout, dial, record"
                .to_owned()
        } else {
            format!("the state has {}; give it one verb and make more states", verbs.join(" and "))
        };
        problems.add(code::VERB, &state.at, &state.path, reason);
        return None;
    };
    match verb {
        "play" => play(state, problems),
        "gather" => gather(state, problems),
        "say" => super::read_say::say(state, problems),
        "pause" => pause(state, problems),
        "match" => of_field(state, problems),
        "set" => set(state, problems),
        "tag" => tag(state, problems),
        "optout" => optout(state, problems),
        "dial" => dial(state, draft, problems),
        "record" => record(state, problems),
        _ => hangup(state, problems),
    }
}

fn play(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    let barge = flag(state, "barge", problems);
    only_keys(state, &["play", "barge", "next", "on"], "play", problems);
    let prompts = names(state, "play", 1..=MAX_PROMPTS, problems);
    let on = match state.get("on") {
        None => Some(BTreeMap::new()),
        Some((_, at)) => {
            if barge == Some(false) {
                let reason = "nothing can be pressed while this plays; add barge = true, or ask with gather";
                problems.add(code::DIGITS, &at, &state.path_of("on"), reason);
            }
            answers(state, BARGE_DIGITS, None, problems)
        }
    };
    let otherwise = target(state, "next", problems);
    let (prompts, on, barge) = (prompts?, on?, barge?);
    let reply = format!("play|{}|{}", prompts.join("&"), u8::from(barge));
    Some(Shape { prompts, on, ..Shape::of("play", Some(reply), Some(otherwise?)) })
}

fn gather(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["gather", "on", "invalid", "otherwise"], "gather", problems);
    let otherwise = target(state, "otherwise", problems);
    let spec = state.get("gather").and_then(|found| node(found, &state.path_of("gather"), problems))?;
    let known = ["prompts", "max_digits", "timeout_s", "attempts", "finish", "pattern", "save"];
    only_keys(&spec, &known, "gather", problems);
    let prompts = names(&spec, "prompts", 1..=MAX_PROMPTS, problems);
    let max_digits = number(&spec, "max_digits", 1..=MAX_DIGITS, Some(1), problems);
    let timeout_s = number(&spec, "timeout_s", 1..=MAX_TIMEOUT_S, Some(5), problems);
    let attempts = number(&spec, "attempts", 1..=MAX_ATTEMPTS, Some(1), problems);
    let finish = finish_key(&spec, problems);
    let save = variable(&spec, "save", problems);
    let only = only(state, &spec, max_digits.unwrap_or(MAX_DIGITS), problems);
    // What is kept needs no telling apart.
    let on = match state.get("on") {
        None if spec.get("save").is_some() => Some(BTreeMap::new()),
        _ => answers(state, max_digits.unwrap_or(MAX_DIGITS), finish.flatten(), problems),
    };
    let (prompts, on, save, only, otherwise) = (prompts?, on?, save?, only?, otherwise?);
    let finish = finish?.map_or_else(|| "none".to_owned(), String::from);
    let reply = format!("gather|{}|{}|{}|{}|{finish}", prompts.join("&"), max_digits?, timeout_s?, attempts?);
    Some(Shape { prompts, on, save, only, ..Shape::of("gather", Some(reply), Some(otherwise)) })
}

/// `pattern` of a gather and the state `invalid` beside it: both or none. The outer `None` is a problem already reported.
#[allow(clippy::option_option)] // "could not be read" and "there is none" are two things
fn only(
    state: &Node<'_>,
    spec: &Node<'_>,
    max_digits: u32,
    problems: &mut Problems<'_>,
) -> Option<Option<(Pattern, Target)>> {
    let (found, invalid) = match (spec.get("pattern"), state.get("invalid")) {
        (None, None) => return Some(None),
        (None, Some((_, at))) => {
            let reason =
                "invalid is where an answer leads that does not fit the gather's pattern; there is none";
            problems.add(code::DIGITS, &at, &state.path_of("invalid"), reason);
            return None;
        }
        (Some(found), _) => (found, target(state, "invalid", problems)),
    };
    let path = spec.path_of("pattern");
    let text = string(&found, &path, problems)?;
    match Pattern::parse(text) {
        Ok(pattern) if pattern.least() <= max_digits as usize => Some(Some((pattern, invalid?))),
        Ok(pattern) => {
            let reason = format!("{} keys at least, and this gather takes {max_digits}", pattern.least());
            problems.add(code::DIGITS, &found.1, &path, reason);
            None
        }
        Err(reason) => {
            problems.add(code::DIGITS, &found.1, &path, format!("no pattern of keys: {reason}"));
            None
        }
    }
}

/// The name of a variable, if the key is there. The outer `None` is a problem already reported.
#[allow(clippy::option_option)] // "could not be read" and "there is none" are two things
fn variable(spec: &Node<'_>, key: &str, problems: &mut Problems<'_>) -> Option<Option<String>> {
    let Some(found) = spec.get(key) else { return Some(None) };
    name(&found, &spec.path_of(key), problems).map(Some)
}

/// `set = { language = "de" }`: variables of the call.
fn set(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["set", "next"], "set", problems);
    let otherwise = target(state, "next", problems);
    let spec = state.get("set").and_then(|found| node(found, &state.path_of("set"), problems))?;
    if !(1..=MAX_VARS).contains(&spec.table.len()) {
        let reason = format!("1 to {MAX_VARS} variables are allowed");
        problems.add(code::OUT_OF_BOUNDS, &spec.at, &spec.path, reason);
        return None;
    }
    let mut set = Vec::new();
    for (key, value) in spec.table {
        let path = spec.path_of(key.get_ref());
        if !is_name(key.get_ref()) {
            problems.add(code::BAD_NAME, &key.span(), &path, NAME_RULE);
        }
        let text = string(&(value.get_ref(), value.span()), &path, problems);
        if text.is_some_and(|text| text.len() > MAX_VAR_BYTES || text.chars().any(char::is_control)) {
            let reason = format!("a value has at most {MAX_VAR_BYTES} bytes and no control characters");
            problems.add(code::OUT_OF_BOUNDS, &value.span(), &path, reason);
        }
        set.push((key.get_ref().to_string(), text.unwrap_or_default().to_owned()));
    }
    set.sort();
    Some(Shape { set, ..Shape::of("set", None, Some(otherwise?)) })
}

/// `tag = "interested"`: counted, and shown with the call.
fn tag(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["tag", "next"], "tag", problems);
    let otherwise = target(state, "next", problems);
    let tag = variable(state, "tag", problems)?;
    Some(Shape { tag, ..Shape::of("tag", None, Some(otherwise?)) })
}

/// `optout = { prompts = ["goodbye"] }`: nobody calls here again.
fn optout(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["optout"], "optout", problems);
    let spec = state.get("optout").and_then(|found| node(found, &state.path_of("optout"), problems))?;
    only_keys(&spec, &["prompts"], "optout", problems);
    let prompts = match spec.get("prompts") {
        None => Vec::new(),
        Some(_) => names(&spec, "prompts", 1..=MAX_PROMPTS, problems)?,
    };
    let reply =
        if prompts.is_empty() { "optout".to_owned() } else { format!("optout|{}", prompts.join("&")) };
    Some(Shape { prompts, ..Shape::of("optout", Some(reply), None) })
}

/// `dial = { to = "support" }`: joined with a destination of the flow's, and on by how that ended.
fn dial(state: &Node<'_>, draft: &Draft, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["dial", "on", "otherwise"], "dial", problems);
    let otherwise = target(state, "otherwise", problems);
    let spec = state.get("dial").and_then(|found| node(found, &state.path_of("dial"), problems))?;
    only_keys(&spec, &["to", "ring_s", "talk_s"], "dial", problems);
    let found = required(&spec, "to", problems)?;
    let (at, path) = (found.1.clone(), spec.path_of("to"));
    let to = name(&found, &path, problems)?;
    if !draft.destinations.contains_key(&to) {
        let hint = did_you_mean(&to, draft.destinations.keys().map(String::as_str));
        let else_ = if hint.is_empty() { format!("; describe it in [destinations.{to}]") } else { hint };
        let reason = format!("there is no destination {to:?}{else_}");
        problems.add(code::DESTINATION, &at, &path, reason);
    }
    let ring_s = number(&spec, "ring_s", 1..=MAX_RING_S, Some(30), problems);
    let talk_s = number(&spec, "talk_s", 1..=MAX_TALK_S, Some(3_600), problems);
    let on = match state.get("on") {
        None => BTreeMap::new(),
        Some(found) => outcomes(&node(found, &state.path_of("on"), problems)?, problems),
    };
    let reply = format!("dial|{to}|{}|{}", ring_s?, talk_s?);
    Some(Shape { on, ..Shape::of("dial", Some(reply), Some(otherwise?)) })
}

/// The table `on` of a dial: how the leg ended, and where that leads.
fn outcomes(on: &Node<'_>, problems: &mut Problems<'_>) -> BTreeMap<String, Target> {
    let mut outcomes = BTreeMap::new();
    for (key, value) in on.table {
        let outcome: &str = key.get_ref();
        let path = on.path_of(outcome);
        if !LEG_OUTCOMES.contains(&outcome) {
            let reason = format!("a leg ends as one of {}", LEG_OUTCOMES.join(", "));
            problems.add(code::UNKNOWN_KEY, &key.span(), &path, reason);
        }
        if let Some(target) = state_name(&(value.get_ref(), value.span()), path, problems) {
            outcomes.insert(outcome.to_owned(), target);
        }
    }
    outcomes
}

/// `record = { max_s = 60, silence_s = 3, finish = "#" }`: what the callee says becomes a recording.
fn record(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["record", "next"], "record", problems);
    let otherwise = target(state, "next", problems);
    let spec = state.get("record").and_then(|found| node(found, &state.path_of("record"), problems))?;
    only_keys(&spec, &["max_s", "silence_s", "finish"], "record", problems);
    let max_s = number(&spec, "max_s", 1..=MAX_RECORD_S, None, problems);
    let silence_s = number(&spec, "silence_s", 0..=MAX_TIMEOUT_S, Some(3), problems);
    let finish = match spec.get("finish") {
        None => Finish::default(),
        Some(found) => {
            let (path, at) = (spec.path_of("finish"), found.1.clone());
            let finish = Finish::parse(string(&found, &path, problems)?);
            if finish.is_none() {
                let why = "a recording ends by \"#\", \"*\", \"any\" key or \"none\"";
                problems.add(code::DIGITS, &at, &path, why);
            }
            finish?
        }
    };
    let reply = format!("record|{}|{}|{}", max_s?, silence_s?, finish.as_str());
    Some(Shape::of("record", Some(reply), Some(otherwise?)))
}

fn pause(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["pause", "next"], "pause", problems);
    let otherwise = target(state, "next", problems);
    let spec = state.get("pause").and_then(|found| node(found, &state.path_of("pause"), problems))?;
    only_keys(&spec, &["duration_s"], "pause", problems);
    let duration_s = number(&spec, "duration_s", 1..=MAX_PAUSE_S, None, problems)?;
    Some(Shape::of("pause", Some(format!("pause|{duration_s}")), Some(otherwise?)))
}

/// `match = "language"`: on by a variable or a field of the contact, at once.
fn of_field(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["match", "on", "otherwise"], "match", problems);
    let otherwise = target(state, "otherwise", problems);
    let found = required(state, "match", problems)?;
    let path = state.path_of("match");
    let at = found.1.clone();
    let field = string(&found, &path, problems);
    if field.is_some_and(|field| !(1..=MAX_NAME_BYTES).contains(&field.len())) {
        problems.add(code::BAD_NAME, &at, &path, "a field's name is that of its column, 1 to 64 bytes");
    }
    let on = required(state, "on", problems).and_then(|found| node(found, &state.path_of("on"), problems))?;
    if !(1..=MAX_ANSWERS).contains(&on.table.len()) {
        let reason = format!("1 to {MAX_ANSWERS} values are allowed");
        problems.add(code::OUT_OF_BOUNDS, &on.at, &on.path, reason);
        return None;
    }
    let mut values = BTreeMap::new();
    for (key, value) in on.table {
        let written: &str = key.get_ref();
        let path = on.path_of(written);
        if written.len() > MAX_MATCH_BYTES {
            let reason = format!("a value has at most {MAX_MATCH_BYTES} bytes");
            problems.add(code::OUT_OF_BOUNDS, &key.span(), &path, reason);
        }
        let known = written.trim().to_lowercase();
        if let Some(target) = state_name(&(value.get_ref(), value.span()), path.clone(), problems)
            && values.insert(known, target).is_some()
        {
            let reason = "the value is there twice: capital letters make no difference";
            problems.add(code::OUT_OF_BOUNDS, &key.span(), &path, reason);
        }
    }
    let (field, otherwise) = (field?.to_owned(), otherwise?);
    Some(Shape { field: Some(field), on: values, ..Shape::of("match", None, Some(otherwise)) })
}

fn hangup(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["hangup"], "hangup", problems);
    let spec = state.get("hangup").and_then(|found| node(found, &state.path_of("hangup"), problems))?;
    only_keys(&spec, &["cause"], "hangup", problems);
    let cause = number(&spec, "cause", 1..=MAX_CAUSE, Some(16), problems)?;
    Some(Shape::of("hangup", Some(format!("hangup|{cause}")), None))
}

/// The table `on`: what was pressed, and where it leads.
fn answers(
    state: &Node<'_>,
    max_digits: u32,
    finish: Option<char>,
    problems: &mut Problems<'_>,
) -> Option<BTreeMap<String, Target>> {
    let on = required(state, "on", problems).and_then(|found| node(found, &state.path_of("on"), problems))?;
    if on.table.is_empty() || on.table.len() > MAX_ANSWERS {
        problems.add(
            code::OUT_OF_BOUNDS,
            &on.at,
            &on.path,
            format!("1 to {MAX_ANSWERS} answers are allowed"),
        );
        return None;
    }
    let mut answers = BTreeMap::new();
    for (key, value) in on.table {
        let pressed: &str = key.get_ref();
        let path = format!("{}.{pressed:?}", on.path);
        if let Some(reason) = not_pressable(pressed, max_digits, finish) {
            problems.add(code::DIGITS, &key.span(), &path, reason);
        }
        if let Some(target) = state_name(&(value.get_ref(), value.span()), path, problems) {
            answers.insert(pressed.to_owned(), target);
        }
    }
    Some(answers)
}

fn not_pressable(pressed: &str, max_digits: u32, finish: Option<char>) -> Option<String> {
    if pressed.is_empty() || !pressed.chars().all(is_key) {
        return Some("an answer is made of the keys 0-9, * and #".to_owned());
    }
    if pressed.len() > max_digits as usize {
        return Some(format!("{} keys, and this verb takes at most {max_digits}", pressed.len()));
    }
    let finish = finish.filter(|finish| pressed.contains(*finish))?;
    Some(format!("{finish} is the finish key and never part of an answer; set finish = \"\" or another key"))
}

fn is_key(key: char) -> bool {
    key.is_ascii_digit() || matches!(key, '*' | '#')
}

/// `finish`: absent means `#`, an empty text means no key at all. The outer `None` is a problem already reported.
#[allow(clippy::option_option)] // "could not be read" and "there is none" are two things
fn finish_key(spec: &Node<'_>, problems: &mut Problems<'_>) -> Option<Option<char>> {
    let Some(found) = spec.get("finish") else { return Some(Some('#')) };
    let path = spec.path_of("finish");
    let at = found.1.clone();
    let text = string(&found, &path, problems)?;
    let mut keys = text.chars();
    match (keys.next(), keys.next()) {
        (None, _) => Some(None),
        (Some(key), None) if is_key(key) => Some(Some(key)),
        _ => {
            problems.add(code::DIGITS, &at, &path, "the finish key is one of 0-9, * and #, or \"\" for none");
            None
        }
    }
}
