//! Keeping the tasks whose buckets this server has leased: archiving, sealing and losing them.
//!
//! A step reads the lines from Redis, not from the copy, so that another server can continue it at any point:
//!
//! ```text
//! running, beyond the live window: lines ─> frames of the working file ─> segment object ─> `archived`, which trims the stream
//! ended: the rest ─> working file, sealed ─> log object ─> record object ─> `sealed`, which removes the stream ─> segments deleted
//! ```
//!
//! The last step of each row is a compare-and-set. An object whose step was refused is deleted.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::super::record::TaskRecord;
use super::super::registry::Tasks;
use super::super::task::TaskHandle;
use super::super::{LineBatch, TasksError};
use super::SharedStore;
use super::leases::Leases;
use super::mirror::{WORKER_TTL, body_of, origin_of};
use super::publish::SealedLog;
use super::record::RecordFields;
use crate::archive::{Archive, ArchiveError, Archives};
use crate::home::ObjectName;
use crate::home::redis::{ArchivedLines, Fence, KeepReply, SharedEntry, SharedEvent, SharedStatus, SharedTask};
use crate::model::{Channel, EntryId, Integrity, Line, LineText, TaskId, TaskStatus, Timestamp};

/// Interval between two rounds over the leased tasks.
const ROUND_INTERVAL: Duration = Duration::from_millis(500);
/// Lines beyond the live window that make a segment worthwhile, and the most in one.
const SEGMENT_LINES_MIN: u64 = 10_000;
const SEGMENT_LINES_MAX: u64 = 100_000;
/// Approximate maximum bytes of a segment, which is read as a whole.
const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Tasks that are archived or sealed concurrently.
const CONCURRENT_STEPS: usize = 8;
/// Delay before a failed step is repeated.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// Interval between two checks of retention.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(30);
/// Longest wait for the copy before the errors of an ended log are counted.
const COUNT_WAIT: Duration = Duration::from_secs(2);

/// Keeps the tasks of the leased buckets.
pub(super) struct Keeper {
    tasks: Tasks,
    shared: SharedStore,
    /// Working files.
    files: Archives,
    steps: Arc<Semaphore>,
    /// Earliest time of the next step of a task.
    busy: Arc<parking_lot::Mutex<HashMap<TaskId, Instant>>>,
}

impl Keeper {
    /// Creates the keeper with working files in this folder.
    pub(super) fn open(tasks: Tasks, shared: SharedStore, folder: PathBuf) -> Result<Self, ArchiveError> {
        let files = Archives::open(&folder)?;
        Ok(Self { tasks, shared, files, steps: Arc::new(Semaphore::new(CONCURRENT_STEPS)), busy: Arc::default() })
    }

    /// Runs until the store closes.
    pub(super) async fn run(self) {
        let closing = self.tasks.inner.closing.clone();
        let mut leases = Leases::new(self.shared.engine.clone(), self.tasks.limits().keeper_lease);
        let mut changed = self.tasks.inner.changes.subscribe();
        let mut last_cleanup: Option<Instant> = None;
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                () = tokio::time::sleep(ROUND_INTERVAL) => {}
                // An ended task need not wait for the next round.
                _ = changed.changed() => tokio::time::sleep(ROUND_INTERVAL / 25).await,
            }
            changed.mark_unchanged();
            if let Err(error) = leases.renew().await {
                tracing::warn!(%error, "failed to renew the leases of tasks; another server keeps them");
                continue;
            }
            // Retention counts all tasks: one server applies it.
            if leases.holds(0) && last_cleanup.is_none_or(|at| at.elapsed() >= CLEANUP_INTERVAL) {
                last_cleanup = Some(Instant::now());
                if let Err(error) = self.tasks.apply_retention().await {
                    tracing::warn!(%error, "failed to apply retention; will retry");
                }
            }
            let open: Vec<TaskHandle> = self.tasks.inner.open.lock().values().cloned().collect();
            for task in open {
                if let Some(fence) = leases.fence_of(task.id()) {
                    self.keep(task, fence);
                }
            }
        }
        leases.release().await;
    }

    /// Starts the next step of a task, if there is one.
    fn keep(&self, task: TaskHandle, fence: Fence) {
        let Some(mut state) = task.inner.shared.as_ref().and_then(|shared| shared.state()) else { return };
        if let Some(stream) = task.stream() {
            // The state is reported when anything but the lines changes.
            let tip = stream.tip();
            (state.last_line, state.last_id) = (state.last_line.max(tip.last_line), state.last_id.max(tip.last_id));
        }
        let (window, now_ms) = (self.tasks.inner.options.limits.live_window_lines, self.shared.now_ms());
        let step = match state.status {
            SharedStatus::Ended => Step::Seal,
            SharedStatus::Running if state.last_line - state.archived > window + SEGMENT_LINES_MIN => {
                Step::Archive(state.last_line - window)
            }
            SharedStatus::Running if task.is_lost(&state, now_ms, self.tasks.limits().worker_grace) => Step::Lose,
            SharedStatus::Running if task.has_expired(&state, now_ms, self.tasks.limits().journal_expiry) => {
                Step::Expire
            }
            SharedStatus::Running | SharedStatus::Sealed => return,
        };
        let now = Instant::now();
        let mut busy = self.busy.lock();
        busy.retain(|_, until| *until > now);
        if busy.contains_key(task.id()) {
            return;
        }
        // Longer than a step takes; removed when it is done.
        busy.insert(task.id().clone(), now + Duration::from_secs(3600));
        drop(busy);
        let work =
            Work { tasks: self.tasks.clone(), shared: self.shared.clone(), files: self.files.clone(), task, fence };
        let (busy, steps) = (self.busy.clone(), self.steps.clone());
        self.tasks.inner.tracker.spawn(async move {
            let Ok(_permit) = steps.acquire().await else { return };
            let done = Box::pin(work.run(step, state)).await;
            let id = work.task.id();
            match done {
                Ok(()) => busy.lock().remove(id),
                Err(error) => {
                    if !work.task.is_removed() {
                        tracing::warn!(task = %id, %error, "failed to archive a task; will retry");
                    }
                    busy.lock().insert(id.clone(), Instant::now() + RETRY_DELAY)
                }
            };
        });
    }
}

impl TaskHandle {
    /// Reports whether nothing was written to the task for `age_max`, and no worker is attached.
    fn has_expired(&self, state: &SharedTask, now_ms: u64, age_max: Duration) -> bool {
        let age = now_ms.saturating_sub(state.last_id.ms.max(state.created_ms));
        !self.has_worker() && u128::from(age) >= age_max.as_millis()
    }

    /// Reports whether the task's worker has been silent for longer than `grace`.
    fn is_lost(&self, state: &SharedTask, now_ms: u64, grace: Duration) -> bool {
        if self.has_worker() {
            return false;
        }
        // A server that was killed has not withdrawn its workers.
        let ttl = u64::try_from(WORKER_TTL.as_millis()).unwrap_or(u64::MAX);
        let announced = state.workers.iter().map(|(_, until)| until.saturating_sub(ttl)).max();
        self.with_record(|record| {
            let seen = record.last_seen.unwrap_or(record.created).as_millis().max(state.last_id.ms);
            let silence = now_ms.saturating_sub(seen.max(announced.unwrap_or_default()));
            record.worker && record.status == TaskStatus::Running && u128::from(silence) > grace.as_millis()
        })
    }
}

/// A step of keeping a task.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Archive the lines up to this one.
    Archive(u64),
    Seal,
    Lose,
    /// End without a result: nothing was written for long.
    Expire,
}

/// One step of one task.
struct Work {
    tasks: Tasks,
    shared: SharedStore,
    files: Archives,
    task: TaskHandle,
    fence: Fence,
}

impl Work {
    async fn run(&self, step: Step, state: SharedTask) -> Result<(), TasksError> {
        match step {
            Step::Archive(through) => self.archive(&state, through).await,
            Step::Seal => self.seal(&state).await,
            Step::Lose => self.lose().await,
            Step::Expire => self.expire(&state).await,
        }
    }

    /// Writes a segment.
    async fn archive(&self, state: &SharedTask, through: u64) -> Result<(), TasksError> {
        let id = self.task.id();
        let archive = self.working_file(state).await?;
        let (first, before) = (state.archived + 1, archive.bytes());
        let last_id =
            self.push_lines(&archive, through.min(state.archived + SEGMENT_LINES_MAX), SEGMENT_BYTES_MAX).await?;
        let last = archive.last_line();
        let Some(last_id) = last_id.filter(|_| last >= first) else { return Ok(()) };
        let (files, of) = (self.files.clone(), id.clone());
        let bytes = tokio::task::spawn_blocking(move || files.read_growing(&of, before)).await;
        let bytes = bytes.map_err(|_| TasksError::Closed)??;
        let name = ObjectName::Segment { task: id.clone(), birth: state.birth, first, last, fence: self.fence };
        self.shared.objects.put_new(&name, bytes.into()).await?;
        let object = name.to_string();
        let lines = ArchivedLines { from: first, to: last, object: &object, last_id };
        match self.shared.engine.archived(id, state.birth, &lines, self.fence).await? {
            KeepReply::Done => tracing::debug!(task = %id, first, last, "archived lines"),
            KeepReply::Stale(_) | KeepReply::Removed => {
                tracing::info!(task = %id, first, last, "another server archived the same lines");
                self.shared.objects.delete(&name).await?;
                self.files.remove(id)?;
            }
        }
        Ok(())
    }

    /// Seals an ended log.
    async fn seal(&self, state: &SharedTask) -> Result<(), TasksError> {
        let id = self.task.id();
        let fields = RecordFields::from_pairs(&state.record);
        let blank = TaskRecord::new(state.birth);
        let mut record = fields.record(&blank)?;
        let archive = self.working_file(state).await?;
        self.push_lines(&archive, state.last_line, u64::MAX).await?;
        let (mut tally, report) = (archive.totals().1, fields.report());
        let after = archive.last_line();
        if after < state.last_line {
            tally.add_hole(after + 1, state.last_line, crate::model::GapReason::Trimmed);
        }
        let session = report.session.as_ref().map(|last| last.session.as_str());
        let mut integrity = Integrity::compare(&tally, session, report.totals, record.other_workers == 0);
        if let Some(max) = self.tasks.inner.options.limits.task_bytes_max {
            archive.truncate_middle(max)?;
            for hole in archive.holes() {
                integrity.add_hole(hole.from, hole.to, crate::model::GapReason::Quota);
            }
        }
        record.counts = self.counts(state.last_line).await;
        record.first_line = archive.first_line();
        (record.lines, record.bytes, record.skipped_lines) = (state.last_line, state.bytes, state.skipped);
        record.own_lines = tally.own_lines().unwrap_or(0);
        for (session, seq) in &state.sessions {
            record.set_session_seq(session.clone(), *seq);
        }
        if let Some(last) = report.session {
            record.set_session_seq(last.session, last.seq);
        }
        let verdict = integrity.clone();
        let sealed = tokio::task::spawn_blocking(move || archive.seal(Some(&verdict))).await;
        record.artifact = Some(sealed.map_err(|_| TasksError::Closed)??);
        record.integrity = Some(integrity.clone());
        let log =
            SealedLog { shared: &self.shared, id, birth: state.birth, last_line: state.last_line, fence: self.fence };
        let published = log.publish(&self.files.sealed_path(id), &record).await;
        self.files.remove(id)?;
        if published? {
            self.task.count_integrity(&integrity);
        }
        Ok(())
    }

    /// Counts the errors of the log, if the copy has it.
    async fn counts(&self, last_line: u64) -> Option<crate::model::ErrorCounts> {
        let stream = self.task.stream()?;
        let mut tip = stream.watch();
        let arrived = tip.wait_for(|tip| tip.removed || tip.last_line >= last_line);
        tokio::time::timeout(COUNT_WAIT, arrived).await.ok()?.ok()?;
        self.task.count_at_end().await
    }

    /// Returns the working file with the lines that are archived.
    async fn working_file(&self, state: &SharedTask) -> Result<Arc<Archive>, TasksError> {
        let id = self.task.id();
        let existing = self.files.archive(id, None)?;
        if existing.last_line() == state.archived && !existing.is_sealed() {
            return Ok(Arc::new(existing));
        }
        drop(existing);
        self.files.remove(id)?;
        let mut bytes = Vec::new();
        for segment in &state.segments {
            let name = segment.parse().map_err(|_| super::mirror::damaged(id, segment))?;
            bytes.extend_from_slice(&self.shared.objects.get(&name).await?);
        }
        if !bytes.is_empty() {
            let (files, of) = (self.files.clone(), id.clone());
            let written = tokio::task::spawn_blocking(move || files.write_growing(&of, &bytes)).await;
            written.map_err(|_| TasksError::Closed)??;
        }
        Ok(Arc::new(self.files.archive(id, None)?))
    }

    /// Appends lines from Redis to the working file, through this one, or until about `bytes` were written. Returns the id
    /// of the last one.
    async fn push_lines(
        &self,
        archive: &Arc<Archive>,
        through: u64,
        bytes: u64,
    ) -> Result<Option<EntryId>, TasksError> {
        let (id, birth) = (self.task.id(), self.task.birth());
        let after = archive.id_range().map_or(EntryId::MIN, |(_, last)| last);
        let (mut last, mut done) = (None, archive.last_line());
        let mut tail = self.shared.engine.tail(id, birth, after, done);
        let begin = archive.bytes();
        while done < through && archive.bytes() - begin < bytes {
            let entries = match tail.next().await? {
                SharedEvent::Entries(entries) => entries,
                // It has all entries of this moment.
                SharedEvent::State(state) if state.last_line <= done => break,
                SharedEvent::State(_) => continue,
                SharedEvent::Truncated { .. } | SharedEvent::Gone => return Err(TasksError::Removed(id.clone())),
            };
            done = entries.last().map_or(done, |entry| entry.n);
            let archive = archive.clone();
            let pushed = tokio::task::spawn_blocking(move || push_entries(&archive, &entries, through));
            last = pushed.await.map_err(|_| TasksError::Closed)??.or(last);
        }
        let archive = archive.clone();
        tokio::task::spawn_blocking(move || archive.sync()).await.map_err(|_| TasksError::Closed)??;
        Ok(last)
    }

    /// Ends a task that nothing was written to for long. It stays lost, and its log is sealed.
    async fn expire(&self, state: &SharedTask) -> Result<(), TasksError> {
        let last = Timestamp::from_millis(state.last_id.ms.max(state.created_ms));
        let before = self.task.with_record(TaskRecord::clone);
        let lost = TaskRecord { status: TaskStatus::Lost, ended: Some(before.ended.unwrap_or(last)), ..before.clone() };
        let fields = RecordFields::of(&before).changed(&lost);
        self.shared.engine.end(self.task.id(), state.birth, &fields, None).await?;
        Ok(())
    }

    /// Marks a task as lost.
    async fn lose(&self) -> Result<(), TasksError> {
        let grace = self.tasks.limits().worker_grace;
        let text = format!("the worker has been silent for {grace:?}: the task is lost unless the worker reconnects");
        let mut batch = LineBatch::new();
        let (timestamp, channel) = (Timestamp::now(), Channel::Internal);
        batch.push(&LineText { timestamp, channel, text: text.into(), ..LineText::default() });
        self.task.append_unlimited(batch).await?.await?;
        self.task.update_record(|record| record.status = TaskStatus::Lost).await?;
        self.tasks.inner.tasks_lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

/// Appends entries to an archive, through this line. Returns the id of the last one.
fn push_entries(archive: &Archive, entries: &[SharedEntry], through: u64) -> Result<Option<EntryId>, ArchiveError> {
    let mut last = None;
    for entry in entries.iter().filter(|entry| entry.n <= through) {
        let body = body_of(entry);
        archive.push(&line_of(entry.n, entry.id, body.to_line(entry.id)), origin_of(entry))?;
        last = Some(entry.id);
    }
    Ok(last)
}

fn line_of(n: u64, id: EntryId, line: LineText<'_>) -> Line<'_> {
    let LineText { timestamp, channel, partial, lossy, text } = line;
    Line { n, id, timestamp, channel, line: text, partial, lossy }
}
