//! Drain orders: each draining node is told until it says it is empty, each node opened again until it has taken it.

use std::collections::BTreeMap;
use std::time::Duration;

use asterism_domain::NodeId;
use asterism_domain::fleet::NodeStatus;
use asterism_nats::{Subject, Verb};
use asterism_proto::v1::{DrainOrder, OrderReply};
use prost::Message as _;
use tokio::task::JoinSet;

use super::{Agenda, look};
use crate::Shell;

/// Orders under way at the same time.
const CONCURRENT: usize = 64;
/// How long a node may take: it syncs the order first.
const ORDER_TIMEOUT: Duration = Duration::from_secs(2);
/// An order to open again has no fact that ends it: once taken it is not repeated in this term.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// What a node is to be told, in which term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Order {
    node: NodeId,
    drain: u64,
    undrain: bool,
    term: u64,
}

/// Sends orders while this process leads.
pub(crate) async fn run(shell: Shell) {
    let mut head = shell.deps.log.head();
    let mut agenda = Agenda::new();
    // One order at a time to each node, so that a drain and its end arrive in their order.
    let mut busy: BTreeMap<NodeId, Order> = BTreeMap::new();
    let mut sent: JoinSet<(Order, bool)> = JoinSet::new();
    loop {
        tokio::select! {
            () = look(&mut head) => {}
            Some(done) = sent.join_next() => if let Ok((order, taken)) = done {
                busy.remove(&order.node);
                let repeat = Duration::from_millis(shell.config.order_repeat_ms);
                let again = if order.undrain { NEVER } else { repeat };
                if taken { agenda.succeeded(order, again) } else { agenda.failed(order) }
            } else {
                busy.clear();
                agenda.lost();
            },
        }
        let Some(term) = shell.desk.term() else { continue };
        let owed = owed(&shell, term);
        agenda.retain(|order: &Order| owed.get(&order.node) == Some(order));
        for order in owed.into_values() {
            if sent.len() >= CONCURRENT {
                break;
            }
            if shell.leads(term) && !busy.contains_key(&order.node) && agenda.begin(order.clone()) {
                busy.insert(order.node.clone(), order.clone());
                sent.spawn(send(shell.clone(), order));
            }
        }
    }
}

/// One order a node at most: to drain, or to take calls again after a drain.
fn owed(shell: &Shell, term: u64) -> BTreeMap<NodeId, Order> {
    shell.deps.log.read(|state| {
        state
            .fleet
            .existing()
            .filter_map(|(id, node)| {
                let undrain = match node.status {
                    NodeStatus::Draining if !node.empty && node.uncovered.is_none() => false,
                    NodeStatus::Ready | NodeStatus::Admitted if node.drain > 0 => true,
                    _ => return None,
                };
                Some((id.clone(), Order { node: id.clone(), drain: node.drain, undrain, term }))
            })
            .collect()
    })
}

/// Asks once; whether the node has it durably.
async fn send(shell: Shell, order: Order) -> (Order, bool) {
    let refused = match ask(&shell, &order).await {
        Ok(reply) if reply.taken => return (order, true),
        Ok(reply) => format!("{}: {} (its term is {})", reply.code, reply.reason, reply.seen_term),
        Err(reason) => reason,
    };
    shell.counters.order_failures.increment();
    tracing::debug!(
        node = order.node,
        drain = order.drain,
        undrain = order.undrain,
        refused,
        "order not taken"
    );
    (order, false)
}

async fn ask(shell: &Shell, order: &Order) -> Result<OrderReply, String> {
    let subject = Subject::command(shell.deps.log.fleet(), &order.node, Verb::Drain)
        .map_err(|error| error.to_string())?;
    if !shell.leads(order.term) {
        return Err("this process does not lead the term any more".to_owned());
    }
    let body = DrainOrder { term: order.term, drain: order.drain, undrain: order.undrain };
    let answer = shell
        .deps
        .bus
        .request(&subject, body.encode_to_vec(), ORDER_TIMEOUT)
        .await
        .map_err(|error| error.to_string())?;
    OrderReply::decode(answer.as_slice()).map_err(|_| "the answer cannot be read".to_owned())
}
