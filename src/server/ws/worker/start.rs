//! The start of a task, and the permission to write to it.

use super::WorkerConnection;
use crate::auth::{Resource, Scope};
use crate::model::{AttemptMode, RunId};
use crate::server::home;
use crate::server::http::auth::{self, check_task_access};
use crate::server::http::error::ApiError;
use crate::tasks::TaskDescription;
use crate::wire::worker::{ServerReply, TaskRef, TaskStart, WorkerMessage};

impl WorkerConnection {
    /// Returns whether the caller may send a message. Reports an error to the worker otherwise.
    pub(super) fn is_permitted(&self, message: &WorkerMessage<'_>) -> bool {
        let (task, run) = match message {
            WorkerMessage::Lines { task, .. } | WorkerMessage::Partial { task, .. } => (task, None),
            WorkerMessage::End(end) => (&end.task, None),
            WorkerMessage::TaskStart(start) => (&start.task, start.labels.get("run")),
            WorkerMessage::Hello { .. } => return true,
        };
        let scope = match message {
            // It deletes logs.
            WorkerMessage::TaskStart(start) if start.attempt == AttemptMode::Replace => Scope::Admin,
            _ => Scope::Write,
        };
        self.has_access(scope, task, run)
    }

    /// Returns whether the caller has access to the task, and may write to the run named by a label. Reports an
    /// error to the worker otherwise.
    pub(super) fn has_access(&self, scope: Scope, task: &TaskRef, run: Option<&String>) -> bool {
        let not_found = || ApiError::task_not_found(&task.id);
        let permitted = check_task_access(&self.state, &self.caller, scope, &task.id, not_found);
        let permitted = permitted.and_then(|()| match run.and_then(|run| run.parse::<RunId>().ok()) {
            Some(run) => {
                auth::check_access(&self.caller, Scope::Write, Resource::Run(&run), || ApiError::run_not_found(&run))
            }
            None => Ok(()),
        });
        if let Err(error) = &permitted {
            self.outbox.enable_replies();
            self.reject(error.code(), error.detail().to_owned(), Some(task.clone()));
        }
        permitted.is_ok()
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
                let retain = self.state.home.as_ref().map(|_| home::RETAIN);
                let resume = ServerReply::Resume { work_request_id: task, session, acked_seq, task: assigned, retain };
                self.outbox.reply(&self.state, resume);
            }
            Err(error) => self.failed(&task, &error),
        }
    }
}
