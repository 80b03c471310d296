//! `{"say": {"money": "12.50", "currency": "eur", "sounds": "say", "language": "de"}}`: a value by recorded parts.

use serde_json::{Map, Value};

use super::super::code;
use super::Reader;
use crate::logic::{MAX_NUMBER, MAX_SOUNDS_BYTES, Say, SayKind, Verb};

/// Longest value, in characters.
const VALUE_CHARS: usize = 64;

impl Reader<'_> {
    pub(super) fn say(&mut self, spec: &Map<String, Value>, path: &str) -> Option<Verb> {
        let kinds: Vec<SayKind> =
            SayKind::ALL.into_iter().filter(|kind| spec.contains_key(kind.as_str())).collect();
        let [kind] = kinds[..] else {
            self.add(code::VERB, path, "one of digits, number, date and money has the value that is said");
            return None;
        };
        let known = ["digits", "number", "date", "money", "sounds", "language", "currency", "year", "barge"];
        self.only(spec, &known, path);
        let value = self.said_text(spec, kind.as_str(), path)?;
        let language = self.said_text(spec, "language", path);
        let currency = self.said_text(spec, "currency", path);
        let sounds = match spec.get("sounds") {
            None => None,
            Some(found) => Some(self.name(found, &format!("{path}.sounds"))?),
        };
        if sounds.as_ref().is_some_and(|word| word.len() > MAX_SOUNDS_BYTES) {
            let reason = format!("at most {MAX_SOUNDS_BYTES} characters");
            self.add(code::OUT_OF_BOUNDS, &format!("{path}.sounds"), reason);
            return None;
        }
        let (barge, year) = (self.flag(spec, "barge", path)?, self.flag(spec, "year", path)?);
        let say = Say { kind, sounds, max: MAX_NUMBER, currency: currency?, year, barge };
        if let Some(reason) = say.wrong() {
            self.add(code::OUT_OF_BOUNDS, path, reason);
            return None;
        }
        let Some(verb) = say.verb(&value, &language?).and_then(|text| Verb::parse(&text).ok()) else {
            let reason = "no value of this kind: digits up to 16 keys, a whole number below 1,000,000,000, YYYY-MM-DD, or money like 12.50";
            self.add(code::OUT_OF_BOUNDS, &format!("{path}.{}", kind.as_str()), reason);
            return None;
        };
        for prompt in verb.prompts() {
            if !self.allowed.prompts.contains(prompt) {
                let reason =
                    format!("the flow does not declare a prompt {prompt}; add it to its backend.prompts");
                self.add(code::UNKNOWN_PROMPT, path, reason);
            }
        }
        Some(verb)
    }

    /// A short text; an empty one if the key is not there.
    fn said_text(&mut self, spec: &Map<String, Value>, key: &str, path: &str) -> Option<String> {
        let path = format!("{path}.{key}");
        match spec.get(key) {
            None => Some(String::new()),
            Some(Value::String(text)) if text.chars().count() <= VALUE_CHARS => Some(text.clone()),
            Some(Value::String(_)) => {
                self.add(code::OUT_OF_BOUNDS, &path, format!("at most {VALUE_CHARS} characters"));
                None
            }
            Some(other) => {
                self.wrong_type(&path, "a text", other);
                None
            }
        }
    }
}
