//! The AMI client: one connection on loopback, always drained, made again for ever.
//!
//! It hands on only what is about attempts. After each login it asks for the PBX process's start and its channels, so
//! that the machine can adopt what is alive.

mod reload;
mod session;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::input::{Input, Inputs};
use crate::machine::{Originate, PbxEvent};
use crate::trunks::Trunks;

/// Shortest and longest pause between two connections.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How to reach the PBX.
#[derive(Debug, Clone)]
pub struct PbxConfig {
    /// AMI's port on loopback.
    pub ami_port: u16,
    /// The AMI user.
    pub ami_user: String,
    /// Its secret, read anew for each login: the PBX may have been given another.
    pub ami_secret_file: PathBuf,
    /// Technology before the number, for example `PJSIP`.
    pub technology: String,
    /// How each trunk wants its numbers.
    pub trunks: Arc<Trunks>,
}

/// What the loop asks of the PBX.
#[derive(Debug)]
pub enum PbxCommand {
    /// Dial.
    Originate(Originate),
    /// Hang the attempt's channel up.
    Hangup {
        /// The attempt.
        attempt: String,
    },
    /// List the channels.
    List,
    /// Read the trunks' file again and say which endpoints there are, each with its account code: the revision.
    Reload {
        /// The endpoints' names.
        endpoints: Vec<String>,
        /// Where the answer goes; dropped if the connection ends before.
        answer: oneshot::Sender<Result<BTreeMap<String, String>, String>>,
    },
}

/// Runs until the loop is gone.
pub async fn run(config: PbxConfig, inputs: Inputs, mut commands: mpsc::UnboundedReceiver<PbxCommand>) {
    let mut pause = PAUSE_MIN;
    loop {
        let error = match session::run(&config, &inputs, &mut commands).await {
            session::End::LoopGone => return,
            session::End::Failed { error, was_up } => {
                if was_up {
                    pause = PAUSE_MIN;
                }
                error
            }
        };
        tracing::warn!(%error, "the pbx cannot be spoken to");
        if inputs.send(Input::PbxDown(error)).await.is_err() {
            return;
        }
        let wait = tokio::time::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                command = commands.recv() => match command {
                    None => return,
                    // Not written to any connection: it certainly did not ring.
                    Some(PbxCommand::Originate(originate)) => {
                        let event = PbxEvent::NotSent { attempt: originate.attempt };
                        if inputs.send(Input::Pbx(event)).await.is_err() {
                            return;
                        }
                    }
                    Some(PbxCommand::Hangup { .. } | PbxCommand::List | PbxCommand::Reload { .. }) => {}
                },
            }
        }
    }
}
