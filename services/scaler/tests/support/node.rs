//! A node without a PBX: registers with its launch token, says it is ready, beats, takes drain orders, says it is empty.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use asterism_domain::Event;
use asterism_domain::wire::{self, Envelope};
use asterism_nats::{Bus, Parsed, Subject};
use asterism_proto::frame::{FrameDraft, message_id};
use asterism_proto::v1::{DrainOrder, Heartbeat, OrderReply, Registration, RegistrationReply};
use asterism_proto::{Origin, OriginKey};
use asterism_scaler::cloud::{Instance, LaunchRequest};
use prost::Message as _;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::{FLEET, Rig};

/// A running node. Dropping it is a machine that breaks.
pub struct Node {
    pub id: String,
    pub registration: Registration,
    /// Drain orders as they came.
    pub orders: Arc<Mutex<Vec<DrainOrder>>>,
    silent: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    absurd: Arc<AtomicBool>,
    address: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// Starts the node of a launched instance: all it knows is what the launch handed it.
    pub async fn start(rig: &Rig, instance: &Instance, request: &LaunchRequest) -> Self {
        Self::start_as(rig, instance, request, false).await
    }

    /// Starts one whose calls never end: told to drain, it never says it is empty.
    pub async fn start_with_calls(rig: &Rig, instance: &Instance, request: &LaunchRequest) -> Self {
        Self::start_as(rig, instance, request, true).await
    }

    async fn start_as(rig: &Rig, instance: &Instance, request: &LaunchRequest, has_calls: bool) -> Self {
        let id = instance.instance_id.clone();
        let variable = |name: &str| {
            let lines = request.user_data.as_deref().unwrap().lines();
            lines.filter_map(|line| line.split_once('=')).find(|(key, _)| *key == name).unwrap().1.to_owned()
        };
        let seed: Vec<u8> = id.bytes().cycle().take(32).collect();
        let key = OriginKey::from_entropy(seed.try_into().unwrap());
        let registration = Registration {
            node: id.clone(),
            intent: variable("ASTERISM_INTENT"),
            public_key: key.public().to_bytes().to_vec(),
            epoch: vec![5; 16],
            token: variable("ASTERISM_TOKEN"),
        };
        let bus = Bus::connect(&rig.server.node(&id).unwrap()).await.unwrap();
        let (orders, silent, closed, absurd): (_, Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicBool>) =
            (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let address: Arc<Mutex<String>> = Arc::default();
        let body = Body {
            address: Arc::clone(&address),
            bus,
            key,
            origin: Origin::Node(id.clone()),
            id: id.clone(),
            number: 0,
            beats: 0,
            state: "booting",
            drain: 0,
            has_calls,
            orders: Arc::clone(&orders),
            silent: Arc::clone(&silent),
            closed: Arc::clone(&closed),
            absurd: Arc::clone(&absurd),
        };
        let task = tokio::spawn(body.live(registration.clone()));
        Self { id, registration, orders, silent, closed, absurd, address, task }
    }

    /// Stops or goes on beating.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Cannot take calls, or can again.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Says from now on that its PBX shows this address.
    pub fn show(&self, address: &str) {
        address.clone_into(&mut self.address.lock().unwrap());
    }

    /// Reports numbers from now on that cannot be, beside heartbeats nobody can read.
    pub fn go_mad(&self) {
        self.absurd.store(true, Ordering::Relaxed);
    }
}

/// Starts a node for each of the next launches.
pub async fn boot(
    rig: &Rig,
    starts: &mut UnboundedReceiver<(Instance, LaunchRequest)>,
    count: usize,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let (instance, request) = super::within("a launch", starts.recv()).await.unwrap();
        nodes.push(Node::start(rig, &instance, &request).await);
    }
    nodes
}

struct Body {
    address: Arc<Mutex<String>>,
    bus: Bus,
    key: OriginKey,
    origin: Origin,
    id: String,
    number: u64,
    beats: u64,
    state: &'static str,
    drain: u64,
    has_calls: bool,
    orders: Arc<Mutex<Vec<DrainOrder>>>,
    silent: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    absurd: Arc<AtomicBool>,
}

/// Asks to be admitted once.
pub async fn register(bus: &Bus, registration: &Registration) -> Option<RegistrationReply> {
    let subject = Subject::registration(FLEET).unwrap();
    let answer = bus.request(&subject, registration.encode_to_vec(), Duration::from_secs(5)).await.ok()?;
    RegistrationReply::decode(answer.as_slice()).ok()
}

impl Body {
    async fn live(mut self, registration: Registration) {
        let mut commands =
            self.bus.subscribe(&Subject::commands(FLEET, &self.id).unwrap(), None).await.unwrap();
        while !register(&self.bus, &registration).await.is_some_and(|reply| reply.admitted) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.state = "ready";
        let ready =
            Event::NodeReady { node: self.id.clone(), capacity: 2, pbx: "none".into(), boot_id: "b".into() };
        self.write(ready).await;
        let (trunk, revision) = ("t".to_owned(), super::trunk().revision());
        self.write(Event::TrunkHeld { node: self.id.clone(), trunk, revision }).await;
        // Last: whoever sees it may dial here.
        self.write(Event::ManifestHeld { node: self.id.clone(), manifest: "m".into() }).await;
        let mut clock = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                _ = clock.tick() => self.beat().await,
                Some(message) = commands.next() => {
                    assert!(matches!(message.subject.parse(), Ok(Parsed::Command { .. })));
                    let order = DrainOrder::decode(message.payload).unwrap();
                    let reply = OrderReply { taken: true, ..OrderReply::default() };
                    self.orders.lock().unwrap().push(order);
                    self.bus.respond(message.reply.unwrap(), reply.encode_to_vec()).await.unwrap();
                    self.take(&order).await;
                }
            }
        }
    }

    async fn take(&mut self, order: &DrainOrder) {
        if order.undrain {
            self.state = "ready";
        } else if order.drain > self.drain {
            self.drain = order.drain;
            self.state = "draining";
            if self.has_calls {
                return;
            }
            self.state = "empty";
            self.write(Event::NodeEmpty { node: self.id.clone(), drain: order.drain }).await;
        }
    }

    async fn beat(&mut self) {
        if self.silent.load(Ordering::Relaxed) {
            return;
        }
        let mut heartbeat = Heartbeat {
            node: self.id.clone(),
            state: self.state.into(),
            public_address: self.address.lock().unwrap().clone(),
            ..Heartbeat::default()
        };
        if self.closed.load(Ordering::Relaxed) {
            heartbeat.why_not_ready = "pbx down".into();
            if self.state == "ready" {
                heartbeat.state = "booting".into();
            }
        }
        let subject = Subject::heartbeat(FLEET, &self.id).unwrap();
        if self.absurd.load(Ordering::Relaxed) {
            self.rave(&subject, &mut heartbeat).await;
        }
        self.bus.publish(&subject, heartbeat.encode_to_vec()).await.unwrap();
    }

    /// It says that it is idle, with numbers in turn that cannot be; the log says that it holds calls. Between them come
    /// `NaN` where a number belongs, another node's heartbeat, and bytes that are none.
    async fn rave(&mut self, subject: &Subject, heartbeat: &mut Heartbeat) {
        self.beats += 1;
        let (most, offset) = if self.beats.is_multiple_of(2) { (u32::MAX, i64::MAX) } else { (0, i64::MIN) };
        (heartbeat.capacity, heartbeat.free_slots, heartbeat.cpu_permille) = (most, most, most);
        (heartbeat.sent_at_ms, heartbeat.spool_bytes, heartbeat.clock_offset_ms) =
            (u64::from(most) << 32, u64::MAX, offset);
        let mut not_a_number = vec![6 << 3 | 1]; // the field `up` as a double
        not_a_number.extend(f64::NAN.to_le_bytes());
        let other = Heartbeat { node: "i-else".into(), state: "ready".into(), ..Heartbeat::default() };
        for bytes in [not_a_number, other.encode_to_vec(), vec![0xff; 64]] {
            self.bus.publish(subject, bytes).await.unwrap();
        }
        let (free_slots, cpu_permille) = (most, most);
        let load = Event::NodeLoad { node: self.id.clone(), ringing: 0, up: 0, free_slots, cpu_permille };
        self.write(load).await;
    }

    async fn write(&mut self, event: Event) {
        self.number += 1;
        let epoch = [5; 16];
        let draft = FrameDraft {
            fleet: FLEET,
            origin: &self.origin,
            epoch,
            number: self.number,
            term: 0,
            based_on: 0,
        };
        let frame = draft.sign(&self.key, vec![wire::encode(&event, &Envelope::default())]).unwrap();
        let id = message_id(&self.origin, &epoch, self.number);
        while self.bus.publish_frame(FLEET, &self.origin, frame.clone(), &id, None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
