//! `asterism campaign create`: everything is checked before anything is changed, and everything that is wrong is said at
//! once.

use asterism_dialer::commands::CreateCampaign;
use asterism_dialer::commands::check::AskForecast;
use asterism_domain::campaign::forecast::Forecast;
use asterism_domain::contact::E164;
use asterism_domain::logic::Flow;
use asterism_domain::rules::CampaignRules;
use asterism_runtime::config::Config;
use serde_json::json;

use super::contacts::{self, options, summary_json, summary_text, usable};
use super::forecast::{self, Missing};
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
    let mut look = Look::new(&args)?;
    if args.dry_run {
        return Box::pin(dry_run(context, &args, look)).await;
    }
    let fleet = context.client().await;
    if let Ok((config, client)) = &fleet {
        look.ask(&args, config, client).await?;
    }
    look.refused(&args)?;
    let (config, client) = fleet?;
    let store = store(&config).await?;
    let flow = resolve::flow(&client, store.as_ref(), &args.flow).await?;
    let prompts = Prompts::read(&args.prompts);
    let manifest = resolve::manifest(&client, store.as_ref(), Some(&prompts), &flow).await?;
    let new = look.campaign(&args, &config, flow.id().to_owned(), manifest);
    ops::create_campaign(&client, &new).await.map_err(list_next)?;
    let summary = fill(context, &client, &args, &look.options).await?;
    let value = json!({
        "campaign": new.campaign, "flow": new.flow, "manifest": new.manifest, "started": args.start,
        "import": summary_json(&summary, &args.contacts, &look.options),
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
            summary_text(&summary, &args.contacts, &look.options)
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

/// Shows what would be: the flow, the list, whom the dialer would ring; and everything that is wrong.
async fn dry_run(context: &Context, args: &CreateArgs, mut look: Look) -> Result<(), CliError> {
    let said = look.forecast(context, args).await;
    let flow = look
        .flow
        .as_ref()
        .map(|flow| json!({ "flow": flow.id(), "name": flow.name(), "prompts": flow.prompts() }));
    let list = look.list.as_ref().map(|list| summary_json(list, &args.contacts, &look.options));
    let problems: Vec<_> = look
        .problems
        .iter()
        .map(|one| json!({ "code": one.code, "what": one.what, "why": one.why }))
        .collect();
    let mut value = json!({
        "campaign": args.campaign, "dry_run": true, "flow": flow, "import": list, "problems": problems,
    });
    forecast::put(&mut value, &said);
    if look.list.is_some() {
        context.out.result(&value, || {
            let flow = look.flow.as_ref().map_or_else(
                || format!("flow {:?}: not looked at", args.flow),
                |flow| format!("flow {:?}: ok, id {}", flow.name(), flow.id()),
            );
            let list = look.list.as_ref().map(|list| summary_text(list, &args.contacts, &look.options));
            let list = list.unwrap_or_default();
            format!("{flow}\n{list}{}dry run: nothing changed\n", forecast::text(&said))
        })?;
    }
    look.refused(args)
}

/// What was found, and everything that is wrong.
struct Look {
    options: Options,
    /// What the list would give.
    list: Option<Summary>,
    flow: Option<Flow>,
    allowed: Vec<E164>,
    caller_ids: Vec<E164>,
    rules: Option<CampaignRules>,
    problems: Vec<CliError>,
}

impl Look {
    /// What can be found without a fleet.
    fn new(args: &CreateArgs) -> Result<Self, CliError> {
        let options = options(&args.contacts, &args.list, args.dry_run)?;
        let mut look = Self {
            options,
            list: None,
            flow: None,
            allowed: Vec::new(),
            caller_ids: Vec::new(),
            rules: None,
            problems: Vec::new(),
        };
        look.words(args);
        look.files(args);
        Ok(look)
    }

    fn take<T>(&mut self, found: Result<T, CliError>) -> Option<T> {
        found.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// What stands on the command line.
    fn words(&mut self, args: &CreateArgs) {
        let id = &args.campaign;
        if !asterism_proto::origin::is_token(id) || id.len() > ID_MAX_BYTES {
            let why = format!("an id is 1 to {ID_MAX_BYTES} of letters, digits, - and _");
            self.problems.push(CliError::usage("AST-U022", format!("{id:?} cannot be a campaign's id"), why));
        }
        if !(1_000..=120_000).contains(&args.ring_timeout.0) {
            self.problems.push(CliError::usage("AST-U023", "--ring-timeout is out of range", "1s to 2m"));
        }
        if args.allowed.len() > ALLOWED_MAX {
            let why = format!("at most {ALLOWED_MAX} numbers");
            self.problems.push(CliError::usage("AST-U024", "too many --allow", why));
        }
        for text in &args.allowed {
            let read = self.take(number(text, "--allow"));
            self.allowed.extend(read);
        }
        for text in &args.caller_ids {
            let found = self.take(number(text, "--caller-id"));
            self.caller_ids.extend(found);
        }
    }

    /// What stands in files.
    fn files(&mut self, args: &CreateArgs) {
        if let Some(file) = resolve::flow_file(&args.flow) {
            self.flow = self.take(ops::read_flow(&file)).map(|(flow, _)| flow);
        }
        if let Prompts::Folder(folder) = Prompts::read(&args.prompts)
            && let Some((manifest, _)) = self.take(resolve::convert(&folder))
            && let Some(flow) = &self.flow
        {
            let covers = resolve::covers(&manifest, flow);
            self.take(covers);
        }
        self.rules = match args.rules.as_deref().map(super::rules::problems) {
            None => Some(CampaignRules::default()),
            Some(Ok(rules)) => Some(rules),
            Some(Err(found)) => {
                self.problems.extend(found);
                None
            }
        };
        // The first look writes no rejects, if the import does.
        let rejects = self.options.rejects.clone().filter(|_| args.dry_run);
        let look = Options { dry_run: true, rejects, ..self.options.clone() };
        let read = import::survey_file(&args.contacts, &look)
            .and_then(|survey| import::import_file(&args.contacts, &survey, &look, |_| Ok::<(), String>(())));
        self.list = self.take(read.map_err(CliError::from));
        let good = self.list.as_ref().map_or(Ok(()), usable);
        self.take(good);
    }

    /// What the fleet says: names that are published, the trunk, rules that no list contradicts.
    async fn ask(&mut self, args: &CreateArgs, config: &Config, client: &Client) -> Result<(), CliError> {
        let (mut flow, mut manifest) = (String::new(), String::new());
        let prompts = Prompts::read(&args.prompts);
        let named = matches!(prompts, Prompts::Named(_));
        if resolve::flow_file(&args.flow).is_none() || named {
            let store = store(config).await?;
            if resolve::flow_file(&args.flow).is_none() {
                self.flow = self.take(resolve::flow(client, store.as_ref(), &args.flow).await);
                flow = self.flow.as_ref().map(|flow| flow.id().to_owned()).unwrap_or_default();
            }
            if named && let Some(flow) = &self.flow {
                let found = resolve::manifest(client, store.as_ref(), Some(&prompts), flow).await;
                manifest = self.take(found).unwrap_or_default();
            }
        }
        let new = self.campaign(args, config, flow, manifest);
        let known: Vec<CliError> = ops::check_campaign(client, &new).await?;
        // The command line's own words for what both have found.
        let said = |code: &str| self.problems.iter().any(|one| one.code == code);
        let theirs = |one: &CliError| match one.code.as_str() {
            "AST-D001" => !said("AST-U022"),
            "AST-D005" => !said("AST-U023"),
            "AST-D006" => !said("AST-U024"),
            _ => true,
        };
        let new: Vec<CliError> = known.into_iter().filter(theirs).map(list_next).collect();
        self.problems.extend(new);
        Ok(())
    }

    /// Whom the dialer would ring. Without a fleet that is not known, and not zero.
    async fn forecast(&mut self, context: &Context, args: &CreateArgs) -> Result<Forecast, Missing> {
        let (config, client) = forecast::client(context).await?;
        self.ask(args, &config, &client).await?;
        let (Some(rules), Some(list)) = (&self.rules, &self.list) else {
            return Err(Missing("there are problems with the rules or the list".to_owned()));
        };
        if list.good == 0 {
            return Err(Missing("the list has no row that can be dialled".to_owned()));
        }
        let new = self.campaign(args, &config, String::new(), String::new());
        let asked = AskForecast {
            trunk: new.trunk,
            trunks: new.trunks,
            live: new.live,
            allowed: new.allowed,
            rules: rules.clone(),
            skip_known: self.options.skip_known.clone(),
            ..AskForecast::default()
        };
        Ok(ops::forecast(&client, &asked, &args.contacts, &self.options).await?)
    }

    fn refused(&mut self, args: &CreateArgs) -> Result<(), CliError> {
        let problems = std::mem::take(&mut self.problems);
        let what = format!("the campaign {} cannot be created", args.campaign);
        CliError::of_all(&what, problems).map_or(Ok(()), Err)
    }

    fn campaign(&self, args: &CreateArgs, config: &Config, flow: String, manifest: String) -> CreateCampaign {
        let mut names = args.trunks.iter().cloned();
        let first = names.next().unwrap_or_default();
        let trunk = config.trunks.get(&first);
        let mut allowed: Vec<String> = self.allowed.iter().map(|number| number.expose()).collect();
        // What the configuration allows on the trunk needs no flag.
        for number in trunk.into_iter().flat_map(|trunk| &trunk.allowed_numbers) {
            if !allowed.contains(number) && allowed.len() < ALLOWED_MAX {
                allowed.push(number.clone());
            }
        }
        let mut caller_ids = self.caller_ids.iter().map(|number| number.expose());
        let caller_id = caller_ids.next().or_else(|| trunk?.caller_id.clone()).unwrap_or_default();
        CreateCampaign {
            campaign: args.campaign.clone(),
            name: args.name.clone().unwrap_or_else(|| args.campaign.clone()),
            flow,
            manifest,
            trunk: first,
            trunks: names.collect(),
            max_channels: args.max_channels,
            calls_per_second: args.calls_per_second,
            ring_timeout_ms: args.ring_timeout.0,
            max_attempts: args.max_attempts,
            caller_id,
            caller_ids: caller_ids.collect(),
            live: args.live,
            allowed,
            rules: self.rules.clone().unwrap_or_default(),
        }
    }
}
