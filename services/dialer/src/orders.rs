//! Orders: what the log says a node still has to answer, sent and repeated until its own frames answer it.
//!
//! The reply to an order only stops the retry timer. Nothing here is remembered beyond what is in flight.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use asterism_domain::campaign::{CampaignCommand, judge};
use asterism_domain::logic::{self, Flow};
use asterism_domain::media;
use asterism_domain::rules::Exclusion;
use asterism_domain::{AttemptId, NodeId, State};
use asterism_nats::{Bus, Subject, Verb, crash};
use asterism_object_store::{ObjectName, ObjectStore};
use asterism_proto::v1::{ContactField, DialAttempt, DialOrder, OrderReply};
use asterism_runtime::keys::Keyring;
use asterism_runtime::leader::Desk;
use asterism_runtime::role::Deps;
use asterism_runtime::seal;
use prost::Message;

use crate::emergency::Brake;

/// Attempts in one order.
const ORDER_MAX_ATTEMPTS: usize = 64;
/// How long a node may take to make an order durable.
const ORDER_DEADLINE: Duration = Duration::from_secs(1);
/// Repeat after a taken order whose fact has not come yet.
const REPEAT_TAKEN: Duration = Duration::from_secs(3);
/// Repeat after a refused or unanswered order.
const REPEAT_REFUSED: Duration = Duration::from_millis(250);
/// Largest flow document.
const FLOW_MAX_BYTES: usize = 256 * 1024;

/// An attempt as the log holds it, with what is needed to order it.
struct Owed {
    attempt: AttemptId,
    import: String,
    sealed: Box<[u8]>,
    /// Erased, or put on a do-not-call list since: it gets no number.
    barred: bool,
    order: DialAttempt,
}

/// What a flow needs of an order.
#[derive(Clone)]
struct Wants {
    /// What a node does alone when nobody answers.
    fallback: String,
    hold_s: u32,
    /// The contact's fields it looks at.
    fields: Vec<String>,
}

struct Sender {
    deps: Deps,
    desk: Desk<CampaignCommand>,
    store: Arc<dyn ObjectStore>,
    brake: Brake,
    import_keys: Mutex<HashMap<String, [u8; 32]>>,
    flows: Mutex<HashMap<String, Wants>>,
    /// Nodes with an order under way, and when each attempt may be ordered again.
    busy: Mutex<HashSet<NodeId>>,
    next: Mutex<HashMap<AttemptId, Instant>>,
}

/// Sends orders while this process leads.
pub async fn run(deps: Deps, desk: Desk<CampaignCommand>, store: Arc<dyn ObjectStore>, brake: Brake) {
    let sender = Arc::new(Sender {
        deps: deps.clone(),
        desk: desk.clone(),
        store,
        brake,
        import_keys: Mutex::default(),
        flows: Mutex::default(),
        busy: Mutex::default(),
        next: Mutex::default(),
    });
    let mut head = deps.log.head();
    let mut leading = desk.leading();
    loop {
        if leading.wait_for(Option::is_some).await.is_err() {
            return;
        }
        head.mark_unchanged();
        if let Some(term) = desk.term().filter(|_| sender.may_order()) {
            sender.send_owed(term);
        }
        let _ = tokio::time::timeout(REPEAT_REFUSED, head.changed()).await;
    }
}

impl Sender {
    /// An emergency stop withdraws what is owed; it orders nothing.
    fn may_order(&self) -> bool {
        !self.brake.is_on() && self.deps.log.read(|state| state.emergency.is_none())
    }

    fn send_owed(self: &Arc<Self>, term: u64) {
        let (position, owed) = self.deps.log.read(|state| {
            let erased = |import: &String| state.erasures.get(import).is_some_and(|erasure| erasure.whole);
            lock(&self.import_keys).retain(|import, _| !erased(import));
            (state.size, self.owed(state))
        });
        for (node, attempts) in owed {
            if !lock(&self.busy).insert(node.clone()) {
                continue;
            }
            let sender = self.clone();
            tokio::spawn(async move {
                sender.order(&node, term, position, attempts).await;
                lock(&sender.busy).remove(&node);
            });
        }
    }

    /// Attempts whose order is owed now, by node. Nodes with an order under way are left out.
    fn owed(&self, state: &State) -> BTreeMap<NodeId, Vec<Owed>> {
        let now = Instant::now();
        let busy = lock(&self.busy);
        let mut next = lock(&self.next);
        if next.len() > 100_000 {
            next.retain(|attempt, _| in_flight(state, attempt));
        }
        let mut owed = BTreeMap::new();
        for (id, node) in &state.fleet.nodes {
            if node.unanswered.is_empty() || busy.contains(id) {
                continue;
            }
            let attempts: Vec<Owed> = node
                .unanswered
                .iter()
                .filter(|attempt| next.get(*attempt).is_none_or(|at| *at <= now))
                .filter_map(|attempt| owed_order(state, attempt))
                .take(ORDER_MAX_ATTEMPTS)
                .collect();
            if !attempts.is_empty() {
                owed.insert(id.clone(), attempts);
            }
        }
        owed
    }

    async fn order(&self, node: &NodeId, term: u64, position: u64, owed: Vec<Owed>) {
        let mut attempts = Vec::new();
        let ids: Vec<AttemptId> = owed.iter().map(|owed| owed.attempt.clone()).collect();
        for owed in owed {
            match self.complete(owed).await {
                Ok(order) => attempts.push(order),
                Err(reason) => tracing::error!(node, reason, "an order cannot be made"),
            }
        }
        let order = DialOrder { term, log_position: position, attempts }.encode_to_vec();
        let Ok(subject) = Subject::command(self.deps.log.fleet(), node, Verb::Dial) else { return };
        // The objects and keys above may have taken a while, and this process may have stood still.
        if self.desk.term() != Some(term) || !self.may_order() {
            return;
        }
        crash::point("order.unsent");
        let bus = &self.deps.bus;
        let answer = tokio::select! {
            biased;
            answer = bus.request(&subject, order, ORDER_DEADLINE) => answer,
            never = sent(bus) => match never {},
        };
        crash::point("order.answered");
        let pause = match answer {
            Ok(payload) => match OrderReply::decode(payload.as_slice()) {
                Ok(reply) if reply.taken => REPEAT_TAKEN,
                Ok(reply) => {
                    tracing::debug!(node, code = reply.code, reason = reply.reason, "order refused");
                    REPEAT_REFUSED
                }
                Err(_) => REPEAT_REFUSED,
            },
            Err(error) => {
                tracing::debug!(node, %error, "order not answered");
                REPEAT_REFUSED
            }
        };
        let at = Instant::now() + pause;
        lock(&self.next).extend(ids.into_iter().map(|attempt| (attempt, at)));
    }

    /// Opens the contact and adds what the node needs; the number is in clear from here to the node, never in the log.
    async fn complete(&self, owed: Owed) -> Result<DialAttempt, String> {
        if owed.barred {
            return Ok(expired(owed.order));
        }
        let key = self.import_key(&owed.import)?;
        let person = seal::open(&key, &owed.import, &owed.sealed).map_err(|error| error.to_string())?;
        if let Some((list, prefix)) = self.on_prefix(&owed.attempt, &person.number) {
            let detail = format!("prefix {prefix} of list {list}");
            let AttemptId { campaign, contact, .. } = owed.attempt;
            let rule = Exclusion::DoNotCallPrefix;
            let out = CampaignCommand::Exclude { campaign, contacts: vec![contact], rule, detail };
            // In the log before the order is: else the contact would be back, and found again, for ever.
            self.desk.tell(out).await.map_err(|error| error.to_string())?;
            return Ok(expired(owed.order));
        }
        let Wants { fallback, hold_s, fields } = self.wants(&owed.order.flow).await?;
        // Only what the flow looks at leaves this process.
        let looked_at = |name: &String| fields.iter().any(|field| field.eq_ignore_ascii_case(name));
        // But its language, which the node alone learns.
        let says = |(name, _): &(&String, &String)| name.eq_ignore_ascii_case(media::LANGUAGE);
        let language = person.fields.iter().find(says).and_then(|(_, value)| media::spoken(value));
        let language = language.unwrap_or_default();
        let fields = person.fields.into_iter().filter(|(name, _)| looked_at(name)).take(logic::MAX_FIELDS);
        let fields = fields.map(|(name, value)| ContactField { name, value }).collect();
        Ok(DialAttempt { number: person.number, fallback, hold_s, fields, language, ..owed.order })
    }

    /// The list and prefix that forbid a number, looked up where the number is open: just before it is ordered.
    fn on_prefix(&self, attempt: &AttemptId, number: &str) -> Option<(String, String)> {
        self.deps.log.read(|state| {
            let campaign = state.campaigns.get(&attempt.campaign)?;
            judge::on_prefix(state, &campaign.rules, number.trim_start_matches('+'))
        })
    }

    fn import_key(&self, import: &str) -> Result<[u8; 32], String> {
        if let Some(key) = lock(&self.import_keys).get(import) {
            return Ok(*key);
        }
        let keyring: &Keyring = &self.deps.keyring;
        let key = keyring.import(import, false).map_err(|error| error.to_string())?;
        lock(&self.import_keys).insert(import.to_owned(), key);
        Ok(key)
    }

    async fn wants(&self, flow: &str) -> Result<Wants, String> {
        if let Some(wants) = lock(&self.flows).get(flow) {
            return Ok(wants.clone());
        }
        let name = ObjectName::new(format!("flows/{flow}.toml")).map_err(|error| error.to_string())?;
        let bytes = self.store.get(&name, FLOW_MAX_BYTES as u64).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| "the flow is not UTF-8".to_owned())?;
        let parsed = Flow::parse(&text).map_err(|_| "the flow does not pass its check".to_owned())?;
        let wants = Wants {
            fallback: parsed.fallback_reply().to_owned(),
            hold_s: parsed.hold_s(),
            fields: parsed.fields().into_iter().map(str::to_owned).collect(),
        };
        lock(&self.flows).insert(flow.to_owned(), wants.clone());
        Ok(wants)
    }
}

/// Polled behind a request: the moment in which its order has left and its answer has not come.
async fn sent(bus: &Bus) -> Infallible {
    if crash::listens() && bus.flush().await.is_ok() {
        crash::point("order.sent");
    }
    std::future::pending().await
}

/// An order that cannot be carried out. A node that has the attempt ignores a repeat; one that has not refuses it as
/// expired, which ends the attempt without a ring.
fn expired(order: DialAttempt) -> DialAttempt {
    DialAttempt { not_before_ms: 0, not_after_ms: 0, ..order }
}

fn in_flight(state: &State, attempt: &AttemptId) -> bool {
    state.campaigns.get(&attempt.campaign).is_some_and(|known| known.in_flight.contains_key(attempt))
}

fn owed_order(state: &State, attempt: &AttemptId) -> Option<Owed> {
    let campaign = state.campaigns.get(&attempt.campaign)?;
    let flight = campaign.in_flight.get(attempt)?;
    let contact = campaign.contacts.get(attempt.contact as usize)?;
    Some(Owed {
        attempt: attempt.clone(),
        import: campaign.imports.get(contact.import as usize)?.clone(),
        sealed: contact.sealed.clone(),
        barred: contact.erased
            || contact.barred.is_some()
            || judge::on_list(&state.do_not_call, &campaign.rules, &contact.number_hash).is_some(),
        order: DialAttempt {
            attempt: attempt.to_string(),
            campaign: attempt.campaign.clone(),
            number: String::new(),
            trunk: flight.trunk.clone(),
            not_before_ms: flight.not_before_ms,
            not_after_ms: flight.not_after_ms,
            ring_timeout_ms: campaign.ring_timeout_ms,
            flow: campaign.flow.clone(),
            manifest: flight.manifest.clone(),
            // In logs from before each attempt had one, the campaign's.
            caller_id: Some(&flight.caller_id)
                .filter(|id| !id.is_empty())
                .unwrap_or(&campaign.caller_id)
                .clone(),
            fallback: String::new(),
            hold_s: 0,
            may_bridge: flight.channels > 1,
            fields: Vec::new(),
            language: String::new(),
            detect_machine: campaign.rules.detect_machines,
        },
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
