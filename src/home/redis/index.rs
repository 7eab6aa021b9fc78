//! The index of all tasks, and the reports of changed ones.

use std::collections::VecDeque;
use std::str::FromStr;

use redis::Value;
use tokio::time::timeout;

use super::engine::Engine;
use super::entry::{field_text, read_entries};
use super::error::EngineError;
use super::keys::{RUN_CHANGE, TASK_CHANGE, bucket_key};
use super::limits::{BUCKET_CHANGES_MAX, BUCKETS, POLL_INTERVAL, REREAD_INTERVAL};
use super::node::LinkUse;
use super::signals::Registration;
use super::value::{into_number, into_text, into_values};
use crate::model::{EntryId, RunId, TaskId};

/// A report of the watch over the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexChange {
    /// The facts of a task changed: it was created, patched, ended, sealed or removed.
    Task(TaskId),
    /// A run was created or removed, or has new events.
    Run(RunId),
    /// Changes of a bucket were missed: its tasks must be read again.
    Bucket(u8),
}

/// A watch over the index.
#[derive(Debug)]
pub struct IndexWatch {
    engine: Engine,
    buckets: Vec<WatchedBucket>,
    ready: VecDeque<IndexChange>,
}

#[derive(Debug)]
struct WatchedBucket {
    number: u8,
    key: String,
    registration: Registration,
    /// Last change read.
    last_id: EntryId,
}

impl Engine {
    /// Returns all tasks and their time of creation in milliseconds, in no particular order.
    pub async fn index(&self) -> Result<Vec<(TaskId, u64)>, EngineError> {
        let mut all = Vec::new();
        for bucket in 0..BUCKETS {
            all.extend(self.index_bucket(bucket).await?);
        }
        Ok(all)
    }

    /// Returns the tasks of one bucket and their time of creation in milliseconds.
    pub async fn index_bucket(&self, bucket: u8) -> Result<Vec<(TaskId, u64)>, EngineError> {
        self.listed(&bucket_key(bucket, "tasks")).await
    }

    /// Returns the runs of one bucket and their time of creation in milliseconds.
    pub async fn run_index_bucket(&self, bucket: u8) -> Result<Vec<(RunId, u64)>, EngineError> {
        self.listed(&bucket_key(bucket, "runs")).await
    }

    /// Returns all runs and their time of creation in milliseconds, in no particular order.
    pub async fn run_index(&self) -> Result<Vec<(RunId, u64)>, EngineError> {
        let mut all = Vec::new();
        for bucket in 0..BUCKETS {
            all.extend(self.run_index_bucket(bucket).await?);
        }
        Ok(all)
    }

    async fn listed<I: FromStr>(&self, key: &str) -> Result<Vec<(I, u64)>, EngineError> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(key).arg(0).arg(-1).arg("WITHSCORES");
        let answer = self.router().command(key, LinkUse::Scripts, command).await?;
        let mut values = into_values(answer)?.into_iter();
        let mut tasks = Vec::with_capacity(values.len() / 2);
        while let (Some(id), Some(created)) = (values.next(), values.next()) {
            let id = into_text(id).and_then(|id| id.parse().ok());
            tasks.extend(id.zip(into_number(created)));
        }
        Ok(tasks)
    }

    /// Starts to watch the index. Changes from now on are reported, so read the index after it.
    pub async fn watch_index(&self) -> Result<IndexWatch, EngineError> {
        let mut buckets = Vec::with_capacity(usize::from(BUCKETS));
        for number in 0..BUCKETS {
            let key = bucket_key(number, "changes");
            let registration = self.router().signals.register(&[&key]);
            let last_id = self.newest_change(&key).await?;
            registration.signal.set();
            buckets.push(WatchedBucket { number, key, registration, last_id });
        }
        Ok(IndexWatch { engine: self.clone(), buckets, ready: VecDeque::new() })
    }

    async fn newest_change(&self, key: &str) -> Result<EntryId, EngineError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
        let answer = self.router().command(key, LinkUse::Scripts, command).await?;
        let Some(Value::Array(parts)) = into_values(answer)?.pop() else { return Ok(EntryId::MIN) };
        let id = parts.into_iter().next().and_then(into_text).and_then(|id| id.parse().ok());
        Ok(id.unwrap_or(EntryId::MIN))
    }
}

impl IndexWatch {
    /// Waits for the next change. Can be dropped and called again without losing one.
    pub async fn next(&mut self) -> Result<IndexChange, EngineError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            let pause = if self.engine.durability().is_tracking { REREAD_INTERVAL } else { POLL_INTERVAL };
            let waits = self.buckets.iter().map(|bucket| Box::pin(bucket.registration.signal.wait()));
            let is_due = timeout(pause, futures::future::select_all(waits)).await.is_err();
            for at in 0..self.buckets.len() {
                let registration = &self.buckets[at].registration;
                if registration.signal.is_set() || is_due {
                    let unread = registration.unread();
                    self.read(at).await?;
                    unread.done();
                }
            }
        }
    }

    async fn read(&mut self, at: usize) -> Result<(), EngineError> {
        let bucket = &self.buckets[at];
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(BUCKET_CHANGES_MAX).arg("STREAMS").arg(&bucket.key).arg(bucket.last_id.to_string());
        let answer = self.engine.router().command(&bucket.key, LinkUse::Reads, command).await?;
        let entries = read_entries(answer)?;
        let bucket = &mut self.buckets[at];
        let Some(last) = entries.last() else { return Ok(()) };
        // So many at once may follow on others that were dropped already.
        let is_missing = entries.len() >= BUCKET_CHANGES_MAX;
        bucket.last_id = last.id;
        if is_missing {
            bucket.registration.signal.set();
            self.ready.push_back(IndexChange::Bucket(bucket.number));
            return Ok(());
        }
        let task = |entry| Some(IndexChange::Task(field_text(entry, TASK_CHANGE)?.parse().ok()?));
        let run = |entry| Some(IndexChange::Run(field_text(entry, RUN_CHANGE)?.parse().ok()?));
        for change in entries.iter().filter_map(|entry| task(entry).or_else(|| run(entry))) {
            if !self.ready.contains(&change) {
                self.ready.push_back(change);
            }
        }
        Ok(())
    }
}
