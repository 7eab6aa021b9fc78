//! One followed `events.jsonl` and its run.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::RunFileStamp;
use crate::events::{FileFollower, FollowFileError, FollowFileOptions, FollowItem, FollowNotice, Identities, excerpt};
use crate::journal::JournalError;
use crate::model::{EventError, events_in_line};
use crate::runs::{EventSource, IncomingEvent, RunHandle, RunStage, RunsError};

/// Delay before a failed read or append is retried.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The start of a file's idle time, and its stamp at that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleSince {
    pub(super) since: Instant,
    pub(super) stamp: RunFileStamp,
}

/// A handle of a file that is followed in the background.
pub(super) struct FollowedFile {
    stop: CancellationToken,
    idle: SharedIdle,
}

/// `None` while there is something to read. Locked only briefly.
type SharedIdle = Arc<Mutex<Option<IdleSince>>>;

impl FollowedFile {
    /// Starts following a file in the background.
    pub(super) fn start(tracker: &TaskTracker, run: RunHandle, path: PathBuf, stop: CancellationToken) -> Self {
        let idle = SharedIdle::default();
        let file = RunFileReader {
            source: format!("file:{}", path.display()).into(),
            path,
            run,
            idle: idle.clone(),
            identities: Identities::default(),
            line: 0,
            too_long: false,
        };
        let (token, stopped) = (stop.clone(), stop.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = file.run() => token.cancel(),
            }
        });
        Self { stop, idle }
    }

    /// Returns the start of the idle time, if the file is idle.
    pub(super) fn idle_since(&self) -> Option<IdleSince> {
        *self.idle.lock()
    }

    /// Reports whether following has stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Stops following.
    pub(super) fn stop(self) {
        self.stop.cancel();
    }
}

struct RunFileReader {
    path: PathBuf,
    source: Arc<str>,
    run: RunHandle,
    idle: SharedIdle,
    identities: Identities,
    /// Number of the last line read.
    line: u64,
    /// Set while the rest of an overlong line is skipped.
    too_long: bool,
}

impl RunFileReader {
    fn meter(&self) -> RunStage<'_> {
        self.run.stage(|meters| &meters.runs_folder)
    }

    /// Reads until the store is closed.
    async fn run(mut self) {
        loop {
            let Err(error) = self.follow().await else { return };
            self.meter().failed(&error.to_string());
            tracing::warn!(%error, "failed to read a run's file; will retry");
            sleep(RETRY_DELAY).await;
        }
    }

    async fn follow(&mut self) -> Result<(), FollowFileError> {
        let options = FollowFileOptions { from_start: true, ..FollowFileOptions::default() };
        let mut follower = FileFollower::new(&self.path, options)?;
        self.restart();
        loop {
            match follower.next().await? {
                FollowItem::Lines { bytes, .. } => {
                    *self.idle.lock() = None;
                    let events = self.parse(&bytes);
                    if !self.store(events).await {
                        return Ok(());
                    }
                }
                FollowItem::Notice(notice) => self.handle_notice(&notice),
                FollowItem::CaughtUp => {
                    let stamp = super::stamp(&self.path);
                    *self.idle.lock() = Some(IdleSince { since: Instant::now(), stamp });
                }
            }
        }
    }

    /// Resets the identities and the line number for a file that is read from its start.
    fn restart(&mut self) {
        (self.identities, self.line) = (Identities::default(), 0);
    }

    fn handle_notice(&mut self, notice: &FollowNotice) {
        match notice {
            FollowNotice::Truncated { .. } | FollowNotice::Rewritten => self.restart(),
            // The new file continues the old one, so the identities remain valid.
            FollowNotice::Rotated => self.line = 0,
            FollowNotice::Missed { .. } => self.meter().dropped(1),
            FollowNotice::TooLong => self.too_long = true,
            FollowNotice::Waiting => {
                // A missing file counts as idle.
                *self.idle.lock() = Some(IdleSince { since: Instant::now(), stamp: None });
            }
            FollowNotice::Appeared | FollowNotice::Torn | FollowNotice::Late => {}
        }
        if !matches!(notice, FollowNotice::Waiting | FollowNotice::Appeared) {
            tracing::info!(file = %self.path.display(), "{notice}");
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Vec<IncomingEvent> {
        let mut events = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.too_long {
                self.too_long = line.last() != Some(&b'\n');
                if !self.too_long {
                    self.line += 1;
                    self.meter().received(1);
                    self.reject(&EventError::TooLong(crate::events::LINE_HELD_BYTES_MAX), line);
                }
                continue;
            }
            self.line += 1;
            events_in_line(line, &mut |part| {
                self.meter().received(1);
                match part.event {
                    Ok(event) => {
                        self.meter().parsed(1);
                        let source = Some(EventSource { name: self.source.clone(), seq: Some(self.line) });
                        events.push(IncomingEvent { event: self.identities.identify(&event), source });
                    }
                    Err(fault) => self.reject(&fault, line.get(part.offset..).unwrap_or_default()),
                }
            });
        }
        events
    }

    fn reject(&self, fault: &EventError, text: &[u8]) {
        let text = excerpt(text);
        let text = format!("{}, line {}: {fault}: {text}", self.path.display(), self.line);
        self.meter().rejected(fault.reason(), &text);
    }

    /// Appends events to the run, and retries until that succeeds. Returns false if the store is closed.
    async fn store(&self, events: Vec<IncomingEvent>) -> bool {
        loop {
            match self.run.append(&events).await {
                Ok(appended) => {
                    self.meter().delivered(appended.appended + appended.duplicates);
                    self.meter().deduplicated(appended.duplicates);
                    for rejected in &appended.rejected {
                        let event = events.get(rejected.index).map_or("", |incoming| incoming.event.as_str());
                        self.reject(&rejected.fault, event.as_bytes());
                    }
                    return true;
                }
                Err(RunsError::Journal(JournalError::Closed)) => return false,
                Err(error) => {
                    self.meter().failed(&error.to_string());
                    tracing::warn!(run = %self.run.id(), %error, "failed to store events of a file; will retry");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }
}
