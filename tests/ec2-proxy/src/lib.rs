//! EC2 as it really is, before a moto server: client tokens, launches in part, instances that are seen late and end
//! slowly, empty pools, token buckets, lost answers and listings that are stale or incomplete.
//!
//! moto alone knows none of these: it launches twice for one token and never refuses. The proxy speaks the query protocol
//! on a port of loopback, does what a test scripted ([`Script`]), passes the rest to moto, and keeps a [`Record`] of every
//! request and of each injection that was met. `tests/conformance.golden` says what it does, beside what bare moto does.
//! [`imds`] is an instance's metadata service.
// A harness may panic, cast and format as it likes: it runs nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic)]

mod buckets;
mod clock;
mod describe;
mod faults;
mod http;
pub mod imds;
mod moto;
mod query;
mod run;
mod world;
pub mod xml;

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use clock::Clock;
pub use faults::{Call, Fault, Planned, Pool, Record, Script};
pub use http::Answer;
pub use moto::{Moto, REGION};
pub use query::Query;
use world::World;
use xml::Element;

/// What a test scripts and reads.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub script: Script,
    pub record: Record,
    /// Requests that were held may go on.
    released: u64,
    held: u64,
}

pub(crate) struct Shared {
    moto: u16,
    pub clock: Clock,
    state: Mutex<State>,
    changed: Condvar,
    world: Mutex<World>,
    /// One change of the cloud at a time: a token is looked up and used in one step.
    deeds: Mutex<()>,
    subnets: Mutex<Option<Element>>,
}

/// A running proxy. Its threads end with the test's process.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts one whose time passes by itself.
    pub fn before(moto: &Moto) -> Self {
        Self::with_clock(moto, Clock::real())
    }

    /// Starts one before a moto that somebody else keeps at a port, with time that passes by itself.
    pub fn at(moto: u16) -> Self {
        Self::start(moto, Clock::real())
    }

    /// Starts one.
    pub fn with_clock(moto: &Moto, clock: Clock) -> Self {
        Self::start(moto.port, clock)
    }

    fn start(moto: u16, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            moto,
            clock,
            state: Mutex::default(),
            changed: Condvar::new(),
            world: Mutex::default(),
            deeds: Mutex::default(),
            subnets: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&served);
                std::thread::spawn(move || serve(client, &shared));
            }
        });
        Self { port, shared }
    }

    /// Changes what goes wrong.
    pub fn script<R>(&self, change: impl FnOnce(&mut Script) -> R) -> R {
        change(&mut self.shared.state().script)
    }

    /// The proxy's clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// What happened so far.
    pub fn record(&self) -> Record {
        self.shared.state().record.clone()
    }

    /// How often a fault or a slowness was met.
    pub fn hits(&self, name: &str) -> u64 {
        self.shared.state().record.hits.get(name).copied().unwrap_or(0)
    }

    /// The requests of an action so far.
    pub fn calls(&self, action: &str) -> Vec<Call> {
        let state = self.shared.state();
        state.record.calls.iter().filter(|call| call.action == action).cloned().collect()
    }

    /// Waits until a fault was met so often; false if it was not in time.
    pub fn wait_hit(&self, name: &str, times: u64, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut state = self.shared.state();
        while state.record.hits.get(name).copied().unwrap_or(0) < times {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lets every request go on that is held now.
    pub fn release(&self) {
        let mut state = self.shared.state();
        state.released = state.held;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn hit(&self, name: &str) {
        self.state().record.hit(name);
        self.changed.notify_all();
    }

    pub fn ask(&self, region: &str, form: &str) -> Answer {
        http::ask(self.moto, region, form).unwrap_or(Answer { status: 503, body: String::new() })
    }

    /// The zone a launch is in.
    pub fn zone(&self, region: &str, query: &Query) -> String {
        let mut known = self.subnets.lock().unwrap_or_else(PoisonError::into_inner);
        let subnets = known.get_or_insert_with(|| {
            let answer = self.ask(region, "Action=DescribeSubnets&Version=2016-11-15");
            xml::parse(&answer.body).unwrap_or_default()
        });
        run::zone(subnets, query)
    }

    /// Waits until it is released.
    fn hold(&self, name: &str) {
        let mut state = self.state();
        state.held += 1;
        let number = state.held;
        state.record.hit(name);
        self.changed.notify_all();
        while state.released < number {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// An error as EC2 words it.
pub(crate) fn refuse(status: u16, code: &str, why: &str) -> Answer {
    let error = Element::tree("Error", vec![Element::leaf("Code", code), Element::leaf("Message", why)]);
    let errors = Element::tree("Errors", vec![error]);
    let document = Element::tree("Response", vec![errors, Element::leaf("RequestID", "proxy")]);
    Answer { status, body: document.write() }
}

/// One action asked of a port, as a client of EC2 does; `None` if the connection ended without an answer.
pub fn ask(port: u16, form: &str) -> Option<Answer> {
    http::ask(port, REGION, &format!("{form}&Version=2016-11-15"))
}

/// EC2's code of an answer that is an error.
pub fn code_of(answer: &Answer) -> String {
    let document = xml::parse(&answer.body).unwrap_or_default();
    document.at(&["Errors", "Error", "Code"]).to_owned()
}

fn serve(mut client: TcpStream, shared: &Shared) {
    let Some(request) = http::read(&mut client) else { return };
    let query = Query::parse(&request.body);
    let action = query.get("Action").to_owned();
    let at_ms = shared.clock.now_ms();
    let region = region(request.header("authorization"));
    let fault = shared.state().script.take(&action);
    let mut cut = None;
    let answer = match fault {
        Some(Fault::Error(status, code)) => Some(refuse(status, code, "scripted")),
        Some(Fault::LoseRequest) => None,
        Some(Fault::HoldRequest) => {
            shared.hold(&Fault::HoldRequest.name());
            Some(act(shared, &region, &action, &query, false))
        }
        _ => Some(act(shared, &region, &action, &query, fault == Some(Fault::DropNextPage))),
    };
    let answer = match fault {
        Some(Fault::LoseAnswer) => None,
        Some(Fault::WebPage(status)) => Some(Answer { status, body: "<html>down</html>".to_owned() }),
        Some(Fault::CutAnswer(bytes)) => {
            cut = Some(bytes);
            answer
        }
        Some(Fault::HoldAnswer) => {
            shared.hold(&Fault::HoldAnswer.name());
            answer
        }
        _ => answer,
    };
    let mut state = shared.state();
    if let Some(fault) = fault.filter(|f| !matches!(f, Fault::HoldAnswer | Fault::HoldRequest)) {
        state.record.hit(&fault.name());
    }
    let (status, code) = answer.as_ref().map_or((0, String::new()), |a| (a.status, code_of(a)));
    state.record.calls.push(Call { at_ms, action, form: query.form(), status, code });
    drop(state);
    shared.changed.notify_all();
    if let Some(answer) = answer {
        http::write(&mut client, &answer, cut);
    }
}

/// What EC2 does.
fn act(shared: &Shared, region: &str, action: &str, query: &Query, is_cut: bool) -> Answer {
    let (has_buckets, now_ms) = (shared.state().script.has_buckets, shared.clock.now_ms());
    if has_buckets && !shared.world().buckets.take(buckets::of(action, query), 1, now_ms) {
        shared.hit("request bucket empty");
        return refuse(503, "RequestLimitExceeded", "too many requests");
    }
    match action {
        "RunInstances" => {
            let _deed = shared.deeds.lock().unwrap_or_else(PoisonError::into_inner);
            run::run(shared, region, query)
        }
        "TerminateInstances" => {
            let _deed = shared.deeds.lock().unwrap_or_else(PoisonError::into_inner);
            run::terminate(shared, region, query)
        }
        "AssociateAddress" => {
            let _deed = shared.deeds.lock().unwrap_or_else(PoisonError::into_inner);
            run::associate(shared, region, query)
        }
        "DescribeInstances" => describe::describe(shared, region, query, is_cut),
        _ => shared.ask(region, &query.form()),
    }
}

/// The region a request is signed for.
fn region(authorization: &str) -> String {
    let scope = authorization.split("Credential=").nth(1).unwrap_or_default();
    scope.split('/').nth(2).unwrap_or(REGION).to_owned()
}
