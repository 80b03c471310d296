//! Who sends recordings: each until it is stored, a few at a time, with a pause that grows and is never the same twice, so
//! that nodes whose store was away do not come back together.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use asterism_nats::{Bus, RequestError, Subject, crash};
use asterism_proto::v1;
use futures_util::future::BoxFuture;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{phrase, put, seal};
use crate::input::{Input, Inputs};
use crate::machine::Made;
use crate::media::{Failure, Trust};

/// Recordings sent at the same time: calls have the rest of the link.
const SENT_AT_ONCE: usize = 2;
/// Pause after a first failure, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long media-sync may take: it reads the object back before it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// `media-sync` answers so while the log does not have what it is asked about, or another process leads.
const SOON: u32 = 425;

/// Pauses grow to this one while nothing is wrong.
const SOON_TRIES: u32 = 4;

/// A recording to be sent.
pub(super) struct Job {
    name: String,
    made: Made,
    tries: u32,
    at: Instant,
}

impl Job {
    pub(super) fn new(name: String, made: Made) -> Self {
        Self { name, made, tries: 0, at: Instant::now() }
    }
}

/// Who says where a recording may be sent, and whether it came.
pub(super) trait Places: Send + Sync + 'static {
    fn ask<'a>(&'a self, name: &'a str, sent: bool) -> BoxFuture<'a, Result<v1::RecordingPlace, Unsent>>;
}

/// Media-sync, by the bus.
pub(super) struct MediaSync {
    pub node: String,
    pub subject: Subject,
    pub bus: watch::Receiver<Option<Bus>>,
}

pub(super) struct Sender<P> {
    pub folder: PathBuf,
    pub places: P,
    pub trust: Trust,
    pub inputs: Inputs,
    pub problem: Arc<Mutex<Option<String>>>,
    /// The longest pause between two tries.
    pub pause_max: Duration,
}

/// Why a recording is not stored yet.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Its file is gone, or is no longer what was recorded.
    Gone(String),
    /// Nothing is wrong: it is asked again soon.
    Soon,
    /// Tried again later.
    Later(String),
}

impl From<String> for Unsent {
    fn from(why: String) -> Self {
        Self::Later(why)
    }
}

impl From<&str> for Unsent {
    fn from(why: &str) -> Self {
        Self::Later(why.to_owned())
    }
}

impl From<Failure> for Unsent {
    fn from(failure: Failure) -> Self {
        Self::Later(match failure {
            Failure::Untrusted(why) => format!("the certificate of its server is not trusted: {why}"),
            Failure::Full => "no space left".to_owned(),
            Failure::Other(why) => why,
        })
    }
}

/// Sends until the agent is gone.
pub(super) async fn run<P: Places>(sender: Arc<Sender<P>>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let (mut waiting, mut flight): (Vec<Job>, JoinSet<Option<Job>>) = (Vec::new(), JoinSet::new());
    loop {
        let now = Instant::now();
        while flight.len() < SENT_AT_ONCE
            && let Some(at) = waiting.iter().position(|job| job.at <= now)
        {
            let (sender, job) = (Arc::clone(&sender), waiting.remove(at));
            flight.spawn(async move { sender.try_job(job).await });
        }
        let full = flight.len() >= SENT_AT_ONCE;
        let next = waiting.iter().map(|job| job.at).min().filter(|_| !full);
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => waiting.push(job),
                None => return,
            },
            Some(done) = flight.join_next() => {
                if let Ok(Some(job)) = done {
                    waiting.push(job);
                }
            }
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
}

impl<P: Places> Sender<P> {
    /// Tries once; gives the job back if it is not done.
    async fn try_job(&self, mut job: Job) -> Option<Job> {
        let tried = self.send(&job).await;
        let problem = match &tried {
            Err(Unsent::Later(why)) => Some(phrase(why)),
            _ => None,
        };
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        let input = match tried {
            Ok(()) => {
                crash::point("recording.confirmed");
                Input::RecordingStored(job.name)
            }
            Err(Unsent::Gone(why)) => Input::RecordingGone(job.name, why),
            Err(Unsent::Soon) => {
                job.tries = job.tries.saturating_add(1);
                job.at = Instant::now() + pause(job.tries.min(SOON_TRIES), self.pause_max);
                return Some(job);
            }
            Err(Unsent::Later(why)) => {
                job.tries = job.tries.saturating_add(1);
                if job.tries.is_power_of_two() {
                    tracing::warn!(
                        name = job.name,
                        tries = job.tries,
                        why,
                        "a recording is not sent yet; tried again"
                    );
                }
                job.at = Instant::now() + pause(job.tries, self.pause_max);
                return Some(job);
            }
        };
        let _ = self.inputs.send(input).await; // the agent is stopping
        None
    }

    async fn send(&self, job: &Job) -> Result<(), Unsent> {
        let place = self.places.ask(&job.name, false).await?;
        if place.stored {
            return Ok(());
        }
        crash::point("recording.placed");
        let path = seal::file_of(&self.folder, &job.name);
        put::put(&place, &path, &job.made, &self.trust).await?;
        crash::point("recording.sent");
        if self.places.ask(&job.name, true).await?.stored {
            Ok(())
        } else {
            Err("media-sync does not say that it is stored".into())
        }
    }
}

impl Places for MediaSync {
    fn ask<'a>(&'a self, name: &'a str, sent: bool) -> BoxFuture<'a, Result<v1::RecordingPlace, Unsent>> {
        Box::pin(async move {
            let bus = self.bus.borrow().clone().ok_or("the bus is away")?;
            let offer = v1::RecordingOffer { node: self.node.clone(), recording: name.to_owned(), sent };
            let asked = v1::AddressRequest { recording: Some(offer), ..v1::AddressRequest::default() };
            let answer = match bus.request(&self.subject, asked.encode_to_vec(), ANSWER_TIMEOUT).await {
                Ok(answer) => answer,
                Err(RequestError::Service { code: SOON, .. }) => return Err(Unsent::Soon),
                Err(error) => return Err(format!("media-sync: {error}").into()),
            };
            let reply = v1::AddressReply::decode(answer.as_slice())
                .map_err(|_| "media-sync's answer cannot be read")?;
            Ok(reply.recording.ok_or("media-sync does not know recordings")?)
        })
    }
}

/// Between half of a time that doubles and all of it.
fn pause(tries: u32, most: Duration) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(1 << tries.min(10)).min(most);
    let part = getrandom::u32().unwrap_or(u32::MAX / 2); // without randomness all wait the same
    longest.mul_f64(0.5 + f64::from(part) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_spread_and_end() {
        for tries in 1..60 {
            let (least, most) = (PAUSE_MIN, PAUSE_MAX);
            assert!((least..=most).contains(&pause(tries, PAUSE_MAX)), "{tries}");
        }
        let some: std::collections::BTreeSet<Duration> = (0..8).map(|_| pause(20, PAUSE_MAX)).collect();
        assert!(some.len() > 1);
    }
}
