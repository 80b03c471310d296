//! A flow without a phone: each step in words, what a caller would press from standard input.
//!
//! The step is the responder's own, back ends included: they are asked as in a call, with a call that nobody has.

use std::io::{BufRead, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use asterism_domain::logic::{Flow, LEG_OUTCOMES, LastVerb, MAX_STEPS, Next, Verb};
use asterism_logic_responder::backend::{Backends, Failure};
use asterism_logic_responder::cache::Cache;
use asterism_logic_responder::responder;
use asterism_proto::v1::{ContactField, StepQuestion};
use asterism_runtime::config::LogicConfig;
use serde_json::json;

use super::draw::said;
use crate::args::TryArgs;
use crate::commands::Context;
use crate::error::CliError;
use crate::ops;

/// The call that is tried; no campaign has this name.
const CALL: &str = "try-1-1";

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Verb,
    Caller,
    Steps,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Verb => "the flow hangs up",
            Self::Caller => "the caller hangs up",
            Self::Steps => "the call has taken too many steps",
        }
    }
}

/// What became of a verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Done {
    status: &'static str,
    digits: String,
}

pub(super) async fn run(context: &Context, args: &TryArgs) -> Result<(), CliError> {
    let (flow, _) = ops::read_flow(&args.file)?;
    let fields = fields(&flow, &args.fields)?;
    let backends = backends(&args.keys)?;
    let mut keys = Keys::new(context.out.json);
    let mut question = StepQuestion {
        call: CALL.to_owned(),
        flow: flow.id().to_owned(),
        verb: LastVerb::Start.as_str().to_owned(),
        campaign: "try".to_owned(),
        fields,
        ..StepQuestion::default()
    };
    let end = loop {
        question.step += 1;
        if question.step > MAX_STEPS {
            break End::Steps;
        }
        let began = Instant::now();
        let until = tokio::time::Instant::now() + Duration::from_millis(args.deadline_ms);
        let (next, failure) = responder::step(&backends, &flow, &question, until).await;
        tell(context, &flow, &question, (&next, failure.as_ref(), began.elapsed()))?;
        // What a flow or a checked answer says can be read.
        let Ok(verb) = Verb::parse(&next.reply) else { break End::Verb };
        if verb.ends() {
            break End::Verb;
        }
        let Some(done) = keys.done(&verb)? else { break End::Caller };
        question.state = next.next_state;
        verb.name().as_str().clone_into(&mut question.verb);
        done.status.clone_into(&mut question.status);
        question.digits = done.digits;
        question.vars = next.vars.into_iter().map(|(name, value)| ContactField { name, value }).collect();
    };
    let value = json!({ "end": end.as_str(), "steps": question.step });
    let text = format!("      {}\n", end.as_str());
    context.out.raw(if context.out.json { format!("{value}\n") } else { text }.as_bytes())
}

/// One step, in words or as one line of JSON.
fn tell(
    context: &Context,
    flow: &Flow,
    question: &StepQuestion,
    (next, failure, took): (&Next, Option<&Failure>, Duration),
) -> Result<(), CliError> {
    let failed = failure.map(|failure| json!({ "code": failure.code, "reason": failure.reason }));
    if context.out.json {
        let value = json!({
            "step": question.step, "state": next.next_state, "verb": next.reply, "vars": next.vars, "tags": next.tags,
            "failure": failed,
        });
        return context.out.raw(format!("{value}\n").as_bytes());
    }
    let mut lines = Vec::new();
    if let Some(failure) = failure {
        lines.push(format!("      ! {}: {}", failure.code, failure.reason));
    }
    let asked = flow.backend().is_some() && !flow.has_state(&question.state);
    let took = if asked { format!(", asked for {} ms", took.as_millis()) } else { String::new() };
    for (index, words) in said(&next.reply).iter().enumerate() {
        lines.push(match index {
            0 => format!("{:>4}  {words:<36} [{}{took}]", question.step, next.next_state),
            _ => format!("      {words}"),
        });
    }
    lines.extend(next.tags.iter().map(|tag| format!("      tag {tag}")));
    let known: Vec<(&str, &str)> =
        question.vars.iter().map(|var| (var.name.as_str(), var.value.as_str())).collect();
    let new = next.vars.iter().filter(|(name, value)| !known.contains(&(name.as_str(), value.as_str())));
    lines.extend(new.map(|(name, value)| format!("      {name} = {value}")));
    context.out.raw(format!("{}\n", lines.join("\n")).as_bytes())
}

/// Where pressed keys come from.
struct Keys {
    prompts: bool,
}

impl Keys {
    fn new(is_json: bool) -> Self {
        Self { prompts: !is_json && std::io::stdin().is_terminal() }
    }

    /// What became of a verb; none where the caller hangs up. Only what asks for keys, or joins, waits for a line.
    fn done(&mut self, verb: &Verb) -> Result<Option<Done>, CliError> {
        let asks = match verb {
            Verb::Gather { .. } => "keys (Enter: none, h: hang up)",
            Verb::Dial { .. } => "how that ends (answered, busy, no-answer, failed; h: hang up)",
            _ => return Ok(Some(Done { status: "OK", digits: String::new() })),
        };
        loop {
            if self.prompts {
                let _ = write!(std::io::stderr(), "      {asks}> ");
            }
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line).map_err(|error| {
                CliError::new("AST-Q142", "what is pressed cannot be read", error.to_string())
            })?;
            let typed = line.trim();
            if read == 0 || typed == "h" {
                return Ok(None);
            }
            let said = match verb {
                Verb::Gather { max_digits, finish_key, .. } => pressed(typed, *max_digits, *finish_key),
                _ => joined(typed),
            };
            match said {
                Ok(done) => return Ok(Some(done)),
                Err(why) if self.prompts => {
                    let _ = writeln!(std::io::stderr(), "      {why}");
                }
                Err(why) => {
                    return Err(CliError::usage("AST-Q142", format!("{typed:?} cannot be pressed"), why));
                }
            }
        }
    }
}

/// How a leg ended, in the word that a flow has for it.
fn joined(typed: &str) -> Result<Done, String> {
    let status = match typed {
        "answered" => "ANSWER",
        "busy" => "BUSY",
        "no-answer" => "NOANSWER",
        "failed" => "CONGESTION",
        other => return Err(format!("{other:?} is no end of it; there are {}", LEG_OUTCOMES.join(", "))),
    };
    Ok(Done { status, digits: String::new() })
}

/// What a phone makes of these keys: the finishing key and the last one that fits end it, else the time does.
fn pressed(typed: &str, max_digits: u32, finish_key: Option<char>) -> Result<Done, String> {
    if let Some(wrong) = typed.chars().find(|key| !key.is_ascii_digit() && !matches!(key, '*' | '#')) {
        return Err(format!(
            "{wrong:?} is no key; there are 0-9, * and #, nothing for silence and h to hang up"
        ));
    }
    let mut digits = String::new();
    for key in typed.chars() {
        if Some(key) == finish_key {
            return Ok(Done { status: "OK", digits });
        }
        digits.push(key);
        if digits.len() >= max_digits as usize {
            return Ok(Done { status: "OK", digits });
        }
    }
    Ok(Done { status: "TIMEOUT", digits })
}

fn fields(flow: &Flow, given: &[String]) -> Result<Vec<ContactField>, CliError> {
    let known = flow.fields();
    let mut fields = Vec::new();
    for field in given {
        let Some((name, value)) = field.split_once('=') else {
            let why = "a field is given as NAME=VALUE";
            return Err(CliError::usage("AST-Q140", format!("--field {field}"), why));
        };
        if !known.contains(&name) {
            let why = if known.is_empty() {
                "it looks at none".to_owned()
            } else {
                format!("it looks at {}", known.join(", "))
            };
            return Err(CliError::usage(
                "AST-Q140",
                format!("the flow does not look at a field {name}"),
                why,
            ));
        }
        fields.push(ContactField { name: name.to_owned(), value: value.to_owned() });
    }
    Ok(fields)
}

fn backends(keys: &[String]) -> Result<Backends, CliError> {
    let mut config = LogicConfig::default();
    for key in keys {
        let Some((name, file)) = key.split_once('=') else {
            let why = "a key is given as NAME=FILE, by the name the flow's back end has for it";
            return Err(CliError::usage("AST-Q141", format!("--key {key}"), why));
        };
        config.keys.insert(name.to_owned(), file.into());
    }
    let cache = Cache::off().map_err(CliError::from_text)?;
    Backends::new(&config, "try", None, cache).map_err(CliError::from_text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn done(status: &'static str, digits: &str) -> Done {
        Done { status, digits: digits.to_owned() }
    }

    #[test]
    fn keys_end_a_question_as_they_do_on_a_phone() {
        assert_eq!(pressed("", 1, Some('#')).unwrap(), done("TIMEOUT", ""));
        assert_eq!(pressed("1", 1, Some('#')).unwrap(), done("OK", "1"));
        assert_eq!(pressed("12", 1, Some('#')).unwrap(), done("OK", "1"), "the second comes too late");
        assert_eq!(pressed("12", 4, Some('#')).unwrap(), done("TIMEOUT", "12"));
        assert_eq!(pressed("12#", 4, Some('#')).unwrap(), done("OK", "12"));
        assert_eq!(pressed("12#", 4, None).unwrap(), done("TIMEOUT", "12#"));
        assert_eq!(pressed("#", 4, Some('#')).unwrap(), done("OK", ""));
        assert_eq!(joined("busy").unwrap(), done("BUSY", ""));
        assert!(joined("").unwrap_err().contains("answered, busy, no-answer, failed"));
        assert!(pressed("a", 4, None).unwrap_err().contains("'a' is no key"));
    }
}
