//! One `events.jsonl` on its way into its run.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Stamp;
use crate::events::{FileFollower, FollowFileError, FollowFileOptions, FollowNotice, Followed, Identities};
use crate::journal::JournalError;
use crate::model::{Event, EventError, StageCounters};
use crate::runs::{Incoming, RunHandle, RunsError, Source};

/// Before events that could not be stored, or a file that could not be read, are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Since when nothing has happened in a file, and how it looked then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet {
    pub(super) since: Instant,
    pub(super) stamp: Stamp,
}

/// A file that is followed.
pub(super) struct Follow {
    stop: CancellationToken,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// None while there is something to read. Held for a moment.
    quiet: Mutex<Option<Quiet>>,
}

impl Follow {
    /// Begins to follow, in the background.
    pub(super) fn begin(tracker: &TaskTracker, run: RunHandle, path: PathBuf, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared::default());
        let file = File {
            source: format!("file:{}", path.display()).into(),
            path,
            run,
            shared: shared.clone(),
            identities: Identities::default(),
            line: 0,
            too_long: false,
        };
        let (token, stopped) = (stop.clone(), stop.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = file.read() => token.cancel(),
            }
        });
        Self { stop, shared }
    }

    /// Since when nothing has happened, if so.
    pub(super) fn quiet(&self) -> Option<Quiet> {
        *self.shared.quiet.lock()
    }

    /// Whether it is followed no more.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Follows it no more.
    pub(super) fn end(self) {
        self.stop.cancel();
    }
}

struct File {
    path: PathBuf,
    source: Arc<str>,
    run: RunHandle,
    shared: Arc<Shared>,
    identities: Identities,
    /// The last line that was read.
    line: u64,
    /// The rest of the line is to be passed over.
    too_long: bool,
}

impl File {
    fn meter(&self) -> &StageCounters {
        &self.run.meters().runs_folder
    }

    /// Reads for ever; comes back when the store is closed.
    async fn read(mut self) {
        loop {
            let Err(error) = self.follow().await else { return };
            self.meter().failed(&error.to_string());
            tracing::warn!(%error, "a run's file is tried again");
            sleep(RETRY).await;
        }
    }

    async fn follow(&mut self) -> Result<(), FollowFileError> {
        let options = FollowFileOptions { from_start: true, ..FollowFileOptions::default() };
        let mut follower = FileFollower::new(&self.path, options)?;
        self.begin_anew();
        loop {
            match follower.next().await? {
                Followed::Lines { bytes, .. } => {
                    *self.shared.quiet.lock() = None;
                    let events = self.parse(&bytes);
                    if !self.store(events).await {
                        return Ok(());
                    }
                }
                Followed::Notice(notice) => self.notice(&notice),
                Followed::CaughtUp => {
                    let stamp = super::stamp(&self.path);
                    *self.shared.quiet.lock() = Some(Quiet { since: Instant::now(), stamp });
                }
            }
        }
    }

    /// From the begin of a content, which events are the same is counted anew.
    fn begin_anew(&mut self) {
        (self.identities, self.line) = (Identities::default(), 0);
    }

    fn notice(&mut self, notice: &FollowNotice) {
        match notice {
            FollowNotice::Truncated { .. } | FollowNotice::Rewritten => self.begin_anew(),
            // What follows goes on where the old file ended: what is equal in it comes again.
            FollowNotice::Rotated => self.line = 0,
            FollowNotice::Missed { .. } => self.meter().dropped(1),
            FollowNotice::TooLong => self.too_long = true,
            FollowNotice::Waiting => {
                // A run whose file is not there may be let go like any other.
                *self.shared.quiet.lock() = Some(Quiet { since: Instant::now(), stamp: None });
            }
            FollowNotice::Appeared | FollowNotice::Torn | FollowNotice::Late => {}
        }
        if !matches!(notice, FollowNotice::Waiting | FollowNotice::Appeared) {
            tracing::info!(file = %self.path.display(), "{notice}");
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Vec<Incoming> {
        let mut events = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.too_long {
                self.too_long = line.last() != Some(&b'\n');
                if !self.too_long {
                    self.line += 1;
                    self.meter().received(1);
                    self.reject(&EventError::TooLong(crate::events::LINE_HELD_BYTES_MAX));
                }
                continue;
            }
            self.line += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.meter().received(1);
            let text = std::str::from_utf8(line).map_err(|error| EventError::NotJson(error.to_string()));
            match text.and_then(Event::parse) {
                Ok(event) => {
                    self.meter().parsed(1);
                    let source = Some(Source { name: self.source.clone(), seq: Some(self.line) });
                    events.push(Incoming { event: self.identities.identify(&event), source });
                }
                Err(fault) => self.reject(&fault),
            }
        }
        events
    }

    fn reject(&self, fault: &EventError) {
        let text = format!("{}, line {}: {fault}", self.path.display(), self.line);
        self.meter().rejected(fault.reason(), &text);
    }

    /// Gives events to the run, however often that has to be tried; false if it never will be possible.
    async fn store(&self, events: Vec<Incoming>) -> bool {
        loop {
            match self.run.append(&events).await {
                Ok(appended) => {
                    self.meter().delivered(appended.appended + appended.duplicates);
                    self.meter().deduplicated(appended.duplicates);
                    for refused in &appended.rejected {
                        self.reject(&refused.fault);
                    }
                    return true;
                }
                Err(RunsError::Journal(JournalError::Closed)) => return false,
                Err(error) => {
                    self.meter().failed(&error.to_string());
                    tracing::warn!(run = %self.run.id(), %error, "events of a file could not be stored; it is tried again");
                    sleep(RETRY).await;
                }
            }
        }
    }
}
