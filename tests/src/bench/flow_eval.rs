//! `flow-eval`: steps of a built-in flow decided per second on one core, nothing around them.

use std::time::Instant;

use anyhow::{Context, ensure};
use asterism_domain::logic::{self, Asked, Fields, Flow};
use serde_json::json;

use super::report::{Figure, median, rounded, spread};

/// The survey of the examples: menus, variables, tags, states nobody hears.
const FLOW: &str = include_str!("../../../compose/logic/survey.toml");
/// What a caller presses who goes all the way.
const KEYS: [&str; 6] = ["2", "3", "1", "5", "", ""];
const ROUNDS: usize = 7;
const CALLS: usize = 100_000;

/// One question of a call, and its answer.
struct Step {
    state: String,
    digits: &'static str,
    vars: Fields,
    reply: String,
}

pub fn run() -> anyhow::Result<Figure> {
    let flow = Flow::parse(FLOW).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let steps = walk(&flow)?;
    let fields = Fields::new();
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let mut right = 0;
        for _ in 0..CALLS {
            for step in &steps {
                let asked = Asked {
                    state: &step.state,
                    status: "OK",
                    digits: step.digits,
                    fields: &fields,
                    vars: &step.vars,
                };
                right += usize::from(logic::next(&flow, std::hint::black_box(&asked)).reply == step.reply);
            }
        }
        ensure!(right == CALLS * steps.len(), "{right} of {} answers are right", CALLS * steps.len());
        if round > 0 {
            rates.push(right as f64 / began.elapsed().as_secs_f64()); // the first warms up
        }
    }
    Ok(Figure {
        value: median(&rates),
        unit: "steps/s",
        baseline: None,
        ratio: None,
        note: "steps of the survey flow on one core, start to hang-up, variables and tags included"
            .to_owned(),
        detail: json!({
            "steps_per_s": spread(&rates),
            "ns_a_step": rounded(1e9 / median(&rates)),
            "steps_a_call": steps.len(),
        }),
    })
}

/// The questions of one call, and what each is answered with.
fn walk(flow: &Flow) -> anyhow::Result<Vec<Step>> {
    let (mut state, mut vars, mut steps) = (String::new(), Fields::new(), Vec::new());
    let fields = Fields::new();
    for digits in std::iter::once("").chain(KEYS) {
        let asked = Asked { state: &state, status: "OK", digits, fields: &fields, vars: &vars };
        let next = logic::next(flow, &asked);
        ensure!(next.reason.is_none(), "{next:?}");
        steps.push(Step { state: state.clone(), digits, vars: vars.clone(), reply: next.reply });
        (state, vars) = (next.next_state, next.vars);
    }
    let last = steps.last().context("no step")?;
    ensure!(last.reply.starts_with("hangup|") && vars.len() == 4, "{}: {vars:?}", last.reply);
    Ok(steps)
}
