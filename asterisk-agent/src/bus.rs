//! The node's side of the bus: registration, orders, the fleet's clock, heartbeats, checkpoints, steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use asterism_nats::{Bus, BusConfig, Parsed, RequestError, Subject, SubjectError, Subscription};
use asterism_proto::{PublicKey, notice, v1};
use prost::Message;

use crate::Error;
use crate::clock::Sample;
use crate::input::{Input, Inputs};

/// How long the scaler may take to answer a registration: it commits first.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest and longest pause between two registrations.
const REGISTRATION_PAUSE_MIN: Duration = Duration::from_millis(200);
const REGISTRATION_PAUSE_MAX: Duration = Duration::from_secs(3);
/// Questions to the fleet's clock in a row; the best one counts.
const CLOCK_SAMPLES: usize = 5;
/// How long one may take.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the clock is compared, and how soon after a failure.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
const CLOCK_RETRY: Duration = Duration::from_millis(500);
/// Pause after the bus refused us.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// Pause before a step question is asked again where nobody listened.
const STEP_RETRY: Duration = Duration::from_millis(50);

/// How long the ledger may take to prove the log's growth, how large an answer may be, and how many are asked for.
const GROWTH_TIMEOUT: Duration = Duration::from_secs(2);
const GROWTH_MAX_BYTES: usize = 256 * 1024;
const GROWTH_ROUNDS_MAX: usize = 16;

/// How long media-sync may take to name addresses.
const ADDRESSES_TIMEOUT: Duration = Duration::from_secs(10);

/// A checkpoint notice that is not believed is said once, and then so often at most.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Whose checkpoints are believed, and how many were not.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The key that signs them; without it every one is believed.
    pub log_key: Option<PublicKey>,
    /// Those that were not.
    pub refused: Arc<AtomicU64>,
}

/// Every subject the node uses, checked once.
#[derive(Debug, Clone)]
pub struct Subjects {
    commands: Subject,
    /// Its heartbeats.
    pub heartbeat: Subject,
    registration: Subject,
    time: Subject,
    step: Subject,
    checkpoint_notice: Subject,
    /// Where a checkpoint is asked for.
    pub checkpoint_request: Subject,
    /// Where the log's growth is asked for.
    pub growth: Subject,
    /// Where it is asked where sounds may be had.
    pub addresses: Subject,
    /// Where checkpoints are cosigned.
    pub cosignature: Subject,
}

impl Subjects {
    /// The subjects of a node.
    pub fn new(fleet: &str, node: &str) -> Result<Self, SubjectError> {
        Ok(Self {
            commands: Subject::commands(fleet, node)?,
            heartbeat: Subject::heartbeat(fleet, node)?,
            registration: Subject::registration(fleet)?,
            time: Subject::time(fleet)?,
            step: Subject::step(fleet)?,
            checkpoint_notice: Subject::checkpoint_notice(fleet)?,
            checkpoint_request: Subject::checkpoint_request(fleet)?,
            growth: Subject::growth_request(fleet)?,
            addresses: Subject::address_request(fleet)?,
            cosignature: Subject::cosignature(fleet, node)?,
        })
    }
}

/// Connects, then listens until the loop is gone. Returns early only with what waiting cannot cure.
pub async fn run(
    config: BusConfig,
    subjects: Subjects,
    fleet: String,
    registration: v1::Registration,
    trust: Trust,
    inputs: Inputs,
) -> Result<(), Error> {
    let bus = connect(&config).await?;
    let subscribe = async |subject: &Subject| {
        bus.subscribe(subject, None).await.map_err(|error| Error::Bus(error.to_string()))
    };
    let orders = subscribe(&subjects.commands).await?;
    let checkpoints = subscribe(&subjects.checkpoint_notice).await?;
    let heartbeats = subscribe(&subjects.heartbeat).await?;
    if inputs.send(Input::Bus(bus.clone())).await.is_err() {
        return Ok(());
    }
    tokio::join!(
        take_orders(orders, &inputs),
        take_checkpoints(checkpoints, &fleet, &trust, &inputs),
        take_heartbeats(heartbeats, &inputs),
        compare_clock(&bus, &subjects.time, &inputs),
        register(&bus, &subjects.registration, &fleet, &registration, &inputs),
    );
    Ok(())
}

/// Waits for the bus. A refusal is waited out too, as a password may be on its way and calls that are up need their
/// agent; what only another configuration can cure is an error.
async fn connect(config: &BusConfig) -> Result<Bus, Error> {
    loop {
        let connected = Bus::connect_waiting(config, |tries, error| {
            if tries == 1 {
                tracing::warn!(%error, "waiting for the bus; calls that are up go on");
            }
        });
        match connected.await {
            Ok(bus) => return Ok(bus),
            Err(error @ (asterism_nats::Error::AuthRefused { .. } | asterism_nats::Error::Tls { .. })) => {
                tracing::error!(%error, "the bus refused; trying again");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            Err(error) => return Err(Error::Bus(error.to_string())),
        }
    }
}

async fn take_orders(mut orders: Subscription, inputs: &Inputs) {
    while let Some(message) = orders.next().await {
        let (Ok(Parsed::Command { verb, .. }), Some(reply)) = (message.subject.parse(), message.reply) else {
            continue; // without a reply inbox nobody could hear the answer
        };
        let order = Input::Order { verb, payload: message.payload.into(), reply };
        if inputs.send(order).await.is_err() {
            return;
        }
    }
}

/// The node forgets facts by these: only what the log key has signed is passed on.
async fn take_checkpoints(mut notices: Subscription, fleet: &str, trust: &Trust, inputs: &Inputs) {
    let mut said: Option<Instant> = None;
    while let Some(message) = notices.next().await {
        let notice = match &trust.log_key {
            Some(key) => notice::open(&message.payload, fleet, key),
            None => notice::open_unverified(&message.payload, fleet),
        };
        match notice {
            Ok(notice) => {
                if inputs.send(Input::Checkpoint(notice)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let refused = trust.refused.fetch_add(1, Ordering::Relaxed) + 1;
                if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    tracing::warn!(refused, "AST-A024: a checkpoint notice is not believed: {error}");
                    said = Some(Instant::now());
                }
            }
        }
    }
}

async fn take_heartbeats(mut heartbeats: Subscription, inputs: &Inputs) {
    while let Some(message) = heartbeats.next().await {
        if let Ok(heartbeat) = v1::Heartbeat::decode(message.payload)
            && inputs.send(Input::HeartbeatBack(heartbeat.sequence)).await.is_err()
        {
            return;
        }
    }
}

async fn compare_clock(bus: &Bus, subject: &Subject, inputs: &Inputs) {
    loop {
        let mut samples = Vec::with_capacity(CLOCK_SAMPLES);
        for _ in 0..CLOCK_SAMPLES {
            let asked = Instant::now();
            let Ok(answer) = bus.request(subject, Vec::new(), CLOCK_TIMEOUT).await else { break };
            let round_trip = asked.elapsed();
            let Ok(v1::TimeReply { now_ms }) = v1::TimeReply::decode(answer.as_slice()) else { break };
            samples.push(Sample { asked, round_trip, fleet_ms: now_ms });
        }
        let pause = if samples.is_empty() { CLOCK_RETRY } else { CLOCK_EVERY };
        if !samples.is_empty() && inputs.send(Input::Clock(samples)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn register(
    bus: &Bus,
    subject: &Subject,
    fleet: &str,
    registration: &v1::Registration,
    inputs: &Inputs,
) {
    let mut pause = REGISTRATION_PAUSE_MIN;
    let mut said = String::new();
    loop {
        let why = match bus.request(subject, registration.encode_to_vec(), REGISTRATION_TIMEOUT).await {
            Err(error) => error.to_string(),
            Ok(answer) => match v1::RegistrationReply::decode(answer.as_slice()) {
                Err(_) => "the answer is unreadable".to_owned(),
                Ok(reply) if !reply.admitted => reply.reason,
                Ok(reply) if !reply.fleet.is_empty() && reply.fleet != fleet => {
                    format!("it is fleet {}", reply.fleet.chars().take(64).collect::<String>())
                }
                Ok(reply) => {
                    tracing::info!(position = reply.position, "the node is admitted");
                    let _ = inputs.send(Input::Admitted).await; // a loop that is gone needs no word
                    return;
                }
            },
        };
        if said != why {
            tracing::warn!(reason = %why, "not admitted yet; asking again");
            said = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REGISTRATION_PAUSE_MAX);
    }
}

/// Asks the logic responder. The question is idempotent, so after half the time another replica is asked too; the
/// first answer that carries a reply wins.
pub async fn ask_step(
    bus: &Bus,
    subjects: &Subjects,
    question: v1::StepQuestion,
    total: Duration,
) -> Result<v1::StepAnswer, String> {
    let deadline = tokio::time::Instant::now() + total;
    let total_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
    let payload = v1::StepQuestion { deadline_ms: total_ms, ..question }.encode_to_vec();
    let first = ask_until(bus, &subjects.step, payload.clone(), deadline);
    let second = async {
        tokio::time::sleep(total / 2).await;
        ask_until(bus, &subjects.step, payload, deadline).await
    };
    tokio::pin!(first, second);
    tokio::select! {
        answer = &mut first => match answer {
            Ok(answer) => Ok(answer),
            Err(why) if tokio::time::Instant::now() >= deadline => Err(why),
            Err(_) => second.await,
        },
        answer = &mut second => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => first.await,
        },
    }
}

async fn ask_until(
    bus: &Bus,
    subject: &Subject,
    payload: Vec<u8>,
    deadline: tokio::time::Instant,
) -> Result<v1::StepAnswer, String> {
    let mut why = "no answer within the deadline".to_owned();
    loop {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            return Err(why);
        }
        match bus.request(subject, payload.clone(), left).await {
            Ok(bytes) => match v1::StepAnswer::decode(bytes.as_slice()) {
                Ok(answer) if answer.code.is_empty() => return Ok(answer),
                Ok(answer) => why = format!("the responder said {}", printable(&answer.code)),
                Err(_) => "the answer is unreadable".clone_into(&mut why),
            },
            Err(RequestError::Deadline) => return Err("no answer within the deadline".to_owned()),
            Err(error) => why = error.to_string(),
        }
        tokio::time::sleep(STEP_RETRY.min(left)).await;
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(32).collect()
}

/// The steps from a checkpoint to another, as far as the ledger remembers them. Nothing of it is believed here.
pub(crate) async fn growth(bus: &Bus, subject: &Subject, from: u64, to: u64) -> Vec<v1::GrowthStep> {
    let (mut steps, mut at) = (Vec::new(), from);
    for _ in 0..GROWTH_ROUNDS_MAX {
        let asked = v1::GrowthRequest { from: at }.encode_to_vec();
        let Ok(answer) = bus.request(subject, asked, GROWTH_TIMEOUT).await else { break };
        if answer.len() > GROWTH_MAX_BYTES {
            break;
        }
        let Ok(v1::GrowthReply { steps: more }) = v1::GrowthReply::decode(answer.as_slice()) else { break };
        let Some(last) = more.last().map(|step| step.to).filter(|last| *last > at) else { break };
        steps.extend(more);
        at = last;
        if at >= to {
            break;
        }
    }
    steps
}

/// Media-sync, asked where sounds may be had. What it names is checked when it comes.
pub(crate) struct AskMedia {
    /// None while the bus is away.
    pub bus: Option<Bus>,
    /// Where it is asked.
    pub subject: Subject,
}

impl crate::media::Addresses for AskMedia {
    fn of<'a>(
        &'a self,
        manifest: &'a str,
        sounds: Vec<asterism_proto::hash::Hash>,
    ) -> futures_util::future::BoxFuture<'a, Result<Vec<String>, String>> {
        Box::pin(async move {
            let bus = self.bus.as_ref().ok_or("the bus is away")?;
            let sounds = sounds.iter().map(|sound| sound.to_vec()).collect();
            let asked =
                v1::AddressRequest { manifest: manifest.to_owned(), sounds, recording: None }.encode_to_vec();
            let answer = bus
                .request(&self.subject, asked, ADDRESSES_TIMEOUT)
                .await
                .map_err(|error| format!("media-sync named no addresses: {error}"))?;
            let reply = v1::AddressReply::decode(answer.as_slice());
            Ok(reply.map_err(|_| "media-sync's answer cannot be read")?.urls)
        })
    }
}
