//! A cloud in memory: one instance per intent, answers that get lost, and a count of everything asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use asterism_runtime::leader::now_ms;
use asterism_scaler::cloud::{Cloud, CloudError, ErrorKind, Instance, InstanceState, LaunchRequest, code};
use async_trait::async_trait;
use tokio::sync::mpsc;

/// How a launch goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The instance is there, the answer is lost.
    AnswerLost,
    /// The instance is there, the answer never comes.
    NoAnswer,
    /// Nothing happened, and never will.
    Refused,
}

#[derive(Default)]
struct Inner {
    instances: BTreeMap<String, Instance>,
    requests: Vec<LaunchRequest>,
    faults: Vec<Fault>,
    terminated: Vec<String>,
    hidden: BTreeSet<String>,
    listings: u64,
    keeps_running: bool,
}

/// Clones share the instances.
#[derive(Clone)]
pub struct FakeCloud {
    inner: Arc<Mutex<Inner>>,
    started: mpsc::UnboundedSender<(Instance, LaunchRequest)>,
}

impl FakeCloud {
    /// The cloud, and what it starts.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<(Instance, LaunchRequest)>) {
        let (started, starts) = mpsc::unbounded_channel();
        (Self { inner: Arc::default(), started }, starts)
    }

    fn inner<R>(&self, look: impl FnOnce(&mut Inner) -> R) -> R {
        look(&mut self.inner.lock().unwrap())
    }

    /// The next launches go wrong like this, one each.
    pub fn fail_next(&self, faults: &[Fault]) {
        self.inner(|inner| inner.faults.extend_from_slice(faults));
    }

    /// Launch calls made.
    pub fn launches(&self) -> usize {
        self.inner(|inner| inner.requests.len())
    }

    /// The launch calls of one intent.
    pub fn requests_of(&self, intent: &str) -> Vec<LaunchRequest> {
        self.inner(|inner| inner.requests.iter().filter(|r| r.intent_id == intent).cloned().collect())
    }

    /// Listings asked for.
    pub fn listings(&self) -> u64 {
        self.inner(|inner| inner.listings)
    }

    /// Every instance there ever was.
    pub fn instances(&self) -> Vec<Instance> {
        self.inner(|inner| inner.instances.values().cloned().collect())
    }

    /// What was asked to end.
    pub fn terminated(&self) -> Vec<String> {
        self.inner(|inner| inner.terminated.clone())
    }

    /// An instance nobody asked this scaler for.
    pub fn put(&self, id: &str, intent: Option<&str>, age_ms: u64) {
        self.put_at(id, intent, now_ms().saturating_sub(age_ms));
    }

    /// The same, launched at a time by the cloud's clock.
    pub fn put_at(&self, id: &str, intent: Option<&str>, launched_at_ms: u64) {
        let instance = Instance {
            instance_id: id.into(),
            intent_id: intent.map(str::to_owned),
            state: InstanceState::Running,
            launched_at_ms,
            private_address: None,
        };
        self.inner(|inner| inner.instances.insert(id.into(), instance));
    }

    /// The cloud lists it no more, or again: it shows things late, and forgets what has ended.
    pub fn hide(&self, id: &str, hidden: bool) {
        self.inner(|inner| if hidden { inner.hidden.insert(id.into()) } else { inner.hidden.remove(id) });
    }

    /// Instances that are told to end from now on take for ever.
    pub fn ends_never(&self) {
        self.inner(|inner| inner.keeps_running = true);
    }

    /// The machine breaks.
    pub fn break_down(&self, id: &str) {
        self.inner(|inner| inner.instances.get_mut(id).unwrap().state = InstanceState::Terminated);
    }
}

#[async_trait]
impl Cloud for FakeCloud {
    async fn launch(&self, r: &LaunchRequest) -> Result<Vec<Instance>, CloudError> {
        r.validate()?;
        let (instance, fault) = self.inner(|inner| {
            inner.requests.push(r.clone());
            let fault = (!inner.faults.is_empty()).then(|| inner.faults.remove(0));
            if fault == Some(Fault::Refused) {
                return (None, fault);
            }
            let known = inner.instances.values().find(|i| i.intent_id.as_deref() == Some(&r.intent_id));
            let instance = known.cloned().unwrap_or_else(|| {
                let instance = Instance {
                    instance_id: format!("i-{}", inner.instances.len() + 1),
                    intent_id: Some(r.intent_id.clone()),
                    state: InstanceState::Running,
                    launched_at_ms: now_ms(),
                    private_address: None,
                };
                inner.instances.insert(instance.instance_id.clone(), instance.clone());
                let _ = self.started.send((instance.clone(), r.clone()));
                instance
            });
            (Some(instance), fault)
        });
        match fault {
            Some(Fault::NoAnswer) => std::future::pending().await,
            Some(Fault::AnswerLost) => {
                Err(CloudError::new(ErrorKind::UnknownOutcome, code::UNREACHABLE, "launch", "lost"))
            }
            Some(Fault::Refused) => {
                Err(CloudError::new(ErrorKind::Permanent, code::REFUSED, "launch", "no such image"))
            }
            None => Ok(vec![instance.unwrap()]),
        }
    }

    async fn list(&self) -> Result<Vec<Instance>, CloudError> {
        let hidden = self.inner(|inner| {
            inner.listings += 1;
            inner.hidden.clone()
        });
        Ok(self.instances().into_iter().filter(|i| !hidden.contains(&i.instance_id)).collect())
    }

    async fn volumes(&self) -> Result<Vec<String>, CloudError> {
        Ok(Vec::new())
    }

    async fn addresses(&self) -> Result<Vec<String>, CloudError> {
        Ok(Vec::new())
    }

    async fn associate(&self, _: &str, _: &str) -> Result<(), CloudError> {
        Ok(())
    }

    async fn disassociate(&self, _: &str, _: &str) -> Result<(), CloudError> {
        Ok(())
    }

    async fn terminate(&self, ids: &[String]) -> Result<(), CloudError> {
        self.inner(|inner| {
            for id in ids {
                inner.terminated.push(id.clone());
                if inner.keeps_running {
                    continue;
                }
                inner.instances.get_mut(id).unwrap().state = InstanceState::Terminated;
            }
        });
        Ok(())
    }
}
