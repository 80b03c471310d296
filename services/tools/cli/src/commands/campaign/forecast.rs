//! Whom a list would ring: asked of the dialer, and said.

use std::fmt::Write as _;
use std::time::Duration;

use asterism_domain::campaign::forecast::Forecast;
use asterism_replay::when;
use asterism_runtime::config::Config;
use serde_json::{Value, json};

use crate::bar::grouped;
use crate::client::Client;
use crate::commands::Context;
use crate::error::CliError;
use crate::output::plain;

/// How long a dry run waits for a dialer: it is of use without one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody said whom a list would ring.
pub(super) struct Missing(pub(super) String);

impl From<CliError> for Missing {
    fn from(error: CliError) -> Self {
        Self(error.to_string())
    }
}

/// A connection for a question that is of use without an answer.
pub(super) async fn client(context: &Context) -> Result<(Config, Client), Missing> {
    let (config, client) = context.client().await?;
    Ok((config, client.patience(PATIENCE)))
}

/// Puts it into a result: `forecast` is null where nobody said, and `forecast_missing` why.
pub(super) fn put(value: &mut Value, said: &Result<Forecast, Missing>) {
    value["forecast"] = said.as_ref().map_or(Value::Null, |forecast| json!(forecast));
    if let Err(Missing(why)) = said {
        value["forecast_missing"] = json!(why);
    }
}

/// The same in lines.
pub(super) fn text(said: &Result<Forecast, Missing>) -> String {
    let forecast = match said {
        Ok(forecast) => forecast,
        Err(Missing(why)) => {
            let why = why.replace('\n', " ");
            return format!("could be dialled: not known, the dialer was not asked: {}\n", plain(&why));
        }
    };
    let never: u64 = forecast.never.values().sum();
    let mut text = format!(
        "could be dialled: {} now, {} later, {} never",
        grouped(forecast.now),
        grouped(forecast.later_total()),
        grouped(never)
    );
    if forecast.there > 0 {
        let _ = write!(text, "; {} are in the campaign already", grouped(forecast.there));
    }
    if forecast.known > 0 {
        let _ = write!(text, "; {} are in other campaigns and left out", grouped(forecast.known));
    }
    text.push('\n');
    for (why, later) in &forecast.later {
        let from = later.from_ms.map(|at| format!(", from {}", when::shown(at))).unwrap_or_default();
        let _ = writeln!(text, "later    {:>7}  when {}{from}", grouped(later.contacts), plain(why));
    }
    for (why, contacts) in &forecast.never {
        let _ = writeln!(text, "never    {:>7}  {}", grouped(*contacts), reason_of(why));
    }
    text
}

/// A rule's name, and what helps.
fn reason_of(rule: &str) -> String {
    let more = match rule {
        "do-not-call" => "on a do-not-call list",
        "do-not-call-prefix" => "begins with digits on a do-not-call list",
        "no-consent" => "the list's column `consent` does not say yes",
        "no-zone" => "nobody knows its time zone; the rules' default_zone or a column `timezone` says it",
        "deadline" => "the campaign's deadline comes before it may be rung",
        "cap-for-ever" => "rang as often as it ever may",
        "no-window-opens" => "no calling window opens within a year",
        "the-campaign-ends-before" => "the campaign ends before it may be rung",
        _ => return plain(rule),
    };
    format!("{rule}: {more}")
}
