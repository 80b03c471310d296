//! The actions of a logged-in session.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use asterism_agent::ami::Message;
use asterism_agent::dialplan::{MAX_CHANNEL_ID_BYTES, is_channel_id};
use bytes::Bytes;

use crate::call;
use crate::callees::Habit;
use crate::channel::{ChannelState, Origin};
use crate::event::{Outbox, push, push_channel};
use crate::recorder::is_number;
use crate::session::{Session, response};
use crate::sim::Ctx;

/// Asterisk's `Timeout` where an Originate names none, in ms.
const DEFAULT_TIMEOUT_MS: u32 = 30_000;
/// The only context and extension there are to originate into.
const CONTEXT: &str = "asterism";
const EXTEN: &str = "s";

/// Runs an action by its lower-case name; `None` if the connection is gone.
pub(crate) async fn take(session: &Session<'_>, name: &str, request: &Message) -> Option<()> {
    let ctx = session.ctx;
    match name {
        "ping" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let timestamp = format!("{}.{:06}", now.as_secs(), now.subsec_micros());
            let pairs = [("Response", "Success"), ("Ping", "Pong"), ("Timestamp", &timestamp)];
            session.reply(request, &pairs).await
        }
        "originate" => originate(session, request).await,
        "hangup" => hangup(session, request).await,
        "coreshowchannels" => list(session, request).await,
        "corestatus" => {
            let (date, time) = date_and_time(ctx.started);
            let (calls, processed) =
                (ctx.channels.list().len().to_string(), ctx.channels.processed().to_string());
            let pairs = [
                ("Response", "Success"),
                ("CoreStartupDate", date.as_str()),
                ("CoreStartupTime", time.as_str()),
                ("CoreReloadDate", date.as_str()),
                ("CoreReloadTime", time.as_str()),
                ("CoreCurrentCalls", calls.as_str()),
                ("CoreProcessedCalls", processed.as_str()),
            ];
            session.reply(request, &pairs).await
        }
        "reload" => {
            ctx.endpoints.reload(ctx.config.trunks_file.as_deref());
            session.reply(request, &[("Response", "Success"), ("Message", "Module Reloaded")]).await
        }
        "pjsipshowendpoint" => show_endpoint(session, request).await,
        "coresettings" => {
            let version = concat!("22.10.1-pbx-sim-", env!("CARGO_PKG_VERSION"));
            let pairs = [
                ("Response", "Success"),
                ("AMIversion", "11.0.0"),
                ("AsteriskVersion", version),
                ("SystemName", ctx.config.node.as_str()),
                ("CoreMaxCalls", "0"),
                ("CoreMaxLoadAvg", "0.000000"),
                ("CoreRunUser", ""),
                ("CoreRunGroup", ""),
                ("CoreMaxFilehandles", "0"),
                ("CoreRealTimeEnabled", "No"),
                ("CoreCDRenabled", "No"),
                ("CoreHTTPenabled", "No"),
                ("SoundsSearchCustomDir", "No"),
            ];
            session.reply(request, &pairs).await
        }
        // The agent's user may not give console commands.
        "command" => session.refuse(request, "Permission denied").await,
        _ => {
            let shown: String = request.get("Action").unwrap_or_default().chars().take(32).collect();
            let why = format!(
                "Invalid/unknown command: {shown}. Use Action: ListCommands to show available commands."
            );
            session.refuse(request, &why).await
        }
    }
}

async fn hangup(session: &Session<'_>, request: &Message) -> Option<()> {
    let ctx = session.ctx;
    let Some(name) = request.get("Channel").filter(|name| !name.is_empty()) else {
        return session.refuse(request, "No channel specified").await;
    };
    let Some(channel) = ctx.channels.find(name) else {
        return session.refuse(request, "No such channel").await;
    };
    let cause = request.get_u32("Cause").filter(|cause| (1..=127).contains(cause)).unwrap_or(0);
    session.reply(request, &[("Response", "Success"), ("Message", "Channel Hungup")]).await?;
    if channel.hangup_cause().is_none() && channel.place().state == ChannelState::Up {
        ctx.bus.emit(&ctx.events.soft_hangup_request(&channel, 16));
    }
    channel.ask_hangup(cause);
    Some(())
}

async fn list(session: &Session<'_>, request: &Message) -> Option<()> {
    let channels = session.ctx.channels.list();
    let head = [("Response", "Success"), ("EventList", "start"), ("Message", "Channels will follow")];
    session.reply(request, &head).await?;
    let named = |name| {
        let mut event = Message::from_pairs([("Event", name)]);
        if let Some(id) = request.get("ActionID") {
            push(&mut event, "ActionID", id);
        }
        event
    };
    for channel in &channels {
        let mut event = named("CoreShowChannel");
        push_channel(&mut event, "", channel);
        let age_s = channel.created.elapsed().as_secs();
        let application = channel.place().application;
        push(&mut event, "Application", application);
        push(&mut event, "ApplicationData", if application == "AppDial2" { "(Outgoing Line)" } else { "" });
        push(
            &mut event,
            "Duration",
            &format!("{:02}:{:02}:{:02}", age_s / 3600, age_s / 60 % 60, age_s % 60),
        );
        push(&mut event, "BridgeId", "");
        session.send(&event).await?;
    }
    let mut complete = named("CoreShowChannelsComplete");
    push(&mut complete, "EventList", "Complete");
    push(&mut complete, "ListItems", &channels.len().to_string());
    session.send(&complete).await
}

async fn show_endpoint(session: &Session<'_>, request: &Message) -> Option<()> {
    let name = request.get("Endpoint").unwrap_or_default();
    let Some(endpoint) = session.ctx.endpoints.get(name) else {
        return session.refuse(request, &format!("Unable to retrieve endpoint {name}")).await;
    };
    let head = [
        ("Response", "Success"),
        ("EventList", "start"),
        ("Message", "Following are Events for each object associated with the the Endpoint"),
    ];
    session.reply(request, &head).await?;
    let named = |event| {
        let id = request.get("ActionID").map(|id| ("ActionID", id));
        Message::from_pairs([("Event", event)].into_iter().chain(id))
    };
    let mut detail = named("EndpointDetail");
    for (key, value) in [
        ("ObjectType", "endpoint"),
        ("ObjectName", name),
        ("Accountcode", &endpoint.account_code),
        ("Aors", &endpoint.trunk),
    ] {
        push(&mut detail, key, value);
    }
    session.send(&detail).await?;
    let mut complete = named("EndpointDetailComplete");
    push(&mut complete, "EventList", "Complete");
    push(&mut complete, "ListItems", "1");
    session.send(&complete).await
}

async fn originate(session: &Session<'_>, request: &Message) -> Option<()> {
    let ctx = session.ctx;
    let origin = match read_originate(request) {
        Ok(origin) => origin,
        Err(why) => return session.refuse(request, why).await,
    };
    tokio::spawn(dial(Arc::clone(ctx), origin, Arc::clone(&session.outbox)));
    Some(())
}

/// Checks an Originate as Asterisk does; the error is what it says.
fn read_originate(request: &Message) -> Result<Box<Origin>, &'static str> {
    let text = |name| request.get(name).unwrap_or_default().to_owned();
    let channel = text("Channel");
    if channel.is_empty() {
        return Err("Channel not specified");
    }
    let timeout_ms = match request.get("Timeout").filter(|t| !t.is_empty()) {
        None => DEFAULT_TIMEOUT_MS,
        Some(t) => t.parse().ok().filter(|t| *t > 0).ok_or("Invalid timeout")?,
    };
    let unique_id = text("ChannelId");
    if unique_id.len() > MAX_CHANNEL_ID_BYTES {
        return Err("Uniqueid length exceeds maximum of 149");
    }
    if !is_channel_id(&unique_id) {
        return Err("ChannelId missing or with characters the simulator does not take");
    }
    let (context, exten) = (text("Context"), text("Exten"));
    if context != CONTEXT || exten != EXTEN || request.get("Priority") != Some("1") {
        return Err("Extension does not exist.");
    }
    if !request.get("Async").is_some_and(|a| a.eq_ignore_ascii_case("true")) {
        return Err("The simulator originates with Async: true only");
    }
    let (number, trunk) = destination(&channel).unwrap_or_default();
    Ok(Box::new(Origin {
        action_id: text("ActionID"),
        number: number.to_owned(),
        trunk: trunk.to_owned(),
        timeout_ms,
        caller_id: request.get("CallerID").filter(|c| !c.is_empty()).unwrap_or("<unknown>").to_owned(),
        flow: variable(request, "FLOW").unwrap_or_default().to_owned(),
        detects: variable(request, "DETECT") == Some("1"),
        channel,
        context,
        exten,
        unique_id,
    }))
}

/// `PJSIP/NUMBER@TRUNK`.
fn destination(channel: &str) -> Option<(&str, &str)> {
    channel
        .strip_prefix("PJSIP/")?
        .split_once('@')
        .filter(|(number, trunk)| is_number(number) && is_number(trunk))
}

/// A channel variable: `Variable` headers repeat, and each may hold several with commas between.
fn variable<'a>(request: &'a Message, name: &'a str) -> Option<&'a str> {
    request
        .get_all("Variable")
        .flat_map(|list| list.split(','))
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(n, v)| (n.trim_start_matches('_') == name).then_some(v))
}

/// Takes the unique id, records the ring, answers the action, then runs the call. In this order: a ring that could
/// not be recorded does not happen, and one the agent may believe in is recorded.
async fn dial(ctx: Arc<Ctx>, origin: Box<Origin>, outbox: Arc<Outbox>) {
    let exists = !origin.number.is_empty()
        && (ctx.config.trunks.is_empty() || ctx.config.trunks.contains(&origin.trunk))
        && ctx.endpoints.exists(&origin.trunk);
    let reserved = if exists { ctx.channels.reserve(origin) } else { Err(origin) };
    let channel = match reserved {
        Ok(channel) => channel,
        Err(origin) => {
            queued(&outbox, &origin).await;
            ctx.bus.emit(&ctx.events.originate_response(&origin, &origin.channel, 0));
            return;
        }
    };
    if ctx.callee(&channel.origin).habit == Habit::NoPort {
        queued(&outbox, &channel.origin).await;
        call::without_port(&ctx, &channel);
    } else if let Err(error) = record(&ctx, &channel.origin).await {
        tracing::warn!(channel = %channel.origin.unique_id, %error, "originate failed");
        queued(&outbox, &channel.origin).await;
        call::undelivered(&ctx, &channel);
    } else {
        queued(&outbox, &channel.origin).await;
        drop(outbox);
        call::run(Arc::clone(&ctx), channel).await;
    }
    ctx.channels.end();
}

async fn record(ctx: &Ctx, origin: &Origin) -> Result<(), crate::Error> {
    match &ctx.recorder {
        Some(recorder) => recorder.ring(&origin.unique_id, &origin.number, &ctx.config.node).await,
        None => Ok(()),
    }
}

async fn queued(outbox: &Outbox, origin: &Origin) {
    let pairs = [("Response", "Success"), ("Message", "Originate successfully queued")];
    let bytes = Bytes::from(response(Some(&origin.action_id), &pairs).encode());
    let _ = outbox.queue.send(bytes).await; // the client may be gone; the call goes on as in Asterisk
}

/// `2026-11-22` and `18:34:17` in UTC (days to civil date by Hinnant's algorithm).
fn date_and_time(at: SystemTime) -> (String, String) {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let time = format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    (format!("{year:04}-{month:02}-{day:02}"), time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_civil() {
        for (seconds, date, time) in [
            (0, "1970-01-01", "00:00:00"),
            (951_782_399, "2000-02-28", "23:59:59"),
            (951_782_400, "2000-02-29", "00:00:00"),
            (1_795_372_457, "2026-11-22", "18:34:17"),
        ] {
            let got = date_and_time(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(got, (date.to_owned(), time.to_owned()));
        }
    }

    #[test]
    fn destinations_and_variables() {
        assert_eq!(destination("PJSIP/+15550100123@trunk-a"), Some(("+15550100123", "trunk-a")));
        for bad in ["SIP/x", "PJSIP/x", "PJSIP/@t", "PJSIP/a b@t", "PJSIP/1@", "Local/1@t"] {
            assert_eq!(destination(bad), None, "{bad}");
        }
        let request = Message::from_pairs([("Variable", "A=1,_FLOW=demo"), ("Variable", "FLOWER=x")]);
        assert_eq!(variable(&request, "FLOW"), Some("demo"));
    }
}
