//! The thread that writes and reads a session's folder. It is separate from the child's output, so that a
//! full or slow disk costs lines on disk and never delays the task.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::folder::SessionFolder;
use super::record::{self, NextRecord, SpoolRecord};
use crate::model::units;
use crate::worker::NoteFn;
use crate::worker::buffer::{BufferedLine, SpoolBatch, SpoolWork};
use crate::worker::shared::SharedBuffer;

/// Interval of syncs; written data survives a power cut after this time.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);
/// Delay before a failed write is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes per write.
const PIECE_BYTES: usize = 64 * 1024;
/// Time allowed for the last writes at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a folder after closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum SpoolCloseOutcome {
    /// The server has confirmed everything, and the folder was removed.
    Removed,
    /// The folder holds everything that the server has not confirmed.
    Retained,
    /// The same, but some of it could not be written.
    PartlyRetained,
}

/// A handle to the thread, owned by the uplink.
#[derive(Debug)]
pub(in crate::worker) struct SpoolThread {
    shared: Arc<SharedBuffer>,
    ended: oneshot::Receiver<SpoolCloseOutcome>,
}

impl SpoolThread {
    /// Starts the thread on the buffer of `shared`, whose spool must be open. Lines up to `written_to` are in
    /// the folder already.
    pub(in crate::worker) fn start(
        folder: SessionFolder,
        written_to: u64,
        disk_bytes_max: u64,
        shared: &Arc<SharedBuffer>,
        notes: NoteFn,
    ) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let now = Instant::now();
        let mut spool = SpoolIo {
            folder,
            disk_bytes_max,
            shared: Arc::clone(shared),
            notes,
            unwritten: SpoolBatch::default(),
            written_to,
            failed_at: None,
            synced_at: now,
            acked_recorded: 0,
            failed_read: None,
            overflow_noted: false,
        };
        std::thread::Builder::new().name("spool".into()).spawn(move || {
            let closed = spool.run();
            if closed == SpoolCloseOutcome::Removed {
                spool.remove();
            }
            // The receiver is dropped if the worker was dropped.
            end.send(closed).ok();
        })?;
        Ok(Self { shared: Arc::clone(shared), ended })
    }

    /// Writes the rest, or removes the folder if the server has confirmed everything.
    pub(in crate::worker) async fn close(mut self) -> SpoolCloseOutcome {
        self.shared.close_spool();
        timeout(CLOSE_TIMEOUT, &mut self.ended)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or(SpoolCloseOutcome::PartlyRetained)
    }
}

impl Drop for SpoolThread {
    fn drop(&mut self) {
        self.shared.close_spool();
    }
}

struct SpoolIo {
    folder: SessionFolder,
    disk_bytes_max: u64,
    shared: Arc<SharedBuffer>,
    notes: NoteFn,
    /// Records received from the buffer but not written yet.
    unwritten: SpoolBatch,
    /// Highest number that is on disk or acked.
    written_to: u64,
    /// Time of the failed write that is to be retried.
    failed_at: Option<Instant>,
    synced_at: Instant,
    acked_recorded: u64,
    /// Parameters of an unsuccessful read, which is repeated only after one of them has changed.
    failed_read: Option<(u64, u64, u64)>,
    overflow_noted: bool,
}

impl SpoolIo {
    fn run(&mut self) -> SpoolCloseOutcome {
        let mut acked = 0;
        loop {
            let pause = if self.failed_at.is_some() { RETRY_INTERVAL } else { SYNC_INTERVAL };
            let has_unwritten = !self.unwritten.records.is_empty();
            let (seen, failed_read, written_to) = (acked, self.failed_read, self.written_to);
            let SpoolWork { batch, acked: now_acked, wanted, overflowed, closed, complete } =
                self.shared.spool_work(has_unwritten, pause, |work| {
                    let wanted = work.wanted.map(|(from, _)| (from, work.acked, written_to));
                    let to_read = wanted.is_some() && wanted != failed_read;
                    let to_write = !work.batch.records.is_empty();
                    to_read || to_write || work.acked != seen || work.overflowed || work.closed
                });
            acked = now_acked;
            if !has_unwritten {
                self.unwritten = batch;
            }
            if overflowed {
                self.note_overflow();
            }
            self.write_batch(acked, closed);
            if self.folder.reclaim(acked) {
                self.report_usage();
            }
            if let Some((from, to)) = wanted {
                self.read_back(from, to, acked);
            }
            self.sync(acked);
            if !closed {
                continue;
            }
            if complete {
                return SpoolCloseOutcome::Removed;
            }
            if self.failed_at.is_some() {
                self.write_end(acked);
                return SpoolCloseOutcome::PartlyRetained;
            }
            if self.unwritten.records.is_empty() && !self.shared.has_records() {
                return if self.folder.sync().is_ok() {
                    SpoolCloseOutcome::Retained
                } else {
                    SpoolCloseOutcome::PartlyRetained
                };
            }
        }
    }

    /// Writes the pending records, unless a write has just failed.
    fn write_batch(&mut self, acked: u64, at_once: bool) {
        let just_failed = |at: Instant| at.elapsed() < RETRY_INTERVAL;
        if self.unwritten.records.is_empty() || (self.failed_at.is_some_and(just_failed) && !at_once) {
            return;
        }
        if self.unwritten.last_seq <= acked {
            // Confirmed lines need not be written.
            self.written_to = self.unwritten.last_seq;
            self.unwritten = SpoolBatch::default();
        }
        match self.write_chunks(acked) {
            Ok(()) => {
                if self.failed_at.take().is_some() {
                    self.note(&format!("the spool in {} accepts lines again", self.path().display()));
                }
            }
            Err(error) => {
                if self.failed_at.replace(Instant::now()).is_none() {
                    let why = format!("cannot write to the spool in {}: {error}", self.path().display());
                    self.note(&format!("{why}; lines are only in memory until it is writable again"));
                }
            }
        }
        self.report_usage();
    }

    /// Writes in chunks, so that a nearly full disk stores as much as fits.
    fn write_chunks(&mut self, acked: u64) -> io::Result<()> {
        let records = std::mem::take(&mut self.unwritten.records);
        let mut rest = records.as_slice();
        while let Some((first_seq, length)) = record::leading_records(rest, PIECE_BYTES) {
            let (piece, later) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            if let Err(error) = self.folder.append(first_seq, piece, acked) {
                self.unwritten.records = rest.to_vec();
                return Err(error);
            }
            rest = later;
            self.written_to = record::leading_records(rest, 0).map_or(self.unwritten.last_seq, |(next, _)| next - 1);
        }
        Ok(())
    }

    /// Writes only the end, a few bytes, after the lines could not be written.
    fn write_end(&mut self, acked: u64) {
        let SpoolWork { batch, .. } = self.shared.spool_work(false, Duration::ZERO, |_| true);
        for records in [&self.unwritten.records, &batch.records] {
            let mut rest = records.as_slice();
            while let NextRecord::Record(record, bytes) = record::next(rest) {
                let end = rest.get(..bytes).unwrap_or_default();
                if let SpoolRecord::End(recorded) = record
                    && let Err(error) = self.folder.append(recorded.seq, end, acked)
                {
                    tracing::debug!(%error, "cannot write the end to the spool");
                }
                rest = rest.get(bytes..).unwrap_or_default();
            }
        }
    }

    fn report_usage(&self) {
        self.shared.report_spool_usage(self.unwritten.records.len(), self.folder.bytes());
    }

    fn note_overflow(&mut self) {
        if std::mem::replace(&mut self.overflow_noted, true) {
            return;
        }
        let why = if self.failed_at.is_some() {
            "is not writable"
        } else if self.folder.bytes() >= self.disk_bytes_max / 8 * 7 {
            &format!("has reached its limit of {} (spool_bytes_max)", units::show_size(self.disk_bytes_max))
        } else {
            "is too slow for this output"
        };
        self.note(&format!("the spool in {} {why}; lines are skipped", self.path().display()));
    }

    /// Reads lines from number `from` on back into the buffer.
    fn read_back(&mut self, from: u64, to: u64, acked: u64) {
        let (lines_max, bytes_max) = self.shared.refill_room();
        let read = self.folder.read(from, lines_max, bytes_max);
        let (mut first_seq, mut items) = read.unwrap_or_else(|error| {
            self.note(&format!("cannot read the spool in {}: {error}", self.path().display()));
            (from, Vec::new())
        });
        if items.is_empty() {
            (first_seq, items) = lines_of(&self.unwritten.records, from, lines_max);
        }
        let done = match items.is_empty() {
            false => self.shared.refill(first_seq, items),
            // The lines are neither on disk nor waiting to be written.
            true if self.written_to >= to => self.shared.replace_lost_up_to(to),
            true => false,
        };
        self.failed_read = if done { None } else { Some((from, acked, self.written_to)) };
    }

    fn sync(&mut self, acked: u64) {
        if self.synced_at.elapsed() < SYNC_INTERVAL {
            return;
        }
        self.synced_at = Instant::now();
        let noted = if acked > self.acked_recorded { self.folder.record_acked(acked) } else { Ok(()) };
        self.acked_recorded = acked;
        if let Err(error) = noted.and_then(|()| self.folder.sync()) {
            tracing::debug!(%error, "cannot sync the spool");
        }
    }

    fn remove(self) {
        if let Err(error) = self.folder.remove() {
            (self.notes)(&format!("cannot remove the spool of a delivered task: {error}"));
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn note(&self, text: &str) {
        (self.notes)(text);
    }
}

/// Returns the consecutive lines among these records from number `from_seq` on.
fn lines_of(mut records: &[u8], from_seq: u64, lines_max: usize) -> (u64, Vec<BufferedLine>) {
    let (mut first_seq, mut items) = (from_seq, Vec::new());
    while let NextRecord::Record(record, bytes) = record::next(records) {
        records = records.get(bytes..).unwrap_or_default();
        if let SpoolRecord::Line(seq, item) = record
            && seq >= from_seq
        {
            if items.is_empty() {
                first_seq = seq;
            } else if items.len() >= lines_max || seq != first_seq + items.len() as u64 {
                break;
            }
            items.push(item);
        }
    }
    (first_seq, items)
}
