//! `say = { money = "amount", currency = "eur", sounds = "say" }`: read from TOML.

use super::MAX_NAME_BYTES;
use super::problem::{Problems, code};
use super::read::Shape;
use super::say::{MAX_NUMBER, MAX_SOUNDS_BYTES, Say, SayKind};
use super::values::{Node, flag, name, node, number, only_keys, string, target};

/// A state that says a variable or a field of the contact.
pub(super) fn say(state: &Node<'_>, problems: &mut Problems<'_>) -> Option<Shape> {
    only_keys(state, &["say", "barge", "next", "otherwise"], "say", problems);
    let (next, otherwise) = (target(state, "next", problems), target(state, "otherwise", problems));
    let barge = flag(state, "barge", problems);
    let spec = state.get("say").and_then(|found| node(found, &state.path_of("say"), problems))?;
    let kinds: Vec<SayKind> =
        SayKind::ALL.into_iter().filter(|kind| spec.get(kind.as_str()).is_some()).collect();
    let [kind] = kinds[..] else {
        let reason = "one of digits, number, date and money names the variable or the field that is said";
        problems.add(code::VERB, &spec.at, &spec.path, reason);
        return None;
    };
    let known: &[&str] = match kind {
        SayKind::Digits => &["digits", "sounds"],
        SayKind::Number => &["number", "sounds", "max"],
        SayKind::Date => &["date", "sounds", "year"],
        SayKind::Money => &["money", "sounds", "max", "currency"],
    };
    only_keys(&spec, known, "say", problems);
    let field = field(&spec, kind.as_str(), problems);
    let max = number(&spec, "max", 1..=MAX_NUMBER, Some(MAX_NUMBER), problems);
    let year = flag(&spec, "year", problems);
    let currency = match spec.get("currency") {
        None => Some(String::new()),
        Some(found) => name(&found, &spec.path_of("currency"), problems),
    };
    let say = Say {
        kind,
        sounds: sounds(&spec, problems)?,
        max: max?,
        currency: currency?,
        year: year?,
        barge: barge?,
    };
    if let Some(reason) = say.wrong() {
        problems.add(code::OUT_OF_BOUNDS, &spec.at, &spec.path, reason);
    }
    let (prompts, say) = (say.prompts(), Some((say, otherwise?)));
    Some(Shape { field: Some(field?), prompts, say, ..Shape::of("say", None, Some(next?)) })
}

fn field(spec: &Node<'_>, key: &str, problems: &mut Problems<'_>) -> Option<String> {
    let (found, path) = (spec.get(key)?, spec.path_of(key));
    let field = string(&found, &path, problems)?;
    if !(1..=MAX_NAME_BYTES).contains(&field.len()) {
        problems.add(code::BAD_NAME, &found.1, &path, "a field's name is that of its column, 1 to 64 bytes");
    }
    Some(field.to_owned())
}

/// The word that the campaign's own parts begin with. The outer `None` is a problem already reported.
#[allow(clippy::option_option)] // "could not be read" and "there is none" are two things
fn sounds(spec: &Node<'_>, problems: &mut Problems<'_>) -> Option<Option<String>> {
    let Some(found) = spec.get("sounds") else { return Some(None) };
    let path = spec.path_of("sounds");
    let word = name(&found, &path, problems)?;
    if word.len() > MAX_SOUNDS_BYTES {
        let reason =
            format!("at most {MAX_SOUNDS_BYTES} characters: a call's parts go into one line of the dialplan");
        problems.add(code::OUT_OF_BOUNDS, &found.1, &path, reason);
        return None;
    }
    Some(Some(word))
}
