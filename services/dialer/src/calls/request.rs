//! What is asked for, and what that is as a campaign of one contact.

use std::collections::BTreeMap;

use asterism_domain::campaign::command::NewCall;
use asterism_domain::campaign::decide::{self, Stage};
use asterism_domain::campaign::forecast::{self, Forecast};
use asterism_domain::campaign::judge::CALL_CAMPAIGN;
use asterism_domain::contact::E164;
use asterism_domain::rules::{CampaignRules, RetryRule, read, retry};
use asterism_domain::{Rejection, State};
use asterism_runtime::leader::now_ms;
use asterism_runtime::role::Deps;
use asterism_runtime::seal::{PersonalData, number_hash};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::commands::{CreateCampaign, new_campaign, seal_row};
use crate::config::DialerConfig;

/// The body of `POST /calls`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallRequest {
    /// E.164.
    number: String,
    /// Id or name of a published flow.
    flow: String,
    /// Id or name of published prompts; may be left out where only one set is published.
    prompts: Option<String>,
    /// A trunk; may be left out where there is only one.
    trunk: Option<String>,
    /// E.164; if left out the trunk's own, where it has any.
    caller_id: Option<String>,
    ring_timeout_ms: Option<u32>,
    /// The contact's fields, `timezone` and `consent` among them.
    #[serde(default)]
    fields: BTreeMap<String, String>,
    /// Rules as in a rules file.
    rules: Option<serde_json::Value>,
    /// Says what would be, changes nothing.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// Something wrong with it.
#[derive(Serialize)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

/// The request as a decision takes it.
pub(super) struct Asked {
    pub(super) call: Box<NewCall>,
    person: PersonalData,
    pub(super) problems: Vec<Problem>,
    pub(super) forecast: Forecast,
}

impl Asked {
    /// Seals the contact under a key that is durable before anything sealed with it can be.
    pub(super) fn seal(mut self, deps: &Deps, numbers: &[u8; 32]) -> Result<Box<NewCall>, Refusal> {
        let failed = |why: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "AST-D060", why);
        let import = &self.call.import;
        let key = deps.keyring.import(import, true).map_err(|error| failed(error.to_string()))?;
        let row = seal_row(import, &key, &self.person, numbers).map_err(|error| failed(error.to_string()))?;
        self.call.row = row;
        Ok(self.call)
    }
}

fn bad(code: &'static str, why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code, why)
}

impl CallRequest {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(bytes).map_err(|error| {
            // serde says what it found; a value of the body is not repeated.
            let at = format!("line {}, column {}", error.line(), error.column());
            let why = if error.is_data() { error.to_string() } else { format!("no JSON: {at}") };
            let why = if why.contains("invalid") { format!("a value has the wrong type: {at}") } else { why };
            Refusal::new(StatusCode::BAD_REQUEST, "AST-D059", why)
        })
    }

    pub(super) fn understand(
        &self,
        key: &str,
        deps: &Deps,
        config: &DialerConfig,
        numbers: &[u8; 32],
    ) -> Result<Asked, Refusal> {
        let parse = |text: &str| {
            E164::parse(text).map_err(|problem| bad(problem.code(), format!("{problem}; {}", problem.fix())))
        };
        let number = parse(&self.number)?;
        let caller_id = self.caller_id.as_deref().map(parse).transpose()?;
        let trunk = deps.log.read(|state| self.trunk(state))?;
        let id = |what: &str, text: &str| hex::encode(number_hash(numbers, &format!("{what} {text}")));
        let campaign = format!("{CALL_CAMPAIGN}{}", id("key", key));
        let rules = self.rules()?;
        let known = deps.log.read(|state| self.published(state))?;
        let new = CreateCampaign {
            campaign,
            name: "call".to_owned(),
            flow: known.0,
            manifest: known.1,
            caller_id: caller_id
                .map(E164::expose)
                .or_else(|| config.caller_ids.get(&trunk).cloned())
                .unwrap_or_default(),
            trunk,
            trunks: Vec::new(),
            caller_ids: Vec::new(),
            max_channels: 1,
            calls_per_second: 1,
            ring_timeout_ms: self.ring_timeout_ms.unwrap_or(30_000),
            max_attempts: 1,
            live: false,
            allowed: vec![number.expose()],
            rules,
        };
        // Keyed, so that nobody finds the number by guessing: the import is what was asked.
        let asked = serde_json::to_string(&(&new, &self.fields)).unwrap_or_default();
        let import = format!("one-{}", id("call", &asked));
        let person = PersonalData { number: number.expose(), fields: self.fields.clone() };
        // As it would be; a key is made only for a call that is placed.
        let row = seal_row(&import, &[0; 32], &person, numbers)
            .map_err(|error| bad("AST-D061", error.to_string()))?;
        let new = new_campaign(new, numbers);
        let digits = number.digits().to_string();
        let (problems, forecast) = deps.log.read(|state| {
            let at = state.at.max(now_ms());
            let asked =
                forecast::Asked { rules: &new.limits.rules, campaign: None, skip_known: &[], only: None };
            let found = decide::problems(state, &new, Stage::Final, at);
            (found, forecast::forecast(state, &asked, &[(&row, &digits)], at))
        });
        let problem = |one: Rejection| Problem { code: one.code, reason: one.reason.into_owned() };
        // Asked again the campaign is there, which is no problem then.
        let problems = problems.into_iter().filter(|one| one.code != "AST-D002").map(problem).collect();
        let call = Box::new(NewCall { new, import, row, digits });
        Ok(Asked { call, person, problems, forecast })
    }

    /// Those of the configuration are in the log too, as those that were added while the fleet ran.
    fn trunk(&self, state: &State) -> Result<String, Refusal> {
        let usable = state.trunks.iter().filter(|(_, trunk)| trunk.usable().is_some());
        let known: Vec<&String> = usable.map(|(name, _)| name).collect();
        match (&self.trunk, known.as_slice()) {
            (Some(trunk), _) if known.contains(&trunk) => Ok(trunk.clone()),
            (Some(_), _) => Err(bad("AST-D062", "there is no trunk of this name")),
            (None, [only]) => Ok((*only).clone()),
            (None, _) => Err(bad("AST-D062", "name the trunk: there is none, or more than one")),
        }
    }

    /// One call is one ring, whatever becomes of it, unless its rules say otherwise.
    fn rules(&self) -> Result<CampaignRules, Refusal> {
        let mut rules = match &self.rules {
            None => CampaignRules::default(),
            Some(value) => {
                let document = read::Document::deserialize(value)
                    .map_err(|error| bad("AST-D063", format!("rules: {error}")))?;
                read::understood(document, now_ms()).map_err(|problems| {
                    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    bad("AST-D063", format!("rules: {}", all.join("; ")))
                })?
            }
        };
        if rules.retries.is_empty() {
            rules.retries.push(RetryRule { max: 0, ..retry::CONGESTION });
        }
        Ok(rules)
    }

    /// Ids of flow and prompts.
    fn published(&self, state: &State) -> Result<(String, String), Refusal> {
        let one = |what: &str,
                   known: &BTreeMap<String, asterism_domain::catalogue::Published>,
                   text: Option<&str>| {
            let meant =
                known.iter().filter(|(id, one)| text.is_none_or(|text| *id == text || one.name == text));
            let ids: Vec<&String> = meant.map(|(id, _)| id).collect();
            match ids.as_slice() {
                [only] => Ok((*only).clone()),
                [] => Err(bad("AST-D064", format!("no {what} of this id or name is published"))),
                _ => Err(bad("AST-D064", format!("several {what} are meant: name one by its id"))),
            }
        };
        let flow = one("flow", &state.catalogue.flows, Some(&self.flow))?;
        let manifest = one("prompts", &state.catalogue.manifests, self.prompts.as_deref())?;
        Ok((flow, manifest))
    }
}
