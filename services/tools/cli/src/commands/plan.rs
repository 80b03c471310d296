//! `asterism plan`: what a campaign will need, take and cost, before any money is spent.

mod file;

use std::fmt::Write as _;

use asterism_domain::campaign::outlook::{Outlook, OutlookList};
use asterism_domain::fleet::learnt::Learnt;
use asterism_domain::fleet::prices::{ON_DEMAND, SPOT};
use asterism_domain::fleet::{FleetPolicy, PriceLine, Prices};
use asterism_proto::Role;
use asterism_runtime::leader::now_ms;
use asterism_scaler::ScalerConfig;
use asterism_simulator::planned::{Alternative, Asked, CALLS_MAX, Told, alternatives, tell};
use serde_json::json;

use super::Context;
use crate::args::plan::PlanArgs;
use crate::bar::{Bar, grouped};
use crate::error::CliError;
use crate::ops::blocking;
use crate::output::{Align, table};
use crate::up::progress::dollars;

/// Between a spot interruption's notice and the end.
const SPOT_NOTICE_MS: u64 = 120_000;
/// Columns and rows of the chart.
const WIDTH: usize = 60;
const HEIGHT: u32 = 8;

pub(super) async fn run(context: &Context, args: &PlanArgs) -> Result<(), CliError> {
    let config = context.config()?;
    let settings = ScalerConfig::load(&config).map_err(CliError::from_text)?;
    let outlook = match (&args.campaign, &args.campaign_file) {
        (Some(campaign), _) => {
            let (_, client) = context.client().await?;
            client.role_json(Role::Scaler, "fleet.outlook", &json!({ "campaign": campaign })).await?
        }
        (None, Some(path)) => {
            let path = path.clone();
            blocking(move || file::read(&path, now_ms())).await??
        }
        (None, None) => supposed(args),
    };
    let calls: u64 = outlook.lists.iter().map(|list| u64::from(list.calls)).sum();
    if calls == 0 || calls > CALLS_MAX {
        let why = format!("{calls} calls wait; a plan is made for 1 to {CALLS_MAX}");
        return Err(CliError::new("AST-U099", "there is nothing to plan", why).next("asterism campaign list"));
    }
    let book = settings.policy.prices.clone();
    let mut asked = asked(outlook, settings.policy, args.seeds);
    if let Some(percent) = args.spot_share {
        share(&mut asked, book.as_ref(), percent)?;
    }
    let alone = args.alone;
    let quiet = context.out.json;
    let work = move || {
        let mut bar = Bar::new(!quiet);
        let told = tell(&asked);
        let mut done = 0;
        let others = if alone {
            Vec::new()
        } else {
            alternatives(&asked, book.as_ref(), |what| {
                done += 1;
                bar.draw(done, done + 1, what);
            })
        };
        bar.clear();
        (asked, told, others)
    };
    let ended = tokio::task::spawn_blocking(work).await;
    let (asked, told, others) =
        ended.map_err(|error| CliError::new("AST-U004", "a task ended early", error.to_string()))?;
    let value =
        json!({ "outlook": asked.outlook, "plan": told, "alternatives": others, "runs": asked.seeds });
    context.out.result(&value, || text(&asked, &told, &others))
}

/// A campaign that does not exist yet.
fn supposed(args: &PlanArgs) -> Outlook {
    let calls = args.calls.unwrap_or_default();
    let ms = |time: &Option<crate::args::Millis>, or: u64| time.map_or(or, |time| u64::from(time.0));
    let at_ms = now_ms();
    Outlook {
        name: "so many calls".to_owned(),
        at_ms,
        until_ms: args.within.map(|time| at_ms + u64::from(time.0)),
        lists: vec![OutlookList { contacts: calls, calls, hours: Vec::new() }],
        max_channels: args.max_channels.unwrap_or_default(),
        calls_per_second: args.calls_per_second.unwrap_or_default(),
        learnt: Learnt::assumed(ms(&args.holding, 30_000), ms(&args.boot, 90_000)),
        ..Outlook::default()
    }
}

/// Nodes are launched where a call slot is cheapest, as the scaler does while there is room.
fn asked(outlook: Outlook, mut policy: FleetPolicy, seeds: u64) -> Asked {
    let capacity = policy.node_capacity;
    let cheapest = |prices: &Prices| prices.lines.iter().min_by_key(|line| line.per_slot(capacity)).cloned();
    let line: Option<PriceLine> = policy.prices.as_ref().and_then(cheapest);
    let place = line.as_ref().map_or_else(
        || (policy.instance_type.clone(), String::new()),
        |line| (line.instance_type.clone(), line.market.clone()),
    );
    // Its own price is reckoned with, not that of the dearest the scaler might have to take.
    if let (Some(prices), Some(line)) = (&mut policy.prices, line) {
        prices.lines = vec![line];
    }
    Asked { outlook, policy, place, spot_percent: 0, seeds }
}

/// So many of a hundred nodes as spot, the others on demand, all of the plan's type.
fn share(asked: &mut Asked, book: Option<&Prices>, percent: u32) -> Result<(), CliError> {
    let in_market = |market: &str| {
        let lines = book.iter().flat_map(|book| &book.lines);
        let of_type = lines.filter(|line| line.instance_type == asked.place.0);
        of_type.into_iter().find(|line| line.market == market).cloned()
    };
    let (Some(on_demand), Some(spot), Some(prices)) =
        (in_market(ON_DEMAND), in_market(SPOT), asked.policy.prices.as_mut())
    else {
        let why = format!("the configuration's price book has not both prices of {:?}", asked.place.0);
        return Err(CliError::new("AST-P033", "a share of spot cannot be reckoned with", why)
            .next("asterism prices check FILE --used, with scaler.ec2.spot = true"));
    };
    ON_DEMAND.clone_into(&mut asked.place.1);
    asked.spot_percent = percent;
    prices.lines = vec![on_demand, spot];
    Ok(())
}

fn text(asked: &Asked, told: &Told, others: &[Alternative]) -> String {
    let outlook = &asked.outlook;
    let mut text = String::new();
    let calls: u64 = outlook.lists.iter().map(|list| u64::from(list.calls)).sum();
    let holding = outlook.learnt.holding().mean_ms();
    let mixed = format!("on demand, {} % spot", asked.spot_percent);
    let market = if asked.spot_percent > 0 { &mixed } else { &asked.place.1 };
    let place = format!("{} {market}", asked.place.0);
    let _ = writeln!(
        text,
        "{}: {} calls of about {} s each, on nodes of {} slots ({})",
        outlook.name,
        grouped(calls),
        holding.div_ceil(1_000),
        asked.policy.node_capacity,
        place.trim()
    );
    text.push_str(&chart(&told.nodes));
    let columns = [
        ("", Align::Left),
        ("nodes", Align::Right),
        ("through in", Align::Right),
        ("dollars", Align::Right),
        ("late", Align::Right),
    ];
    let mut rows = vec![row("the plan", told)];
    rows.extend(others.iter().map(|other| row(&other.what, &other.told)));
    text.push_str(&table(&columns, &rows));
    if !told.held_back.is_empty() {
        let _ = writeln!(
            text,
            "the last plan of a run with late calls: {}",
            crate::output::plain(&told.held_back)
        );
    }
    let learnt = match outlook.attempts_seen {
        0 => "no call of it has ended yet: how long calls last is assumed".to_owned(),
        seen => format!("learnt from {} attempts", grouped(seen)),
    };
    let _ = writeln!(text, "least, middle and most of {} runs; {learnt}", asked.seeds);
    let caps = [(outlook.max_channels, "calls at once"), (outlook.calls_per_second, "starts a second")];
    for (cap, what) in caps.into_iter().filter(|(cap, _)| *cap > 0) {
        let _ = writeln!(text, "campaign and trunks allow {} {what}", grouped(cap.into()));
    }
    if outlook.retry_ms > 0 {
        let _ = writeln!(text, "whom it has to ring again rests for {}", span(outlook.retry_ms));
    }
    if (asked.spot_percent > 0 || asked.place.1 == SPOT) && holding > SPOT_NOTICE_MS {
        let _ = writeln!(
            text,
            "a spot node ends {} s after its notice: calls of this length are cut with it, and that is not reckoned with",
            SPOT_NOTICE_MS / 1_000
        );
    }
    text
}

fn row(what: &str, told: &Told) -> Vec<String> {
    let money = |micro: u64| dollars(micro.div_ceil(10_000) * 10_000).trim_end_matches("0000").to_owned();
    let ends = told.finish_ms.map(|end| end.map_or_else(|| "never".to_owned(), |ms| span(ms.unsigned_abs())));
    let [least, middle, most] = told.micro_usd.map(money);
    vec![
        what.to_owned(),
        told.peak_nodes.to_string(),
        format!("{} ({} to {})", ends[1], ends[0], ends[2]),
        format!("{middle} ({least} to {most})"),
        grouped(told.late.into()),
    ]
}

/// A time for people.
fn span(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Nodes over time: a column is the most of its time.
fn chart(nodes: &[(i64, u32)]) -> String {
    // Times of a plan count from its beginning: none is below 0.
    let end = nodes.last().map_or(1, |(at, _)| at.unsigned_abs().max(1));
    let peak = nodes.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let mut columns = [0_u32; WIDTH];
    for (place, (from, count)) in nodes.iter().enumerate() {
        let to = nodes.get(place + 1).map_or(end, |(next, _)| next.unsigned_abs());
        let column = |at: u64| usize::try_from(at * WIDTH as u64 / end).unwrap_or(WIDTH).min(WIDTH - 1);
        for held in &mut columns[column(from.unsigned_abs())..=column(to)] {
            *held = (*held).max(*count);
        }
    }
    let mut text = String::new();
    for level in (1..=HEIGHT.min(peak)).rev() {
        let least = (peak * level).div_ceil(HEIGHT.min(peak)).max(1);
        let bar: String = columns.iter().map(|count| if *count >= least { '█' } else { ' ' }).collect();
        let _ = writeln!(text, "{least:>6} {}", bar.trim_end());
    }
    let _ = writeln!(text, " nodes └{} {}", "─".repeat(WIDTH - 1), span(end));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_has_the_most_of_each_time() {
        let drawn = chart(&[(0, 0), (5, 4), (300_000, 2), (600_000, 0)]);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 5, "{drawn}");
        assert_eq!(lines[0], format!("     4 {}", "█".repeat(31)));
        assert_eq!(lines[2], format!("     2 {}", "█".repeat(60)));
        assert!(lines[4].ends_with("10m00s"), "{drawn}");
    }

    #[test]
    fn a_time_is_said_as_people_say_it() {
        assert_eq!([span(59_999), span(125_000), span(7_260_000)], ["59s", "2m05s", "2h01m"]);
    }
}
