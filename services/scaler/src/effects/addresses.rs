//! Public addresses: each node that was promised one in the log gets it from the cloud, and each that ends gives it back.
//!
//! Nothing is remembered: what is owed stands in the log, and both calls can be repeated, so that a scaler that died
//! between a call and its commit finds the address where it is to be, and says so.

use std::collections::BTreeSet;
use std::time::Duration;

use asterism_domain::NodeId;
use asterism_domain::fleet::FleetCommand;
use tokio::task::JoinSet;

use super::{Agenda, look};
use crate::Shell;
use crate::cloud::CloudError;
use crate::troubles::Call;

/// Calls at the same time: the limiter is what keeps them apart.
const CONCURRENT: usize = 4;
/// How long the cloud may take for one.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause before an answered one is looked at again, should the log not have it by then.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// One address to be given, or taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Job {
    node: NodeId,
    address: String,
    is_back: bool,
}

/// Gives and takes while this process leads.
pub(crate) async fn run(shell: Shell) {
    let mut head = shell.deps.log.head();
    let mut agenda = Agenda::new();
    let mut calls: JoinSet<(Job, bool)> = JoinSet::new();
    loop {
        tokio::select! {
            () = look(&mut head) => {}
            Some(done) = calls.join_next() => match done {
                Ok((job, true)) => agenda.succeeded(job, AGAIN_AFTER),
                Ok((job, false)) => agenda.failed(job),
                Err(_) => agenda.lost(),
            },
        }
        let Some(term) = shell.desk.term() else { continue };
        let owed = owed(&shell);
        agenda.retain(|job| owed.contains(job));
        for job in owed {
            if calls.len() >= CONCURRENT {
                break;
            }
            if shell.leads(term) && agenda.begin(job.clone()) {
                calls.spawn(act(shell.clone(), job));
            }
        }
    }
}

fn owed(shell: &Shell) -> BTreeSet<Job> {
    shell.deps.log.read(|state| {
        let job = |is_back| {
            move |(node, address): (&NodeId, &str)| Job {
                node: node.clone(),
                address: address.to_owned(),
                is_back,
            }
        };
        let (given, back) = (state.fleet.owed_addresses(), state.fleet.owed_releases());
        given.map(job(false)).chain(back.map(job(true))).collect()
    })
}

/// One call, and its outcome told; whether the log has it.
async fn act(shell: Shell, job: Job) -> (Job, bool) {
    let (node, address) = (&job.node, &job.address);
    let call = async {
        if job.is_back {
            shell.cloud.disassociate(node, address).await
        } else {
            shell.cloud.associate(node, address).await
        }
    };
    let is_done = match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(())) => {
            shell.troubles.clear(Call::Address);
            let (node, address) = (node.clone(), address.clone());
            let outcome = if job.is_back {
                FleetCommand::Unaddressed { node, address }
            } else {
                FleetCommand::Addressed { node, address }
            };
            shell.tell(outcome).await
        }
        Ok(Err(error)) => failed(&shell, &job, &error),
        Err(_) => {
            tracing::warn!(node, address, "the cloud did not answer about an address in time");
            false
        }
    };
    (job, is_done)
}

fn failed(shell: &Shell, job: &Job, error: &CloudError) -> bool {
    shell.counters.address_failures.increment();
    shell.troubles.note(Call::Address, error);
    tracing::warn!(node = job.node, address = job.address, %error, "an address was not given or taken back");
    false
}
