//! `asterism trunk`: carriers.

use std::fmt::Write as _;

use asterism_dialer::trunks::{Answered, OneTrunk, SetTrunk, TrunkList};
use asterism_domain::contact::E164;
use asterism_domain::trunk::health::BreakerState;
use asterism_domain::trunk::report::TrunkReport;
use asterism_domain::trunk::{TrunkSettings, check};
use asterism_proto::Role;
use serde_json::json;

use super::{Context, number};
use crate::args::trunk::{AddArgs, TrunkCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::output::{Align, table};

pub(super) async fn run(context: &Context, command: TrunkCommand) -> Result<(), CliError> {
    match command {
        TrunkCommand::Add(args) => add(context, args).await,
        TrunkCommand::Set(args) => set(context, args).await,
        TrunkCommand::Check { trunk } => ask(context, &trunk).await,
        TrunkCommand::List => list(context).await,
        TrunkCommand::Remove { trunk, reason, dry_run } => remove(context, &trunk, reason, dry_run).await,
    }
}

async fn add(context: &Context, args: AddArgs) -> Result<(), CliError> {
    let settings = changed(TrunkSettings::default(), &args)?;
    checked(&args.trunk, &settings)?;
    if args.dry_run {
        return dry(context, &args.trunk, &settings, "would be added");
    }
    let (_, client) = context.client().await?;
    tell(context, &client, args, settings, true).await
}

async fn set(context: &Context, args: AddArgs) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let known = known(&client, &args.trunk).await?;
    let settings = changed(known.settings, &args)?;
    checked(&args.trunk, &settings)?;
    if args.dry_run {
        return dry(context, &args.trunk, &settings, "would be set");
    }
    tell(context, &client, args, settings, false).await
}

async fn tell(
    context: &Context,
    client: &Client,
    args: AddArgs,
    settings: TrunkSettings,
    new: bool,
) -> Result<(), CliError> {
    let asked = SetTrunk { trunk: args.trunk, settings, new, reason: args.reason };
    let reply = client.role(Role::Dialer, "trunk.set", &asked).await.map_err(list_next)?;
    let value = json!({ "trunk": asked.trunk, "settings": asked.settings, "log_position": reply.position });
    context.out.result(&value, || {
        let done = if new { "added" } else { "set" };
        format!(
            "the trunk {} is {done} at position {} of the log; nodes use it as soon as their PBX has it\n\
             Next: asterism trunk check {}\n",
            asked.trunk, reply.position, asked.trunk
        )
    })
}

fn list_next(error: CliError) -> CliError {
    error.next("asterism trunk list")
}

/// What is named replaces what was.
fn changed(mut settings: TrunkSettings, args: &AddArgs) -> Result<TrunkSettings, CliError> {
    fn set<T, U: Clone + Into<T>>(value: &mut T, named: Option<&U>) {
        if let Some(named) = named {
            *value = named.clone().into();
        }
    }
    if !args.hosts.is_empty() {
        (settings.hosts, settings.srv) = (args.hosts.clone(), String::new());
    }
    if let Some(srv) = &args.srv {
        (settings.srv, settings.hosts) = (srv.clone(), Vec::new());
    }
    for (list, named) in [(&mut settings.codecs, &args.codecs)] {
        if !named.is_empty() {
            list.clone_from(named);
        }
    }
    if !args.failover.is_empty() {
        settings.failover.clone_from(&args.failover);
    }
    if !args.caller_ids.is_empty() {
        let all = args.caller_ids.iter().map(|text| number(text, "--caller-id").map(E164::expose));
        settings.caller_ids = all.collect::<Result<_, _>>()?;
    }
    set(&mut settings.transport, args.transport.as_ref());
    set(&mut settings.srtp, args.srtp.as_ref());
    set(&mut settings.number_format, args.number_format.as_ref());
    set(&mut settings.caller_id_header, args.caller_id_header.as_ref());
    set(&mut settings.qualify_s, args.qualify.as_ref());
    set(&mut settings.max_channels, args.max_channels.as_ref());
    set(&mut settings.calls_per_second, args.calls_per_second.as_ref());
    set(&mut settings.priority, args.priority.as_ref());
    set(&mut settings.credentials, args.credentials.as_ref());
    set(&mut settings.outbound_proxy, args.outbound_proxy.as_ref());
    set(&mut settings.from_domain, args.from_domain.as_ref());
    Ok(settings)
}

/// Every problem at once, before anything is asked of a fleet.
fn checked(name: &str, settings: &TrunkSettings) -> Result<(), CliError> {
    let problems: Vec<String> = check(name, settings).iter().map(ToString::to_string).collect();
    if problems.is_empty() { Ok(()) } else { Err(CliError::from_text(problems.join("\n"))) }
}

fn dry(context: &Context, trunk: &str, settings: &TrunkSettings, what: &str) -> Result<(), CliError> {
    let value = json!({ "trunk": trunk, "settings": settings, "dry_run": true });
    context.out.result(&value, || {
        let outside = if settings.is_outside() {
            "it leads outside this machine: until go-live only allowed numbers are dialled\n"
        } else {
            ""
        };
        format!("{outside}the trunk {trunk} {what}; dry run: nothing changed\n")
    })
}

async fn known(client: &Client, trunk: &str) -> Result<TrunkReport, CliError> {
    let list: TrunkList = client.role_json(Role::Dialer, "trunk.list", &json!({})).await?;
    list.trunks.into_iter().find(|known| known.trunk == trunk).ok_or_else(|| {
        list_next(CliError::new("AST-U130", format!("there is no trunk {trunk}"), "`trunk add` adds one"))
    })
}

async fn remove(context: &Context, trunk: &str, reason: String, dry_run: bool) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let known = known(&client, trunk).await?;
    let mut value = json!({ "trunk": trunk, "in_flight": known.in_flight, "dry_run": dry_run });
    if dry_run {
        return context.out.result(&value, || {
            let used = if known.campaigns.is_empty() {
                String::new()
            } else {
                format!("but for the campaigns that use it: {}; ", known.campaigns.join(", "))
            };
            format!(
                "{used}the trunk {trunk} would be removed, {} calls on it would go on; nothing changed\n",
                known.in_flight
            )
        });
    }
    let asked = OneTrunk { trunk: trunk.to_owned(), reason };
    let reply = client.role(Role::Dialer, "trunk.remove", &asked).await.map_err(list_next)?;
    value["log_position"] = json!(reply.position);
    context.out.result(&value, || {
        format!("the trunk {trunk} is removed at position {} of the log; calls on it go on\n", reply.position)
    })
}

async fn list(context: &Context) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let list: TrunkList = client.role_json(Role::Dialer, "trunk.list", &json!({})).await?;
    context.out.result(&list, || listed(&list))
}

fn listed(list: &TrunkList) -> String {
    if list.trunks.is_empty() {
        return "There is no trunk yet. Next: asterism trunk add --help\n".to_owned();
    }
    let most = |cap: u32| if cap == 0 { "-".to_owned() } else { cap.to_string() };
    let row = |one: &TrunkReport| {
        let set = &one.settings;
        let places = if set.srv.is_empty() { set.hosts.join(" ") } else { format!("srv {}", set.srv) };
        vec![
            one.trunk.clone(),
            places,
            format!("{} of {}", one.in_flight, most(set.max_channels)),
            most(set.calls_per_second),
            set.priority.to_string(),
            format!("{} of {}", one.nodes, one.nodes + one.nodes_owed),
            health(one),
            one.campaigns.join(" "),
        ]
    };
    let columns = [
        ("trunk", Align::Left),
        ("where", Align::Left),
        ("channels", Align::Right),
        ("calls/s", Align::Right),
        ("priority", Align::Right),
        ("nodes", Align::Right),
        ("health", Align::Left),
        ("used by", Align::Left),
    ];
    let mut text = table(&columns, &list.trunks.iter().map(row).collect::<Vec<_>>());
    for (node, why) in &list.refusals {
        let _ = writeln!(text, "{node}: {why}");
    }
    text
}

fn health(trunk: &TrunkReport) -> String {
    let slow = match trunk.per_1000_s {
        0 => String::new(),
        pace => format!(", slowed to {}.{:01}/s", pace / 1_000, pace % 1_000 / 100),
    };
    match trunk.breaker {
        BreakerState::Closed if slow.is_empty() => "ok".to_owned(),
        BreakerState::Closed => format!("ok{slow}"),
        BreakerState::Open => format!("rests: {}", trunk.reason),
        BreakerState::HalfOpen => format!("is tried: {}{slow}", trunk.reason),
    }
}

async fn ask(context: &Context, trunk: &str) -> Result<(), CliError> {
    let (_, client) = context.client().await?;
    let asked = OneTrunk { trunk: trunk.to_owned(), reason: String::new() };
    let answers: Vec<Answered> =
        client.role_json(Role::Dialer, "trunk.check", &asked).await.map_err(list_next)?;
    context.out.result(&answers, || answers.iter().map(said).collect())?;
    let silent = answers.iter().filter(|answer| !answer.problem.is_empty()).count();
    if silent == 0 {
        return Ok(());
    }
    let what = format!("{silent} of {} answers of the trunk {trunk} did not come", answers.len());
    let why = "look at its hosts, its transport, and whether the carrier knows the nodes' addresses";
    Err(CliError::new("AST-U131", what, why).next("asterism trunk list"))
}

fn said(answer: &Answered) -> String {
    let Answered { node, host, address, status, said, rtt_us, problem, record } = answer;
    let about: Vec<&str> = [address.as_str(), record].into_iter().filter(|text| !text.is_empty()).collect();
    let at = if about.is_empty() { String::new() } else { format!(" ({})", about.join("; ")) };
    let ms = format!("{}.{:01} ms", rtt_us / 1_000, rtt_us % 1_000 / 100);
    match (problem.is_empty(), status) {
        (false, _) => format!("{host}{at} asked by {node}: {problem}\n"),
        (true, 0) => format!("{host}{at} asked by {node}: {said}, after {ms}\n"),
        (true, status) => format!("{host}{at} asked by {node}: {status} {said}, after {ms}\n"),
    }
}
