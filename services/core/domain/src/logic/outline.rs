//! A flow as people look at it: its states, what each does, and where each leads.

use super::{Act, Answer, Backend, Flow, Say, Then};

/// What a state does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does<'a> {
    /// A verb, as the dialplan reads it.
    Verb(&'a str),
    /// Sets variables and gives a tag, at once.
    Silent {
        /// The variables and their values.
        set: &'a [(String, String)],
        /// The tag.
        tag: Option<&'a str>,
    },
    /// Says this variable or field.
    Say(&'a Say, &'a str),
    /// Decides by this variable or field, at once.
    Match(&'a str),
}

/// What leads from a state to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why<'a> {
    /// One of these: what was pressed, or the value that was matched.
    On(Vec<&'a str>),
    /// An answer that is not like the state's pattern, or a value that cannot be said.
    Invalid,
    /// Everything else.
    Otherwise,
    /// There is no other way.
    Next,
}

/// One state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateOutline<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub does: Does<'a>,
    /// The variable that keeps the answer.
    pub save: Option<&'a str>,
    /// Where it leads, in the order in which it is looked at; a state is there once for each reason.
    pub ways: Vec<(Why<'a>, &'a str)>,
}

/// A flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline<'a> {
    /// Its name.
    pub name: &'a str,
    /// The state a call begins in; none where a back end begins.
    pub start: Option<&'a str>,
    /// The state a call goes to when no answer comes.
    pub fallback: &'a str,
    /// Where its answers come from, if they are not its own.
    pub backend: Option<&'a Backend>,
    /// Its states, in the order of the document.
    pub states: Vec<StateOutline<'a>>,
}

impl Flow {
    /// The flow as people look at it.
    pub fn outline(&self) -> Outline<'_> {
        let name = |index: usize| self.states[index].name.as_str();
        let states = self.states.iter().map(|state| {
            let does = match (&state.act, &state.then) {
                (_, Then::Match { field, .. }) => Does::Match(field),
                (Act::Verb(verb), _) => Does::Verb(verb),
                (Act::Say { say, field, .. }, _) => Does::Say(say, field),
                (Act::Silent { set, tag }, _) => Does::Silent { set, tag: tag.as_deref() },
            };
            let (on, otherwise, answer) = match &state.then {
                Then::End => return StateOutline { name: &state.name, does, save: None, ways: Vec::new() },
                Then::Go { on, otherwise, answer } => (on, *otherwise, answer.as_ref()),
                Then::Leg { on, otherwise } | Then::Match { on, otherwise, .. } => (on, *otherwise, None),
            };
            let mut ways: Vec<(Why<'_>, &str)> = Vec::new();
            if let Some(Answer { only: Some((_, invalid)), .. }) = answer {
                ways.push((Why::Invalid, name(*invalid)));
            }
            if let Act::Say { unsaid, .. } = &state.act {
                ways.push((Why::Invalid, name(*unsaid)));
            }
            for (value, to) in on {
                let to = name(*to);
                match ways.iter_mut().find(|(why, known)| matches!(why, Why::On(_)) && *known == to) {
                    Some((Why::On(values), _)) => values.push(value),
                    _ => ways.push((Why::On(vec![value]), to)),
                }
            }
            let rest = if ways.is_empty() { Why::Next } else { Why::Otherwise };
            ways.push((rest, name(otherwise)));
            let save = answer.and_then(|answer| answer.save.as_deref());
            StateOutline { name: &state.name, does, save, ways }
        });
        Outline {
            name: &self.name,
            start: self.backend.is_none().then(|| name(self.start)),
            fallback: name(self.fallback),
            backend: self.backend.as_ref(),
            states: states.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_outline_says_what_each_state_does_and_where_it_leads() {
        let text = "name = \"pin\"\nstart = \"ask\"\nfallback = \"end\"\n\
                    [states.ask]\ngather = { prompts = [\"p\"], max_digits = 4, pattern = \"[1-9]XXX\", save = \"pin\" }\n\
                    on = { \"1234\" = \"by\", \"2345\" = \"by\" }\ninvalid = \"ask\"\notherwise = \"set\"\n\
                    [states.set]\nset = { known = \"no\" }\nnext = \"end\"\n\
                    [states.by]\nmatch = \"language\"\non = { \"de\" = \"ask\" }\notherwise = \"end\"\n\
                    [states.end]\nhangup = {}\n";
        let flow = Flow::parse(text).unwrap();
        let outline = flow.outline();
        assert_eq!((outline.start, outline.fallback), (Some("ask"), "end"));
        let ways: Vec<_> = outline.states.iter().map(|state| (state.name, state.ways.clone())).collect();
        assert_eq!(
            ways,
            [
                (
                    "ask",
                    vec![
                        (Why::Invalid, "ask"),
                        (Why::On(vec!["1234", "2345"]), "by"),
                        (Why::Otherwise, "set"),
                    ]
                ),
                ("set", vec![(Why::Next, "end")]),
                ("by", vec![(Why::On(vec!["de"]), "ask"), (Why::Otherwise, "end")]),
                ("end", vec![]),
            ]
        );
        let ask = &outline.states[0];
        assert_eq!((ask.does, ask.save), (Does::Verb("gather|p|4|5|1|#"), Some("pin")));
        assert_eq!(outline.states[2].does, Does::Match("language"));
    }
}
