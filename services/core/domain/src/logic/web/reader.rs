//! The schema of an answer, walked key by key.

mod say;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    Allowed, Follows, Kept, MAX_ACTIONS, MAX_CACHE_S, MAX_PARTS, Parts, ReplyProblem, WebReply, code,
};
use crate::logic::{
    Address, Finish, MAX_ATTEMPTS, MAX_CAUSE, MAX_DIGITS, MAX_PAUSE_S, MAX_PROMPTS, MAX_RECORD_S, MAX_RING_S,
    MAX_TAGS, MAX_TALK_S, MAX_TIMEOUT_S, MAX_VAR_BYTES, MAX_VARS, Verb, is_name,
};

/// Most problems of one answer that are told.
pub(super) const MAX_PROBLEMS: usize = 20;
/// What of a wrong key is shown.
const SHOWN_CHARS: usize = 24;

/// What is found on the way.
pub(super) struct Reader<'a> {
    allowed: Allowed<'a>,
    pub(super) problems: Vec<ReplyProblem>,
}

/// What was read of the list so far.
#[derive(Default)]
struct Silent {
    set: BTreeMap<String, String>,
    tags: Vec<String>,
}

enum Action {
    Silent,
    Verb(Verb),
    Goto(String),
}

impl<'a> Reader<'a> {
    pub(super) fn new(allowed: Allowed<'a>) -> Self {
        Self { allowed, problems: Vec::new() }
    }

    fn add(&mut self, code: &'static str, path: &str, reason: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(ReplyProblem { code, path: path.to_owned(), reason: reason.into() });
        }
    }

    pub(super) fn reply(&mut self, answer: &Value) -> Option<WebReply> {
        let root = self.object(answer, "")?;
        self.only(root, &["do", "state", "cache"], "");
        let kept = self.kept(root);
        let Some(found) = root.get("do") else {
            self.add(code::MISSING_KEY, "do", "the list of things to do is missing");
            return None;
        };
        let Value::Array(list) = found else {
            self.wrong_type("do", "a list", found);
            return None;
        };
        if !(1..=MAX_ACTIONS).contains(&list.len()) {
            self.add(code::OUT_OF_BOUNDS, "do", format!("1 to {MAX_ACTIONS} things to do are allowed"));
            return None;
        }
        let mut silent = Silent::default();
        let mut end = None;
        for (index, item) in list.iter().enumerate() {
            let path = format!("do[{index}]");
            let action = self.action(item, &path, &mut silent);
            let is_last = index + 1 == list.len();
            match action {
                Some(Action::Silent) if is_last => {
                    self.add(
                        code::VERB,
                        &path,
                        "the last thing to do is a verb that the caller notices, or goto",
                    );
                }
                Some(Action::Verb(_) | Action::Goto(_)) if !is_last => {
                    self.add(code::VERB, &path, "only set and tag may stand before the last thing to do");
                }
                other => end = other,
            }
        }
        let state = self.state(root, end.as_ref());
        let then = match end? {
            Action::Verb(verb) => Follows::Verb(verb, state?),
            Action::Goto(state) => Follows::Goto(state),
            Action::Silent => return None,
        };
        let Silent { set, tags } = silent;
        Some(WebReply { set: set.into_iter().collect(), tags, then, kept })
    }

    /// `state`: where the next question comes from. Needed where there will be one.
    fn state(&mut self, root: &Map<String, Value>, end: Option<&Action>) -> Option<String> {
        let ends = matches!(end, Some(Action::Verb(verb)) if verb.ends());
        match root.get("state") {
            Some(state) => {
                let name = self.name(state, "state")?;
                if matches!(end, Some(Action::Goto(_))) {
                    self.add(code::VERB, "state", "goto names the state; leave this one out");
                }
                Some(name)
            }
            None if ends => Some("end".to_owned()),
            None => {
                if !matches!(end, Some(Action::Goto(_)) | None) {
                    self.add(code::MISSING_KEY, "state", "the state of the next question is missing");
                }
                None
            }
        }
    }

    fn kept(&mut self, root: &Map<String, Value>) -> Kept {
        let Some(cache) = root.get("cache") else { return Kept::default() };
        let Some(cache) = self.object(cache, "cache") else { return Kept::default() };
        self.only(cache, &["for_s", "by", "stale_s"], "cache");
        let for_s = self.number(cache, "for_s", "cache", (1, MAX_CACHE_S), None).unwrap_or(0);
        let stale_s = self.number(cache, "stale_s", "cache", (0, MAX_CACHE_S), Some(0)).unwrap_or(0);
        Kept { for_s, stale_s, by: self.parts(cache) }
    }

    fn parts(&mut self, cache: &Map<String, Value>) -> Parts {
        let mut parts = BTreeSet::new();
        match cache.get("by") {
            // Whoever does not say what an answer depends on is taken to mean everything.
            None => return Parts::All,
            Some(Value::Array(list)) if list.len() <= MAX_PARTS => {
                for (index, part) in list.iter().enumerate() {
                    let path = format!("cache.by[{index}]");
                    let Some(part) = part.as_str().filter(|part| is_cache_part(part)) else {
                        let reason = "a part of the question: digits, status, verb, campaign, vars.NAME or fields.NAME";
                        self.add(code::BAD_NAME, &path, reason);
                        continue;
                    };
                    // A name that is not what it should be would make all contacts the same.
                    let field = part.strip_prefix("fields.");
                    if field.is_some_and(|field| !self.allowed.fields.iter().any(|known| known == field)) {
                        let reason = "the flow does not tell this field; add it to its backend.fields";
                        self.add(code::OUT_OF_BOUNDS, &path, reason);
                    }
                    parts.insert(part.to_owned());
                }
            }
            Some(_) => {
                let reason = format!("a list of at most {MAX_PARTS} parts of a question");
                self.add(code::WRONG_TYPE, "cache.by", reason);
            }
        }
        Parts::These(parts)
    }

    fn action(&mut self, item: &Value, path: &str, silent: &mut Silent) -> Option<Action> {
        let item = self.object(item, path)?;
        let mut keys = item.iter();
        let (Some((verb, value)), None) = (keys.next(), keys.next()) else {
            self.add(code::VERB, path, format!("{} keys; each thing to do has one verb", item.len()));
            return None;
        };
        let path = format!("{path}.{}", shown(verb));
        match verb.as_str() {
            "set" => self.set(value, &path, silent),
            "tag" => {
                let tag = self.name(value, &path)?;
                if !silent.tags.contains(&tag) {
                    silent.tags.push(tag);
                }
                if silent.tags.len() > MAX_TAGS {
                    self.add(code::OUT_OF_BOUNDS, &path, format!("at most {MAX_TAGS} tags"));
                }
                Some(Action::Silent)
            }
            "goto" => {
                let state = self.name(value, &path)?;
                if !self.allowed.states.contains_key(&state) {
                    self.add(code::UNKNOWN_STATE, &path, format!("the flow has no state {state}"));
                    return None;
                }
                Some(Action::Goto(state))
            }
            "play" | "gather" | "say" | "pause" | "hangup" | "optout" | "dial" | "record" => {
                self.verb(verb, value, &path).map(Action::Verb)
            }
            _ => {
                let known = "play, gather, say, pause, hangup, optout, dial, record, set, tag, goto";
                self.add(code::VERB, &path, format!("no verb; there are {known}"));
                None
            }
        }
    }

    fn set(&mut self, value: &Value, path: &str, silent: &mut Silent) -> Option<Action> {
        let vars = self.object(value, path)?;
        for (name, value) in vars {
            let path = format!("{path}.{}", shown(name));
            if !is_name(name) {
                self.add(code::BAD_NAME, &path, NAME_RULE);
                continue;
            }
            let Some(text) = value.as_str() else {
                self.wrong_type(&path, "a text", value);
                continue;
            };
            if text.len() > MAX_VAR_BYTES || text.chars().any(char::is_control) {
                let reason = format!("a value has at most {MAX_VAR_BYTES} bytes and no control characters");
                self.add(code::OUT_OF_BOUNDS, &path, reason);
            }
            silent.set.insert(name.clone(), text.to_owned());
        }
        if silent.set.len() > MAX_VARS {
            self.add(code::OUT_OF_BOUNDS, path, format!("a call has at most {MAX_VARS} variables"));
        }
        Some(Action::Silent)
    }

    fn verb(&mut self, verb: &str, value: &Value, path: &str) -> Option<Verb> {
        let spec = self.object(value, path)?;
        match verb {
            "play" => {
                self.only(spec, &["prompts", "barge"], path);
                let barge = self.flag(spec, "barge", path);
                let prompts = self.prompts(spec, path, 1);
                Some(Verb::Play { prompts: prompts?, barge: barge? })
            }
            "gather" => {
                let known = ["prompts", "max_digits", "timeout_s", "attempts", "finish_key"];
                self.only(spec, &known, path);
                let prompts = self.prompts(spec, path, 0);
                let max_digits = self.number(spec, "max_digits", path, (1, MAX_DIGITS), Some(1));
                let timeout_s = self.number(spec, "timeout_s", path, (1, MAX_TIMEOUT_S), Some(5));
                let attempts = self.number(spec, "attempts", path, (1, MAX_ATTEMPTS), Some(1));
                let finish_key = self.finish_key(spec, path)?;
                let (max_digits, timeout_s, attempts) = (max_digits?, timeout_s?, attempts?);
                Some(Verb::Gather { prompts: prompts?, max_digits, timeout_s, attempts, finish_key })
            }
            "pause" => {
                self.only(spec, &["duration_s"], path);
                let seconds = self.number(spec, "duration_s", path, (1, MAX_PAUSE_S), None)?;
                Some(Verb::Pause { seconds })
            }
            "record" => {
                self.only(spec, &["max_s", "silence_s", "finish_key"], path);
                let max_s = self.number(spec, "max_s", path, (1, MAX_RECORD_S), None);
                let silence_s = self.number(spec, "silence_s", path, (0, MAX_TIMEOUT_S), Some(3));
                let finish = self.ends_by(spec, path)?;
                Some(Verb::Record { max_s: max_s?, silence_s: silence_s?, finish })
            }
            "hangup" => {
                self.only(spec, &["cause"], path);
                let cause = self.number(spec, "cause", path, (1, MAX_CAUSE), Some(16))?;
                Some(Verb::Hangup { cause })
            }
            "say" => self.say(spec, path),
            "dial" => self.dial(spec, path),
            _ => {
                self.only(spec, &["prompts"], path);
                Some(Verb::Optout { prompts: self.prompts(spec, path, 0)? })
            }
        }
    }

    /// Only by name: no back end can have a number dialled that the flow does not have.
    fn dial(&mut self, spec: &Map<String, Value>, path: &str) -> Option<Verb> {
        self.only(spec, &["to", "ring_s", "talk_s"], path);
        let ring_s = self.number(spec, "ring_s", path, (1, MAX_RING_S), Some(30));
        let talk_s = self.number(spec, "talk_s", path, (1, MAX_TALK_S), Some(3_600));
        let at = format!("{path}.to");
        let Some(found) = spec.get("to") else {
            self.add(code::MISSING_KEY, &at, "the destination is missing");
            return None;
        };
        let to = self.name(found, &at)?;
        if !self.allowed.destinations.contains_key(&to) {
            let reason = format!("the flow describes no destination {to}; add [destinations.{to}] to it");
            self.add(code::UNKNOWN_DESTINATION, &at, reason);
            return None;
        }
        let to = Address::parse(&to)?;
        Some(Verb::Dial { to, ring_s: ring_s?, talk_s: talk_s?, caller_id: None, by: None })
    }

    fn ends_by(&mut self, spec: &Map<String, Value>, path: &str) -> Option<Finish> {
        let path = format!("{path}.finish_key");
        let text = match spec.get("finish_key") {
            None => return Some(Finish::default()),
            Some(Value::String(text)) => text,
            Some(other) => {
                self.wrong_type(&path, "a text", other);
                return None;
            }
        };
        let finish = Finish::parse(text);
        if finish.is_none() {
            self.add(code::OUT_OF_BOUNDS, &path, "one of #, *, any and none");
        }
        finish
    }

    /// The outer `None` is a problem already reported.
    #[allow(clippy::option_option)] // "could not be read" and "there is none" are two things
    fn finish_key(&mut self, spec: &Map<String, Value>, path: &str) -> Option<Option<char>> {
        let path = format!("{path}.finish_key");
        let text = match spec.get("finish_key") {
            None => return Some(Some('#')),
            Some(Value::String(text)) => text,
            Some(other) => {
                self.wrong_type(&path, "a text", other);
                return None;
            }
        };
        let mut keys = text.chars();
        match (keys.next(), keys.next()) {
            (None, _) => Some(None),
            (Some(key), None) if key.is_ascii_digit() || matches!(key, '*' | '#') => Some(Some(key)),
            _ => {
                self.add(code::OUT_OF_BOUNDS, &path, "one of 0-9, * and #, or \"\" for none");
                None
            }
        }
    }

    fn flag(&mut self, spec: &Map<String, Value>, key: &str, path: &str) -> Option<bool> {
        match spec.get(key) {
            None => Some(false),
            Some(Value::Bool(flag)) => Some(*flag),
            Some(other) => {
                self.wrong_type(&format!("{path}.{key}"), "true or false", other);
                None
            }
        }
    }

    fn prompts(&mut self, spec: &Map<String, Value>, path: &str, min: usize) -> Option<Vec<String>> {
        let path = format!("{path}.prompts");
        let list = match spec.get("prompts") {
            None if min == 0 => return Some(Vec::new()),
            None => {
                self.add(code::MISSING_KEY, &path, "the prompts are missing");
                return None;
            }
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong_type(&path, "a list of prompt names", other);
                return None;
            }
        };
        if !(min..=MAX_PROMPTS).contains(&list.len()) {
            let reason = format!("{} prompts; {min} to {MAX_PROMPTS} are allowed", list.len());
            self.add(code::OUT_OF_BOUNDS, &path, reason);
            return None;
        }
        let mut prompts = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(prompt) = self.name(item, &path) else { continue };
            if !self.allowed.prompts.contains(&prompt) {
                let reason =
                    format!("the flow does not declare a prompt {prompt}; add it to its backend.prompts");
                self.add(code::UNKNOWN_PROMPT, &path, reason);
            }
            prompts.push(prompt);
        }
        (prompts.len() == list.len()).then_some(prompts)
    }

    fn number(
        &mut self,
        spec: &Map<String, Value>,
        key: &str,
        path: &str,
        (min, max): (u32, u32),
        default: Option<u32>,
    ) -> Option<u32> {
        let path = format!("{path}.{key}");
        let Some(value) = spec.get(key) else {
            if default.is_none() {
                self.add(code::MISSING_KEY, &path, "the key is missing");
            }
            return default;
        };
        let Value::Number(number) = value else {
            self.wrong_type(&path, "a whole number", value);
            return None;
        };
        let inside = number.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (min..=max).contains(n));
        if inside.is_none() {
            self.add(code::OUT_OF_BOUNDS, &path, format!("{min} to {max} is allowed"));
        }
        inside
    }

    fn name(&mut self, value: &Value, path: &str) -> Option<String> {
        match value {
            Value::String(text) if is_name(text) => Some(text.clone()),
            Value::String(_) => {
                self.add(code::BAD_NAME, path, NAME_RULE);
                None
            }
            other => {
                self.wrong_type(path, "a name", other);
                None
            }
        }
    }

    fn object<'v>(&mut self, value: &'v Value, path: &str) -> Option<&'v Map<String, Value>> {
        if let Value::Object(object) = value {
            return Some(object);
        }
        self.wrong_type(path, "an object", value);
        None
    }

    fn only(&mut self, object: &Map<String, Value>, known: &[&str], path: &str) {
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let at = if path.is_empty() { shown(key) } else { format!("{path}.{}", shown(key)) };
            self.add(code::UNKNOWN_KEY, &at, format!("no key here; there are {}", known.join(", ")));
        }
    }

    fn wrong_type(&mut self, path: &str, wanted: &str, value: &Value) {
        let kind = match value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.add(code::WRONG_TYPE, path, format!("{wanted} is needed here, this is {kind}"));
    }
}

const NAME_RULE: &str = "names are 1 to 64 of a-z, 0-9 and -";

fn is_cache_part(part: &str) -> bool {
    let named = part.strip_prefix("vars.").or_else(|| part.strip_prefix("fields."));
    match named {
        Some(name) => (1..=64).contains(&name.len()) && !name.chars().any(char::is_control),
        None => matches!(part, "digits" | "status" | "verb" | "campaign"),
    }
}

/// A key as it may be shown: printable, and not all of a long one.
fn shown(key: &str) -> String {
    key.chars().filter(char::is_ascii_graphic).take(SHOWN_CHARS).collect()
}
