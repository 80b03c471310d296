//! What is behind the bus: the server, the stream, each role, the fleet's clock.

use std::time::{Duration, Instant};

use asterism_ledger::commands::Head;
use asterism_nats::{Bus, RequestError, Subject, stream};
use asterism_proto::Role;
use asterism_proto::v1::TimeReply;
use asterism_runtime::config::Config;
use asterism_runtime::leader::now_ms;
use prost::Message;
use serde_json::json;

use super::Check;
use crate::client::Client;

/// How long a role may take: a look at now, not a wait.
const ROLE_PATIENCE: Duration = Duration::from_secs(2);
/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// A clock this far off still works.
const CLOCK_WARN_MS: u64 = 250;
/// Orders are good for two seconds: a clock this far off makes nodes refuse them.
const CLOCK_FAIL_MS: u64 = 2_000;
/// Share of its room, in percent, from which the stream is nearly full.
const STREAM_WARN_PERCENT: u64 = 80;

/// The roles that answer commands, with a verb that changes nothing and the program behind it.
const ROLES: [(&str, Role, &str); 4] = [
    ("dialer", Role::Dialer, "campaign.list"),
    ("scaler", Role::Scaler, "fleet.list"),
    ("media-sync", Role::MediaSync, "media.list"),
    ("ledger", Role::Ledger, "ledger.head"),
];

pub(super) async fn all(config: &Config, checks: &mut Vec<Check>) {
    let client = match Client::connect(config).await {
        Ok(client) => client.patience(ROLE_PATIENCE),
        Err(error) => {
            let fix = "start nats-server (or `asterism up`), or correct nats.url";
            checks.push(Check::fail("bus", error.next("").to_string(), fix));
            return;
        }
    };
    let bus = client.bus();
    checks.push(Check::ok("bus", format!("nats-server {} at {}", bus.server_version(), config.nats.url)));
    checks.push(stream(bus, config).await);
    let [dialer, scaler, media, ledger] = ROLES.map(|(name, role, verb)| one_role(&client, name, role, verb));
    let (dialer, scaler, media, ledger, logic, clock) =
        tokio::join!(dialer, scaler, media, ledger, logic(bus, config), clock(bus, config));
    checks.extend([dialer, scaler, media, ledger, logic, clock]);
    if let Ok(head) = client.role_json::<Head>(Role::Ledger, "ledger.head", &json!({})).await {
        checks.extend([archive(config, &head), incidents(&head)]);
    }
}

/// What stands in the stream alone.
fn archive(config: &Config, head: &Head) -> Check {
    let name = "archive";
    let Some(url) = &config.ledger.archive else {
        let fix = "set ledger.archive: with every disk lost the log is lost";
        return Check::warn(name, "the log is not archived", fix);
    };
    let found = format!("{} of {} events are at {url}", head.archived, head.size);
    if head.hold.is_empty() {
        return Check::ok(name, found);
    }
    Check::fail(name, format!("nothing new is dialled: {}", head.hold), "bring the object store back")
}

fn incidents(head: &Head) -> Check {
    match head.incidents {
        0 => Check::ok("incidents", "none in the log"),
        count => Check::warn("incidents", format!("{count} in the log"), "asterism log incidents"),
    }
}

async fn stream(bus: &Bus, config: &Config) -> Check {
    match stream::info(bus, &config.fleet).await {
        Ok(info) => {
            let percent = info.bytes.saturating_mul(100) / info.max_bytes.max(1);
            let found = format!(
                "{}: {} frames, {percent}% of {} MiB",
                info.name,
                info.last_sequence,
                info.max_bytes / (1024 * 1024)
            );
            if percent >= STREAM_WARN_PERCENT {
                return Check::warn("stream", found, "raise nats.stream_max_bytes and restart the services");
            }
            Check::ok("stream", found)
        }
        Err(error) => {
            Check::warn("stream", error.to_string(), "the first service that starts makes the stream")
        }
    }
}

async fn one_role(client: &Client, name: &'static str, role: Role, verb: &str) -> Check {
    let began = Instant::now();
    match client.role(role, verb, &json!({})).await {
        Ok(reply) => Check::ok(
            name,
            format!("answers in {} ms, at log position {}", began.elapsed().as_millis(), reply.position),
        ),
        Err(error) => {
            Check::fail(name, error.why.clone(), format!("start asterism-{name}, or `asterism up`"))
        }
    }
}

/// The logic responder answers questions, not commands: one it cannot read changes nothing.
async fn logic(bus: &Bus, config: &Config) -> Check {
    let name = "logic-responder";
    let began = Instant::now();
    let answer = match Subject::step(&config.fleet) {
        Ok(subject) => bus.request(&subject, vec![0xff], DEADLINE).await,
        Err(error) => return Check::fail(name, error.to_string(), "correct fleet"),
    };
    match answer {
        Ok(_) | Err(RequestError::Service { .. }) => {
            Check::ok(name, format!("answers in {} ms", began.elapsed().as_millis()))
        }
        Err(error) => {
            let fix =
                "start asterism-logic-responder, or `asterism up`: until then calls take the flow's fallback";
            Check::fail(name, error.to_string(), fix)
        }
    }
}

async fn clock(bus: &Bus, config: &Config) -> Check {
    let name = "clock";
    let (asked, asked_ms) = (Instant::now(), now_ms());
    let answer = match Subject::time(&config.fleet) {
        Ok(subject) => bus.request(&subject, Vec::new(), DEADLINE).await,
        Err(error) => return Check::fail(name, error.to_string(), "correct fleet"),
    };
    let reply = answer.ok().and_then(|bytes| TimeReply::decode(bytes.as_slice()).ok());
    let Some(reply) = reply else {
        return Check::warn(name, "not compared: nobody tells the fleet's time", "start asterism-scaler");
    };
    let round_trip_ms = asked.elapsed().as_millis() as u64;
    let off_ms = (asked_ms + round_trip_ms / 2).abs_diff(reply.now_ms);
    let found = format!("{off_ms} ms off the fleet's (round trip {round_trip_ms} ms)");
    let fix = "synchronise this machine's clock (chrony or systemd-timesyncd)";
    match off_ms {
        0..CLOCK_WARN_MS => Check::ok(name, found),
        CLOCK_WARN_MS..CLOCK_FAIL_MS => Check::warn(name, found, fix),
        _ => Check::fail(name, found, fix),
    }
}
