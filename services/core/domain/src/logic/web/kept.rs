//! When two questions are the same to a back end: what an answer that may be kept is kept under.
//!
//! The place ([`Place`]) always counts: the flow's version, so that a new one begins with nothing kept, its state, and how
//! the last verb ended and with which digits. What else counts the answer says ([`Parts`]); one that does not say
//! depends on everything but the call and its step. Answers at one place may name different parts: they are put
//! together, so that what is kept is only ever found by a question that agrees in all that its answer named.

use std::collections::BTreeSet;

use super::WebQuestion;

/// Most parts that may be named; whoever needs more depends on everything.
pub const MAX_PARTS: usize = 16;

/// What of a question an answer depends on, beside its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Parts {
    /// All of it, but the call and its step.
    #[default]
    All,
    /// These: `campaign`, `vars.NAME`, `fields.NAME`.
    These(BTreeSet<String>),
}

impl Parts {
    /// What answers that depend on the one and on the other depend on.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::These(one), Self::These(other)) => {
                let both: BTreeSet<String> = one.union(other).cloned().collect();
                if both.len() > MAX_PARTS { Self::All } else { Self::These(both) }
            }
            _ => Self::All,
        }
    }
}

/// Where in a flow a question is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Vec<u8>);

impl Place {
    /// Of a question under a version of its flow.
    pub fn of(flow_id: &str, question: &WebQuestion<'_>) -> Self {
        let mut bytes = Vec::with_capacity(128);
        let WebQuestion { fleet, flow, state, verb, status, digits, .. } = question;
        for text in [flow_id, fleet, flow, state, verb, status, digits] {
            put(&mut bytes, text);
        }
        Self(bytes)
    }

    /// Its bytes: the same for the same place, and for no other.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes an answer is kept under: the same for two questions if, and only if, they agree in the place and in
    /// these parts.
    pub fn key(&self, parts: &Parts, question: &WebQuestion<'_>) -> Vec<u8> {
        let mut bytes = self.0.clone();
        match parts {
            Parts::All => {
                bytes.push(1);
                put(&mut bytes, question.campaign);
                for values in [question.fields, question.vars] {
                    put(&mut bytes, &values.len().to_string());
                    for (name, value) in values {
                        put(&mut bytes, name);
                        put(&mut bytes, value);
                    }
                }
            }
            Parts::These(parts) => {
                bytes.push(2);
                for part in parts {
                    put(&mut bytes, part);
                    match value(part, question) {
                        Some(value) => put(&mut bytes, value),
                        None => bytes.push(0),
                    }
                }
            }
        }
        bytes
    }
}

/// What the question has there; none for what is not there, and for what counts always.
fn value<'a>(part: &str, question: &WebQuestion<'a>) -> Option<&'a str> {
    if part == "campaign" {
        return Some(question.campaign);
    }
    let (values, name) = match (part.strip_prefix("vars."), part.strip_prefix("fields.")) {
        (Some(name), _) => (question.vars, name),
        (_, Some(name)) => (question.fields, name),
        _ => return None,
    };
    values.get(name).map(String::as_str)
}

/// Its length first, so that no two lists of texts have the same bytes; never beginning with 0.
fn put(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(1);
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logic::Fields;

    fn question<'a>(fields: &'a Fields, vars: &'a Fields) -> WebQuestion<'a> {
        WebQuestion {
            version: 1,
            fleet: "lab",
            campaign: "spring",
            flow: "survey",
            call: "spring-1-1",
            step: 2,
            state: "menu",
            verb: "gather",
            status: "OK",
            digits: "1",
            fields,
            vars,
        }
    }

    fn these(parts: &[&str]) -> Parts {
        Parts::These(parts.iter().map(|part| (*part).to_owned()).collect())
    }

    fn values(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn key(flow: &str, parts: &Parts, question: &WebQuestion<'_>) -> Vec<u8> {
        Place::of(flow, question).key(parts, question)
    }

    #[test]
    fn every_part_of_a_question_that_an_answer_may_depend_on_is_in_its_key() {
        let (fields, vars) = (values(&[("tier", "gold")]), values(&[("language", "de")]));
        let (other, none) = (values(&[("tier", "tin")]), Fields::new());
        let one = question(&fields, &vars);
        let all = key("v1", &Parts::All, &one);
        // Another call, and another step of it, ask the same.
        assert_eq!(all, key("v1", &Parts::All, &WebQuestion { call: "spring-2-1", step: 9, ..one.clone() }));
        for parts in [Parts::All, these(&["campaign", "fields.tier", "vars.language"])] {
            let known = key("v1", &parts, &one);
            assert_ne!(known, key("v2", &parts, &one), "a new version of the flow");
            for changed in [
                WebQuestion { fleet: "other", ..one.clone() },
                WebQuestion { campaign: "autumn", ..one.clone() },
                WebQuestion { flow: "other", ..one.clone() },
                WebQuestion { state: "q1", ..one.clone() },
                WebQuestion { verb: "play", ..one.clone() },
                WebQuestion { status: "TIMEOUT", ..one.clone() },
                WebQuestion { digits: "2", ..one.clone() },
                WebQuestion { fields: &other, ..one.clone() },
                WebQuestion { fields: &none, ..one.clone() },
                WebQuestion { vars: &other, ..one.clone() },
                WebQuestion { vars: &none, ..one.clone() },
            ] {
                assert_ne!(known, key("v1", &parts, &changed), "{changed:?}");
            }
        }
        let by_tier = these(&["fields.tier"]);
        let elsewhere = WebQuestion { campaign: "autumn", vars: &none, ..one.clone() };
        assert_eq!(
            key("v1", &by_tier, &one),
            key("v1", &by_tier, &elsewhere),
            "what is not named does not count"
        );
        let empty = values(&[("tier", "")]);
        let (absent, blank) = (question(&none, &vars), question(&empty, &vars));
        assert_ne!(key("v1", &by_tier, &absent), key("v1", &by_tier, &blank), "nothing there is not empty");
    }

    #[test]
    fn parts_are_put_together_and_too_many_are_all() {
        let (one, other) = (these(&["vars.a", "vars.b"]), these(&["vars.b", "campaign"]));
        assert_eq!(one.with(&other), these(&["campaign", "vars.a", "vars.b"]));
        assert_eq!(one.with(&Parts::All), Parts::All);
        assert_eq!(Parts::All.with(&one), Parts::All);
        let many: Vec<String> = (0..MAX_PARTS).map(|n| format!("vars.n{n}")).collect();
        let many = Parts::These(many.into_iter().collect());
        assert_eq!(many.with(&many), many);
        assert_eq!(many.with(&one), Parts::All);
    }

    proptest! {
        /// Whatever is in the values: two questions have one key if, and only if, they agree in what counts.
        #[test]
        fn keys_are_the_same_where_the_questions_are(
            (one, other) in (
                prop::collection::btree_map("[ab]{0,2}", "[ab\\x00\\x01]{0,3}", 0..3),
                prop::collection::btree_map("[ab]{0,2}", "[ab\\x00\\x01]{0,3}", 0..3),
            ),
            digits in ("[12]{0,2}", "[12]{0,2}"),
        ) {
            let none = Fields::new();
            let (a, b) = (question(&one, &none), question(&other, &none));
            let (a, b) = (WebQuestion { digits: &digits.0, ..a }, WebQuestion { digits: &digits.1, ..b });
            let same = digits.0 == digits.1 && one == other;
            prop_assert_eq!(key("v1", &Parts::All, &a) == key("v1", &Parts::All, &b), same);
            let parts = these(&["fields.a", "fields.ab"]);
            let same = digits.0 == digits.1 && ["a", "ab"].iter().all(|name| one.get(*name) == other.get(*name));
            prop_assert_eq!(key("v1", &parts, &a) == key("v1", &parts, &b), same);
        }
    }
}
