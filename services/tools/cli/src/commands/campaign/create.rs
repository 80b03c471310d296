//! `asterism campaign create`: everything is checked before anything is changed.

use asterism_dialer::commands::CreateCampaign;
use asterism_domain::contact::E164;
use asterism_domain::logic::Flow;
use asterism_domain::rules::CampaignRules;
use asterism_runtime::config::Config;
use serde_json::json;

use super::contacts::{self, options, summary_json, summary_text, usable};
use super::list_next;
use crate::args::campaign::CreateArgs;
use crate::client::Client;
use crate::commands::resolve::{self, Prompts};
use crate::commands::{Context, number, store};
use crate::error::CliError;
use crate::import::{self, Options, Summary};
use crate::ops;

/// Longest campaign id, as the dialer takes it.
const ID_MAX_BYTES: usize = 40;
/// Most numbers allowed before go-live, as the dialer takes them.
const ALLOWED_MAX: usize = 64;

pub(super) async fn run(context: &Context, args: CreateArgs) -> Result<(), CliError> {
    let checked = Checked::new(&args)?;
    if args.dry_run {
        return dry_run(context, &args, &checked);
    }
    let (config, client) = context.client().await?;
    let store = store(&config).await?;
    let flow = resolve::flow(&client, store.as_ref(), &args.flow).await?;
    let prompts = Prompts::read(&args.prompts);
    let manifest = resolve::manifest(&client, store.as_ref(), Some(&prompts), &flow).await?;
    let new = campaign(&args, &checked, &config, &flow, manifest)?;
    ops::create_campaign(&client, &new).await.map_err(list_next)?;
    let summary = fill(context, &client, &args, &checked.options).await?;
    let value = json!({
        "campaign": new.campaign, "flow": new.flow, "manifest": new.manifest, "started": args.start,
        "import": summary_json(&summary, &args.contacts, &checked.options),
    });
    context.out.result(&value, || {
        let id = &new.campaign;
        let next = if args.start {
            format!("asterism campaign show {id}")
        } else {
            format!("asterism campaign start {id}")
        };
        let state = if args.start { "created and started" } else { "created" };
        format!(
            "{}campaign {id} {state}\nNext: {next}\n",
            summary_text(&summary, &args.contacts, &checked.options)
        )
    })
}

async fn fill(
    context: &Context,
    client: &Client,
    args: &CreateArgs,
    options: &Options,
) -> Result<Summary, CliError> {
    let summary =
        contacts::send(context, client, &args.campaign, &args.contacts, &args.list, options).await?;
    if args.start {
        ops::start_campaign(client, &args.campaign).await?;
    }
    Ok(summary)
}

/// What can be found wrong without a fleet.
struct Checked {
    options: Options,
    /// What the list would give.
    list: Summary,
    /// The flow, where it is a file.
    flow: Option<Flow>,
    allowed: Vec<E164>,
    caller_id: Option<E164>,
    rules: CampaignRules,
}

impl Checked {
    fn new(args: &CreateArgs) -> Result<Self, CliError> {
        let id = &args.campaign;
        if !asterism_proto::origin::is_token(id) || id.len() > ID_MAX_BYTES {
            let why = format!("an id is 1 to {ID_MAX_BYTES} of letters, digits, - and _");
            return Err(CliError::usage("AST-U022", format!("{id:?} cannot be a campaign's id"), why));
        }
        if !(1_000..=120_000).contains(&args.ring_timeout.0) {
            return Err(CliError::usage("AST-U023", "--ring-timeout is out of range", "1s to 2m"));
        }
        if args.allowed.len() > ALLOWED_MAX {
            return Err(CliError::usage(
                "AST-U024",
                "too many --allow",
                format!("at most {ALLOWED_MAX} numbers"),
            ));
        }
        let allowed = args.allowed.iter().map(|text| number(text, "--allow")).collect::<Result<_, _>>()?;
        let caller_id = args.caller_id.as_ref().map(|text| number(text, "--caller-id")).transpose()?;
        let flow = resolve::flow_file(&args.flow)
            .map(|file| ops::read_flow(&file))
            .transpose()?
            .map(|(flow, _)| flow);
        if let (Prompts::Folder(folder), Some(flow)) = (Prompts::read(&args.prompts), &flow) {
            resolve::covers(&resolve::convert(&folder)?.0, flow)?;
        }
        let rules = args.rules.as_deref().map(super::rules::read_file).transpose()?.unwrap_or_default();
        let options = options(&args.contacts, &args.list, args.dry_run)?;
        // The first look writes no rejects, if the import does.
        let rejects = options.rejects.clone().filter(|_| args.dry_run);
        let look = Options { dry_run: true, rejects, ..options.clone() };
        let survey = import::survey_file(&args.contacts, &look)?;
        let list = import::import_file(&args.contacts, &survey, &look, |_| Ok::<(), String>(()))?;
        Ok(Self { options, list, flow, allowed, caller_id, rules })
    }
}

fn dry_run(context: &Context, args: &CreateArgs, checked: &Checked) -> Result<(), CliError> {
    let (list, options) = (&checked.list, &checked.options);
    let flow = checked
        .flow
        .as_ref()
        .map(|flow| json!({ "flow": flow.id(), "name": flow.name(), "prompts": flow.prompts() }));
    let value = json!({
        "campaign": args.campaign, "dry_run": true, "flow": flow, "import": summary_json(list, &args.contacts, options),
    });
    context.out.result(&value, || {
        let flow = checked.flow.as_ref().map_or_else(
            || format!("flow {:?} is no file; whether it is published was not checked", args.flow),
            |flow| format!("flow {:?}: ok, id {}", flow.name(), flow.id()),
        );
        format!("{flow}\n{}dry run: nothing changed\n", summary_text(list, &args.contacts, options))
    })?;
    usable(list)
}

fn campaign(
    args: &CreateArgs,
    checked: &Checked,
    config: &Config,
    flow: &Flow,
    manifest: String,
) -> Result<CreateCampaign, CliError> {
    usable(&checked.list)?;
    let trunk = config.trunks.get(&args.trunk);
    let mut allowed: Vec<String> = checked.allowed.iter().map(|number| number.expose()).collect();
    // What the configuration allows on the trunk needs no flag.
    for number in trunk.into_iter().flat_map(|trunk| &trunk.allowed_numbers) {
        if !allowed.contains(number) && allowed.len() < ALLOWED_MAX {
            allowed.push(number.clone());
        }
    }
    let caller_id = checked.caller_id.map(E164::expose);
    Ok(CreateCampaign {
        campaign: args.campaign.clone(),
        name: args.name.clone().unwrap_or_else(|| args.campaign.clone()),
        flow: flow.id().to_owned(),
        manifest,
        trunk: args.trunk.clone(),
        max_channels: args.max_channels,
        calls_per_second: args.calls_per_second,
        ring_timeout_ms: args.ring_timeout.0,
        max_attempts: args.max_attempts,
        caller_id: caller_id.or_else(|| trunk?.caller_id.clone()).unwrap_or_default(),
        live: args.live,
        allowed,
        rules: checked.rules.clone(),
    })
}
