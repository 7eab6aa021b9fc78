//! Attempts: the logs of one name. A worker that asks for a new attempt never writes to an existing log.
//!
//! The first attempt has the name as its id, later ones `NAME.2`, `NAME.3`. Which tasks are attempts of a name
//! is part of their records: a task that was created as `NAME.2` by its own id is not one.
//!
//! - A reader's `NAME` is the newest attempt, `NAME.1` the first one. A cursor leads to the attempt it is of.
//! - A writer's `NAME` is the attempt of its session, otherwise the newest one.
//! - A removal names an exact id.

use std::collections::{BTreeMap, HashMap};

use super::TasksError;
use super::record::{StoredAttempt, TaskRecord};
use super::registry::{TaskDescription, Tasks, new_incarnation};
use super::task::TaskHandle;
use crate::model::{Attempt, AttemptMode, TaskId, TaskStatus};

/// The attempts after the first of every name.
#[derive(Debug, Default)]
pub(super) struct AttemptIndex {
    by_name: HashMap<TaskId, BTreeMap<u32, LaterAttempt>>,
    names: HashMap<TaskId, StoredAttempt>,
}

#[derive(Debug)]
struct LaterAttempt {
    id: TaskId,
    incarnation: u64,
}

impl AttemptIndex {
    /// Adds a task if its record makes it a later attempt of a name.
    pub(super) fn insert(&mut self, id: &TaskId, record: &TaskRecord) {
        let Some(attempt) = &record.attempt else { return };
        let later = LaterAttempt { id: id.clone(), incarnation: record.incarnation };
        self.by_name.entry(attempt.name.clone()).or_default().insert(attempt.number, later);
        self.names.insert(id.clone(), attempt.clone());
    }

    /// Removes a task.
    pub(super) fn remove(&mut self, id: &TaskId) {
        let Some(attempt) = self.names.remove(id) else { return };
        if let Some(later) = self.by_name.get_mut(&attempt.name) {
            later.remove(&attempt.number);
            if later.is_empty() {
                self.by_name.remove(&attempt.name);
            }
        }
    }

    /// Returns the newest attempt after the first.
    fn newest(&self, name: &TaskId) -> Option<(u32, TaskId)> {
        let (number, later) = self.by_name.get(name)?.last_key_value()?;
        Some((*number, later.id.clone()))
    }

    /// Returns the ids of the attempts after the first, newest first.
    fn later(&self, name: &TaskId) -> Vec<TaskId> {
        let later = self.by_name.get(name).into_iter().flat_map(|later| later.values().rev());
        later.map(|attempt| attempt.id.clone()).collect()
    }

    /// Returns the later attempt with this incarnation.
    fn with_incarnation(&self, name: &TaskId, incarnation: u64) -> Option<TaskId> {
        let later = self.by_name.get(name)?.values().find(|attempt| attempt.incarnation == incarnation);
        later.map(|attempt| attempt.id.clone())
    }
}

impl Tasks {
    /// Returns the task that `id` means to a reader. `incarnation` is that of the reader's cursor, if it has one.
    pub async fn find(&self, id: &TaskId, incarnation: Option<u64>) -> Result<Option<TaskHandle>, TasksError> {
        let found = self.find_current(id, incarnation).await?;
        if let Some(task) = &found {
            task.catch_up().await?;
        }
        Ok(found)
    }

    async fn find_current(&self, id: &TaskId, incarnation: Option<u64>) -> Result<Option<TaskHandle>, TasksError> {
        let newest = self.inner.attempts.lock().newest(id);
        let Some((_, newest)) = newest else {
            let found = self.get(id).await?;
            return match self.first_of_several(id) {
                Some(first) if found.is_none() => self.get(&first).await,
                _ => Ok(found),
            };
        };
        if let Some(incarnation) = incarnation {
            let later = self.inner.attempts.lock().with_incarnation(id, incarnation);
            let read = self.get(later.as_ref().unwrap_or(id)).await?;
            if read.as_ref().is_some_and(|task| task.epoch().incarnation == incarnation) {
                return Ok(read);
            }
        }
        self.get(&newest).await
    }

    /// Returns the task that `id` means to a writer of `session`, and creates it if it does not exist.
    pub async fn find_or_create(&self, id: &TaskId, session: Option<&str>) -> Result<TaskHandle, TasksError> {
        if self.inner.attempts.lock().newest(id).is_some() {
            let _creating = self.inner.create_lock.lock().await;
            if let Some(session) = session
                && let Some(task) = self.attempt_of_session(id, session).await?
            {
                return Ok(task);
            }
            if let Some(task) = self.newest_attempt(id).await? {
                return Ok(task);
            }
        }
        if let Some(first) = self.first_of_several(id)
            && self.get(id).await?.is_none()
            && let Some(first) = self.get(&first).await?
        {
            return Ok(first);
        }
        self.get_or_create(id).await
    }

    /// Returns `NAME` of an id `NAME.1` if there are later attempts of that name.
    fn first_of_several(&self, id: &TaskId) -> Option<TaskId> {
        let first = id.first_attempt()?;
        self.inner.attempts.lock().newest(&first).map(|_| first)
    }

    /// Starts an attempt of `name` without a session, for a worker that cannot be told that its task has ended.
    pub async fn start_anonymous_attempt(&self, name: &TaskId) -> Result<TaskHandle, TasksError> {
        let _creating = self.inner.create_lock.lock().await;
        self.create_attempt(name).await
    }

    /// Returns the attempt of a worker's session, and creates it with the next number if there is none. The
    /// attempt belongs to the session before another worker can ask.
    pub(super) async fn start_attempt(
        &self,
        description: &TaskDescription,
        mode: AttemptMode,
    ) -> Result<TaskHandle, TasksError> {
        let (name, session) = (&description.id, &description.session);
        let _creating = self.inner.create_lock.lock().await;
        if let Some(task) = self.attempt_of_session(name, session).await? {
            return Ok(task);
        }
        if mode == AttemptMode::Replace {
            self.remove_finished_attempts(name).await?;
        }
        let task = match self.newest_attempt(name).await? {
            // Created by a line without a worker, such as `tasktail append`: the worker joins it.
            Some(task) if task.is_unclaimed() => task,
            _ => self.create_attempt(name).await?,
        };
        task.claim(session);
        Ok(task)
    }

    /// Returns the name and the number of an attempt, if its name has several.
    pub fn attempt(&self, id: &TaskId) -> Option<Attempt> {
        let attempts = self.inner.attempts.lock();
        let (of, number) = match attempts.names.get(id) {
            Some(attempt) => (attempt.name.clone(), attempt.number),
            None => (id.clone(), 1),
        };
        let newest = attempts.newest(&of)?.0;
        Some(Attempt { of, number, newest })
    }

    async fn create_attempt(&self, name: &TaskId) -> Result<TaskHandle, TasksError> {
        let newest = self.inner.attempts.lock().newest(name);
        let mut number = match newest {
            Some((number, _)) => number + 1,
            None if self.load(name).await?.is_some() => 2,
            None => return self.create(name, TaskRecord::new(new_incarnation())).await,
        };
        loop {
            let id = name.attempt(number);
            if self.load(&id).await?.is_none() {
                let attempt = Some(StoredAttempt { name: name.clone(), number });
                let record = TaskRecord { attempt, ..TaskRecord::new(new_incarnation()) };
                let incarnation = record.incarnation;
                let task = self.create(&id, record).await?;
                // Otherwise another server has created a task with this id meanwhile.
                if task.epoch().incarnation == incarnation {
                    return Ok(task);
                }
            }
            // A task was created by this id.
            number += 1;
        }
    }

    async fn newest_attempt(&self, name: &TaskId) -> Result<Option<TaskHandle>, TasksError> {
        let newest = self.inner.attempts.lock().newest(name);
        self.load(newest.as_ref().map_or(name, |(_, id)| id)).await
    }

    /// Returns the attempt that a worker of this session has written to.
    async fn attempt_of_session(&self, name: &TaskId, session: &str) -> Result<Option<TaskHandle>, TasksError> {
        for id in self.attempts_of(name) {
            let is_of_session = match self.cached(&id) {
                Some(task) => task.is_of_session(session),
                None => self.stored_record(&id)?.is_some_and(|record| record.is_of_session(session)),
            };
            if is_of_session {
                return self.load(&id).await;
            }
        }
        Ok(None)
    }

    async fn remove_finished_attempts(&self, name: &TaskId) -> Result<(), TasksError> {
        for id in self.attempts_of(name) {
            if let Some(task) = self.load(&id).await?
                && task.is_finished()
            {
                self.remove_loaded(&task).await?;
            }
        }
        Ok(())
    }

    /// Returns the ids of all attempts, newest first. The first one may not exist.
    fn attempts_of(&self, name: &TaskId) -> Vec<TaskId> {
        let mut ids = self.inner.attempts.lock().later(name);
        ids.push(name.clone());
        ids
    }
}

impl TaskRecord {
    fn is_of_session(&self, session: &str) -> bool {
        self.worker_session.as_deref() == Some(session) || self.seq_of(session) > 0
    }
}

impl TaskHandle {
    fn is_of_session(&self, session: &str) -> bool {
        self.with_record(|record| record.is_of_session(session)) || self.acked_seq(session) > 0
    }

    /// Reports whether the task was created without a worker and has not ended.
    fn is_unclaimed(&self) -> bool {
        let state = self.inner.state.lock();
        let record = &state.record;
        !record.is_closed() && !state.ending && !record.worker && record.worker_session.is_none()
    }

    /// Reports whether the task has ended or is lost.
    fn is_finished(&self) -> bool {
        let is_finished = self.with_record(|record| record.is_closed() || record.status == TaskStatus::Lost);
        is_finished && !self.has_worker()
    }

    /// Makes the task that of a session, before its worker describes it.
    fn claim(&self, session: &str) {
        let mut state = self.inner.state.lock();
        state.record.worker = true;
        state.record.set_worker_session(session.to_owned());
    }
}
