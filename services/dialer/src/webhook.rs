//! Notices to the user's own server: what the log says is owed is posted, signed, and repeated until the receiver has taken it
//! or it is given up, which is an event.
//!
//! At least once: a process killed between an answer and its event repeats what it had sent, under the same ids. In order for
//! each contact. The dialer does it, because it alone leads with the keys of numbers at hand; it runs beside its decisions
//! and never in their way.

mod body;
mod desk;
mod post;
mod queue;

use std::time::Duration;

use asterism_domain::campaign::CampaignCommand;
use asterism_domain::webhook::NoticeId;
use asterism_domain::webhook::decide::{WebhookCommand, is_configured};
use asterism_runtime::config::WebhookConfig;
use asterism_runtime::keys::random;
use asterism_runtime::leader::Desk;
use asterism_runtime::role::Deps;
use tokio::time::sleep;

pub(crate) use self::desk::command;
pub use self::desk::{OneNotice, Resend, Resent, Shown, report};
use self::post::Receiver;
pub use self::post::WebhookError;
use self::queue::{Limits, Next, Queue};

/// Time between two looks at a log that grows all the time: what settles meanwhile is one request.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Pause after the log could not be told.
const UNTOLD_PAUSE: Duration = Duration::from_secs(1);

/// Who posts.
#[derive(Debug)]
pub struct Webhook {
    config: WebhookConfig,
    receiver: Option<Receiver>,
}

impl Webhook {
    /// Reads the secret and the certificates.
    ///
    /// # Errors
    /// AST-D140 the secret, AST-D141 the certificates, AST-D142 the url.
    pub fn new(config: &WebhookConfig) -> Result<Self, WebhookError> {
        Ok(Self { config: config.clone(), receiver: Receiver::new(config)? })
    }

    /// Posts while this process leads. Never ends by itself.
    pub async fn run(self, deps: Deps, desk: Desk<CampaignCommand>) {
        let mut leading = desk.leading();
        let teller = Teller { deps: &deps, desk: &desk };
        loop {
            let led = leading.wait_for(Option::is_some).await.map(|term| *term);
            let Ok(Some(term)) = led else { return };
            if !teller.configure(self.receiver.as_ref(), &self.config).await {
                sleep(UNTOLD_PAUSE).await;
                continue;
            }
            match &self.receiver {
                Some(receiver) => self.lead(receiver, &teller, term).await,
                None => drop(leading.wait_for(|now| *now != Some(term)).await),
            }
        }
    }

    async fn lead(&self, receiver: &Receiver, teller: &Teller<'_>, term: u64) {
        let Teller { deps, desk } = teller;
        let (mut head, mut leading) = (deps.log.head(), desk.leading());
        let mut queue = Queue::new(Limits::from(&self.config));
        while *leading.borrow() == Some(term) {
            head.mark_unchanged();
            let now = deps.log.now_ms();
            match deps.log.read(|state| queue.next(&state.webhook.owed, now)) {
                Next::TooMany(notices) => {
                    let reason = format!("more than {} notices are owed", self.config.max_owed);
                    teller.tell(WebhookCommand::GivenUp { notices, tries: 0, reason }).await;
                }
                // This process may have stood still.
                Next::Send(notices) if desk.term() == Some(term) => {
                    self.send(receiver, teller, &mut queue, notices).await;
                    sleep(LOOK_PAUSE).await;
                }
                Next::Send(_) => sleep(LOOK_PAUSE).await,
                Next::Wait { until, all } => {
                    let left = Duration::from_millis(until.saturating_sub(now).max(1));
                    tokio::select! {
                        () = sleep(left) => {}
                        _ = leading.changed() => {}
                        _ = head.changed(), if !all => sleep(LOOK_PAUSE).await,
                    }
                }
                Next::Idle => tokio::select! {
                    _ = head.changed() => sleep(LOOK_PAUSE).await,
                    _ = leading.changed() => {}
                },
            }
        }
    }

    async fn send(
        &self,
        receiver: &Receiver,
        teller: &Teller<'_>,
        queue: &mut Queue,
        notices: Vec<NoticeId>,
    ) {
        let deps = teller.deps;
        let body = body::compose(deps, &notices).await;
        let done = receiver.post(body, deps.log.now_ms() / 1_000).await;
        let now = deps.log.now_ms();
        match done {
            Ok(()) => {
                queue.delivered(&notices);
                teller.tell(WebhookCommand::Delivered { notices }).await;
            }
            Err(reason) => {
                tracing::warn!(
                    receiver = receiver.shown(),
                    reason,
                    notices = notices.len(),
                    "a webhook failed"
                );
                let jitter = random::<2>().map_or(u16::MAX, u16::from_le_bytes);
                queue.failed(&notices, now, jitter);
                let lost = deps.log.read(|state| queue.give_up(&state.webhook.owed, now));
                if let Some((notices, tries)) = lost {
                    tracing::error!(notices = notices.len(), tries, reason, "notices are given up");
                    teller.tell(WebhookCommand::GivenUp { notices, tries, reason }).await;
                }
            }
        }
    }
}

struct Teller<'a> {
    deps: &'a Deps,
    desk: &'a Desk<CampaignCommand>,
}

impl Teller<'_> {
    /// Lets the log have what the configuration says; whether it has.
    async fn configure(&self, receiver: Option<&Receiver>, config: &WebhookConfig) -> bool {
        let endpoint = receiver.map_or_else(String::new, |receiver| receiver.shown().to_owned());
        let kinds = receiver.map(|_| config.kinds.iter().copied().collect()).unwrap_or_default();
        self.deps.log.read(|state| is_configured(state, &endpoint, &kinds))
            || self.tell(WebhookCommand::Configured { endpoint, kinds }).await
    }

    /// What is not in the log is done again: after a pause, so that a receiver does not get it over and over.
    async fn tell(&self, command: WebhookCommand) -> bool {
        match self.desk.tell(CampaignCommand::Webhook(command)).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(%error, "the log does not have it yet");
                sleep(UNTOLD_PAUSE).await;
                false
            }
        }
    }
}
