//! The start of a task, and the permission to write to it.

use super::WorkerConnection;
use crate::auth::{Resource, Scope};
use crate::model::{AttemptMode, RunId};
use crate::server::http::auth::{self, check_task_access};
use crate::server::http::error::ApiError;
use crate::tasks::TaskDescription;
use crate::wire::worker::{ServerReply, TaskRef, TaskStart, WorkerMessage};

impl WorkerConnection {
    /// Checks that the caller may write to the task, and to the run named by a label.
    pub(super) fn check_permission(&self, message: &WorkerMessage<'_>) -> Result<(), (TaskRef, ApiError)> {
        let (task, run) = match message {
            WorkerMessage::Lines { task, .. } => (task, None),
            WorkerMessage::End(end) => (&end.task, None),
            WorkerMessage::TaskStart(start) => (&start.task, start.labels.get("run")),
            WorkerMessage::Hello { .. } => return Ok(()),
        };
        let not_found = || ApiError::task_not_found(&task.id);
        let scope = match message {
            // It deletes logs.
            WorkerMessage::TaskStart(start) if start.attempt == AttemptMode::Replace => Scope::Admin,
            _ => Scope::Write,
        };
        let permitted = check_task_access(&self.state, &self.caller, scope, &task.id, not_found);
        let permitted = permitted.and_then(|()| match run.and_then(|run| run.parse::<RunId>().ok()) {
            Some(run) => {
                auth::check_access(&self.caller, Scope::Write, Resource::Run(&run), || ApiError::run_not_found(&run))
            }
            None => Ok(()),
        });
        permitted.map_err(|error| (task.clone(), error))
    }

    /// Handles `task_start`.
    pub(super) async fn start(&mut self, start: TaskStart) {
        self.flush().await;
        self.outbox.enable_replies();
        let TaskStart { task, session, command, host, labels, timestamp, attempt } = start;
        if !self.check_capacity(&task) {
            return;
        }
        let facts = TaskDescription {
            id: task.id.clone(),
            session: session.clone(),
            command,
            host,
            labels,
            started: timestamp,
        };
        match self.state.tasks.start_with(facts, attempt).await {
            Ok((handle, acked_seq)) => {
                let assigned = Some(handle.id().clone()).filter(|id| *id != task.id);
                self.attached.attach(&task.id, handle, Some(session.clone()));
                let resume = ServerReply::Resume { work_request_id: task, session, acked_seq, task: assigned };
                self.outbox.reply(&self.state, resume);
            }
            Err(error) => self.failed(&task, &error),
        }
    }
}
