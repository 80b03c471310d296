//! One node as processes: agent and simulator below `asterism-agent instance`, and the carrier's recorder outside.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use asterism_nats::server::NODE_USER;
use asterism_nats::{Subject, Verb};
use asterism_pbx_sim::recorder::{RingCount, read_rings};
use asterism_proto::v1::{DialAttempt, DialOrder, OrderReply};
use prost::Message;

use super::dialplan::{Asker, StepServer};
use super::traffic::Traffic;
use super::world::{FLEET, Process, World, call, now_ms, program};

/// The node's id.
pub const NODE: &str = "i-0bench";
/// Who holds: answers at once, presses nothing, stays. Everyone else is busy at once.
const CALLEES: &str = "[setup]\nmin_ms = 0\nmax_ms = 0\n\n[[number]]\nnumber = \"*0\"\nhabit = \"press_nothing\"\nring_ms = 0\n\n\
                       [[number]]\nnumber = \"*9\"\nhabit = \"busy\"\nring_ms = 0\n";
/// Most attempts in one order of ours.
const ORDER_ATTEMPTS: usize = 50;

/// A running node.
pub struct Node {
    dir: PathBuf,
    rings: PathBuf,
    _instance: Process,
    _recorder: Process,
}

impl Node {
    /// Starts it.
    pub async fn start(world: &World, capacity: u32) -> anyhow::Result<Self> {
        let (dir, rings) = (world.path().join("node"), world.path().join("rings.csv"));
        let port_file = world.path().join("carrier.port");
        let recorder = Command::new(program("carrier-recorder")?)
            .args(["--exit-on-stdin-eof", "--out"])
            .arg(&rings)
            .arg("--port-file")
            .arg(&port_file)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let recorder = Process(recorder);
        let carrier = world
            .until("the carrier's recorder comes up", || async {
                let port: u16 = fs::read_to_string(&port_file)?.trim().parse()?;
                Ok(SocketAddr::from(([127, 0, 0, 1], port)))
            })
            .await?;
        let callees = world.path().join("callees.toml");
        fs::write(&callees, CALLEES)?;
        let instance = Command::new(program("asterism-agent")?)
            .arg("instance")
            .args(["--node", NODE, "--fleet", FLEET, "--intent", "bench", "--nats-user", NODE_USER])
            .args(["--capacity", &capacity.to_string(), "--nats-url", &world.server.url])
            .args(["--carrier", &carrier.to_string()])
            .args(["--log-key", &format!("{:?}", world.log_key.public())])
            .arg("--nats-password-file")
            .arg(world.server.password_file(NODE_USER))
            .arg("--callees")
            .arg(&callees)
            .arg("--pbx-sim-bin")
            .arg(program("pbx-sim")?)
            .arg("--dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stderr(fs::File::create(world.path().join("instance.log"))?)
            .spawn()?;
        Ok(Self { dir, rings, _instance: Process(instance), _recorder: recorder })
    }

    /// The agent's process id.
    pub fn agent_pid(&self) -> anyhow::Result<i32> {
        let file = self.dir.join("agent.pid");
        fs::read_to_string(&file)?.trim().parse().with_context(|| file.display().to_string())
    }

    /// Dials contacts that hold, waits until all are up and have taken their first step, and connects to ask for them.
    pub async fn hold(&self, world: &World, campaign: &str, calls: usize) -> anyhow::Result<Vec<Asker>> {
        let contacts: Vec<usize> = (0..calls).collect();
        for some in contacts.chunks(ORDER_ATTEMPTS) {
            let attempts = some.iter().map(|contact| holding(world, campaign, *contact)).collect();
            dial(world, attempts).await?;
        }
        world
            .until("every held call takes its first step", || async {
                let taken = Traffic::default().read(&world.bus).await?.by_responder;
                let up = (0..calls).filter(|contact| taken.contains(&(call(campaign, *contact), 1))).count();
                ensure!(up == calls, "{up} of {calls} are up");
                Ok(())
            })
            .await?;
        let server = StepServer::of(&self.dir)?;
        let mut askers = Vec::with_capacity(calls);
        for contact in contacts {
            askers.push(Asker::connect(&server, &call(campaign, contact), &world.flow).await?);
        }
        Ok(askers)
    }

    /// What the carrier saw.
    pub fn rings(&self) -> anyhow::Result<RingCount> {
        Ok(read_rings(&self.rings, |_| {})?)
    }
}

/// Someone who answers and stays.
fn holding(world: &World, campaign: &str, contact: usize) -> DialAttempt {
    let (from, until) = (now_ms(), now_ms() + 5_000);
    attempt(world, campaign, contact, 0, from, until)
}

/// Someone who is busy, dialled at a given time.
pub fn busy(world: &World, campaign: &str, contact: usize, at_ms: u64) -> DialAttempt {
    attempt(world, campaign, contact, 9, at_ms, at_ms + 2_000)
}

fn attempt(
    world: &World,
    campaign: &str,
    contact: usize,
    last_digit: u8,
    not_before_ms: u64,
    not_after_ms: u64,
) -> DialAttempt {
    DialAttempt {
        attempt: call(campaign, contact),
        campaign: campaign.to_owned(),
        number: format!("+1555{contact:06}{last_digit}"),
        trunk: "carrier".to_owned(),
        not_before_ms,
        not_after_ms,
        ring_timeout_ms: 5_000,
        flow: world.flow.clone(),
        caller_id: "+15550100000".to_owned(),
        // A call that loses the bus stays up too.
        fallback: "pause|600".to_owned(),
        ..DialAttempt::default()
    }
}

/// Sends one order and waits until the node has taken all of it. A node that is not admitted or has no clock yet is
/// asked again.
pub async fn dial(world: &World, attempts: Vec<DialAttempt>) -> anyhow::Result<()> {
    let subject = Subject::command(FLEET, NODE, Verb::Dial)?;
    let order = DialOrder { term: 1, log_position: 1, attempts }.encode_to_vec();
    world
        .until("the node takes an order", || async {
            let answer = world.bus.request(&subject, order.clone(), Duration::from_secs(2)).await?;
            let reply = OrderReply::decode(answer.as_slice())?;
            ensure!(reply.taken && reply.code.is_empty(), "{}: {}", reply.code, reply.reason);
            Ok(())
        })
        .await
}
