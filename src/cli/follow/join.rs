//! Chooses the tasks that are followed together, and finds those that start later.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::super::list::{TaskQuery, select};
use super::super::locate::Locator;
use super::super::task_ref;
use super::FollowArgs;
use crate::client::HttpClient;
use crate::model::{Task, TaskId, TaskStatus};

/// Time between two looks at the list of tasks.
const LIST_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of tasks that are found if they start between two looks.
const NEW_TASKS_MAX: usize = 200;

/// A task to follow.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Exact id.
    pub(super) id: TaskId,
    /// Id that never changes: the exact one gets a number with the second attempt of a name.
    pub(super) key: TaskId,
    pub(super) has_ended: bool,
    /// Whether it started after `follow`, so that all its lines are wanted.
    pub(super) is_new: bool,
}

impl Chosen {
    fn of(task: &Task, is_new: bool) -> anyhow::Result<Self> {
        Ok(Self {
            id: task.exact_id().parse()?,
            key: task.id.clone(),
            has_ended: task.status != TaskStatus::Running,
            is_new,
        })
    }
}

/// Returns the named tasks, then those that match, oldest first; a task can be among both.
///
/// # Errors
/// A named task does not exist, or there is no response.
pub(super) async fn choose(args: &FollowArgs, client: &HttpClient) -> anyhow::Result<Vec<Chosen>> {
    let mut chosen = Vec::new();
    for name in &args.tasks {
        match task_ref::resolve(client, Some(name)).await {
            Ok(task) => chosen.push(Chosen::of(&task, false)?),
            Err(_) if args.wait => {
                chosen.push(Chosen { id: name.clone(), key: name.clone(), has_ended: false, is_new: true })
            }
            Err(error) => return Err(error),
        }
    }
    if args.joins() {
        let (tasks, _) = select(client, &TaskQuery { status: &[], labels: &args.labels }, None).await?;
        for task in tasks.iter().rev() {
            chosen.push(Chosen::of(task, false)?);
        }
    }
    Ok(chosen)
}

/// Returns the newest tasks with these labels, as tasks that have just started, oldest first.
///
/// # Errors
/// There is no response.
pub(super) async fn newest(client: &HttpClient, labels: &[(String, String)]) -> anyhow::Result<Vec<Chosen>> {
    let (tasks, _) = select(client, &TaskQuery { status: &[], labels }, Some(NEW_TASKS_MAX)).await?;
    tasks.iter().rev().map(|task| Chosen::of(task, true)).collect()
}

/// Sends the newest tasks again and again; most are known already. Ends with the receiver.
pub(super) fn watch_for_new(
    args: &FollowArgs,
    locator: &Arc<Locator>,
    client: &HttpClient,
) -> mpsc::Receiver<Vec<Chosen>> {
    let (sender, receiver) = mpsc::channel(1);
    let (labels, locator) = (args.labels.clone(), Arc::clone(locator));
    let mut client = HttpClient::new(client.endpoint().clone());
    tokio::spawn(async move {
        let mut ticks = interval(LIST_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            match newest(&client, &labels).await {
                Ok(tasks) => {
                    if sender.send(tasks).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!("cannot list tasks: {error:#}");
                    if let Some(endpoint) = locator.find_running().await {
                        client = HttpClient::new(endpoint);
                    }
                }
            }
        }
    });
    receiver
}
