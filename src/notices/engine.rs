//! The engine: starts a watch for each open task while there are rules.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::active::{ActiveRule, ActiveRules};
use super::meters::NoticeMeters;
use super::queue::{ActionQueue, DeliveryContext};
use super::rule::{NoticeAction, NoticeRule, NoticeRules};
use super::watch::TaskWatch;
use crate::model::limits::{LimitCounters, Limits};
use crate::tasks::{FollowStart, TaskHandle, Tasks};

/// Maximum time at a shutdown to look at the ends of tasks.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// The rules of a server, and what applies them.
#[derive(Debug)]
pub struct NoticeEngine {
    active: watch::Sender<ActiveRules>,
    meters: NoticeMeters,
    hits: Arc<LimitCounters>,
    shutdown: CancellationToken,
}

impl NoticeEngine {
    /// Creates an engine without rules.
    pub fn new(hits: Arc<LimitCounters>, shutdown: CancellationToken) -> Self {
        Self { active: watch::Sender::new(Arc::new([])), meters: NoticeMeters::default(), hits, shutdown }
    }

    /// Returns the counters.
    pub fn meters(&self) -> &NoticeMeters {
        &self.meters
    }

    /// Replaces the rules, and returns whether they changed. Notices of the former rules that wait are still delivered.
    pub fn set_rules(&self, rules: &NoticeRules, limits: &Limits, tracker: &TaskTracker) -> bool {
        let before = self.active.borrow().iter().map(|active| active.rule.clone()).collect::<Vec<_>>();
        if *before == **rules {
            return false;
        }
        let context = DeliveryContext {
            meters: self.meters.clone(),
            hits: self.hits.clone(),
            queued_max: usize::try_from(limits.notices_queued_max).unwrap_or(usize::MAX),
            tries_max: usize::try_from(limits.notice_attempts_max).unwrap_or(usize::MAX),
            shutdown: self.shutdown.clone(),
        };
        let activate = |rule: &NoticeRule| {
            let queue = |action: &NoticeAction| {
                let (queue, delivery) = ActionQueue::new(&rule.name, action.clone(), context.clone());
                tracker.spawn(delivery);
                queue
            };
            ActiveRule { rule: rule.clone(), queues: rule.actions.iter().map(queue).collect() }
        };
        self.active.send_replace(rules.iter().map(activate).collect());
        true
    }

    /// Applies the rules until the shutdown. `base` is the address of the server's pages.
    pub async fn run(&self, tasks: Tasks, base: String) {
        let watches = TaskTracker::new();
        let base: Arc<str> = base.into();
        let mut rules = self.active.subscribe();
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = async {
                // Without rules, nothing is watched.
                while rules.wait_for(|rules| !rules.is_empty()).await.is_ok() {
                    self.watch_tasks(&tasks, &base, &watches, &mut rules).await;
                }
            } => {}
        }
        watches.close();
        timeout(LAST_LOOK, watches.wait()).await.ok();
        // Without senders, the deliveries end when their queues are empty.
        self.active.send_replace(Arc::new([]));
    }

    /// Starts watches until there is no rule.
    async fn watch_tasks(
        &self,
        tasks: &Tasks,
        base: &Arc<str>,
        watches: &TaskTracker,
        rules: &mut watch::Receiver<ActiveRules>,
    ) {
        let start = |task: TaskHandle, from: FollowStart| {
            let watch = TaskWatch::new(task, tasks.clone(), self.active.subscribe(), base.clone(), from);
            watches.spawn(watch.run(self.shutdown.clone()));
        };
        let mut new_tasks = tasks.new_tasks();
        let mut known = HashSet::new();
        for task in tasks.open_tasks() {
            known.insert(task.epoch().incarnation);
            // Lines from before the rules are no news.
            start(task, FollowStart::Tail(0));
        }
        while !rules.borrow_and_update().is_empty() {
            tokio::select! {
                task = new_tasks.next() => {
                    self.meters.unwatched.inc_by(new_tasks.take_missed());
                    // Created while the open ones were listed.
                    if !known.remove(&task.epoch().incarnation) {
                        start(task, FollowStart::From(1));
                    }
                }
                changed = rules.changed() => if changed.is_err() { return },
            }
        }
    }
}
