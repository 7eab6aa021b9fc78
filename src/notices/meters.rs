//! Counters of notices.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The labels of a counter.
type ActionLabels<const N: usize> = [(&'static str, &'static str); N];

/// Counters of the notices of all rules.
#[derive(Clone, Debug, Default)]
pub struct NoticeMeters {
    outcomes: Family<ActionLabels<2>, Counter>,
    retries: Family<ActionLabels<1>, Counter>,
    pub(super) queued: Gauge,
    pub(super) unwatched: Counter,
}

impl NoticeMeters {
    /// Counts a notice that was delivered, or failed, or was dropped.
    pub(super) fn count(&self, action: &'static str, outcome: &'static str) {
        self.outcomes.get_or_create(&[("action", action), ("outcome", outcome)]).inc();
    }

    /// Counts an attempt that will be repeated.
    pub(super) fn count_retry(&self, action: &'static str) {
        self.retries.get_or_create(&[("action", action)]).inc();
    }

    /// Registers all of them with `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "notices",
            "Notices by action and outcome: delivered, failed, dropped",
            self.outcomes.clone(),
        );
        registry.register("notice_retries", "Attempts to deliver a notice that were repeated", self.retries.clone());
        registry.register("notices_queued", "Notices that wait for their delivery", self.queued.clone());
        registry.register("notice_tasks_missed", "Tasks that no rule could watch", self.unwatched.clone());
    }
}
