//! The queue of an action: delivers one notice after another, and repeats deliveries that may succeed later.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::failure::SendFailure;
use super::meters::NoticeMeters;
use super::notice::Notice;
use super::rule::NoticeAction;
use super::{command, webhook};
use crate::model::limits::{Limit, LimitCounters};

/// Time between the first attempt and the second, and the longest time between two.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// Time after the start of a shutdown in which notices are still delivered.
const SHUTDOWN_TIME: Duration = Duration::from_secs(3);

/// The sending end of the queue of one action.
#[derive(Clone, Debug)]
pub(super) struct ActionQueue {
    kind: &'static str,
    notices: mpsc::Sender<Arc<Notice>>,
    context: DeliveryContext,
}

/// The context of all queues.
#[derive(Clone, Debug)]
pub(super) struct DeliveryContext {
    pub(super) meters: NoticeMeters,
    pub(super) hits: Arc<LimitCounters>,
    /// Maximum number of notices in a queue.
    pub(super) queued_max: usize,
    /// Maximum number of attempts for one notice.
    pub(super) tries_max: usize,
    pub(super) shutdown: CancellationToken,
}

impl ActionQueue {
    /// Creates a queue, and the future that delivers its notices until it is closed and empty.
    pub(super) fn new(
        rule: &str,
        action: NoticeAction,
        context: DeliveryContext,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (notices, received) = mpsc::channel(context.queued_max.max(1));
        let kind = action.kind();
        let delivery = ActionDelivery { rule: rule.to_owned(), action, context: context.clone() };
        (Self { kind, notices, context }, delivery.run(received))
    }

    /// Adds a notice; drops it if the queue is full.
    pub(super) fn push(&self, notice: Arc<Notice>) {
        let rule = notice.rule.clone();
        match self.notices.try_send(notice) {
            Ok(()) => {
                self.context.meters.queued.inc();
            }
            Err(_) => {
                self.context.meters.count(self.kind, "dropped");
                self.context.hits.count(Limit::notices_queued_max);
                tracing::warn!(rule, action = self.kind, "dropped a notice: too many wait for this receiver");
            }
        }
    }
}

/// The receiving end of the queue of one action.
struct ActionDelivery {
    rule: String,
    action: NoticeAction,
    context: DeliveryContext,
}

impl ActionDelivery {
    async fn run(self, mut received: mpsc::Receiver<Arc<Notice>>) {
        let mut deadline = None;
        while let Some(notice) = received.recv().await {
            let mut delivery = std::pin::pin!(self.deliver(&notice));
            let done = tokio::select! {
                biased;
                done = &mut delivery => Some(done),
                () = self.context.shutdown.cancelled() => {
                    let until = *deadline.get_or_insert_with(|| Instant::now() + SHUTDOWN_TIME);
                    timeout_at(until, delivery).await.ok()
                }
            };
            let meters = &self.context.meters;
            meters.queued.dec();
            let (rule, action) = (self.rule.as_str(), self.action.kind());
            match done {
                Some(Ok(())) => {
                    meters.count(action, "delivered");
                    tracing::info!(rule, action, task = %notice.task.id, "delivered a notice");
                }
                Some(Err(why)) => {
                    meters.count(action, "failed");
                    tracing::error!(rule, action, task = %notice.task.id, why, "could not deliver a notice");
                }
                None => {
                    meters.count(action, "dropped");
                    tracing::warn!(rule, action, task = %notice.task.id, "dropped a notice at the shutdown");
                }
            }
        }
    }

    /// Delivers a notice, in several attempts if the failure may pass.
    async fn deliver(&self, notice: &Notice) -> Result<(), String> {
        let delays = ExponentialBuilder::default().with_min_delay(RETRY_DELAY_MIN).with_max_delay(RETRY_DELAY_MAX);
        let delays = delays.with_jitter().with_max_times(self.context.tries_max.saturating_sub(1)).build();
        for delay in delays {
            match self.send(notice).await {
                Ok(()) => return Ok(()),
                Err(SendFailure::Final(why)) => return Err(why),
                Err(SendFailure::Transient(why)) => {
                    self.context.meters.count_retry(self.action.kind());
                    tracing::debug!(rule = self.rule, why, "the delivery of a notice will be repeated");
                }
            }
            sleep(delay).await;
        }
        self.send(notice).await.map_err(|failure| match failure {
            SendFailure::Transient(why) | SendFailure::Final(why) => why,
        })
    }

    async fn send(&self, notice: &Notice) -> Result<(), SendFailure> {
        match &self.action {
            NoticeAction::Webhook { target, secret_file } => webhook::send_webhook(target, secret_file, notice).await,
            NoticeAction::Ntfy { target, topic, token_file } => {
                webhook::send_ntfy(target, topic, token_file.as_deref(), notice).await
            }
            NoticeAction::Command(words) => command::run_command(words, notice).await,
        }
    }
}
