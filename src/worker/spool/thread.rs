//! The one thread that writes and reads a session's folder: off the way of the child's output, so that
//! a disk that is full or slow costs lines on disk, and never the task's time.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::folder::Folder;
use super::record::{self, Next, Record};
use crate::model::units;
use crate::worker::Notes;
use crate::worker::buffer::{Item, SpoolBatch as Batch, SpoolWork as Work};
use crate::worker::shared::Shared;

/// What was written survives a power cut after this long.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);
/// A disk that does not take what is to be written is asked again after this long.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Written at once.
const PIECE_BYTES: usize = 64 * 1024;
/// At the end the disk has so long to take the rest.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What has become of a folder at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Closed {
    /// The server has everything: it is gone.
    Removed,
    /// It holds what the server has not confirmed.
    Kept,
    /// The same, but not all of it: its disk did not take it.
    KeptInPart,
}

/// The thread, as long as its uplink lives.
#[derive(Debug)]
pub(in crate::worker) struct SpoolThread {
    shared: Arc<Shared>,
    ended: oneshot::Receiver<Closed>,
}

impl SpoolThread {
    /// Starts it over the buffer of `shared`, which must have been told of the spool. Lines up to
    /// `written_to` are in the folder already.
    pub(in crate::worker) fn start(
        folder: Folder,
        written_to: u64,
        disk_bytes_max: u64,
        shared: &Arc<Shared>,
        notes: Notes,
    ) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let now = Instant::now();
        let mut owner = Owner {
            folder,
            disk_bytes_max,
            shared: Arc::clone(shared),
            notes,
            in_hand: Batch::default(),
            written_to,
            failed_at: None,
            synced_at: now,
            acked_noted: 0,
            tried: None,
            overflow_noted: false,
        };
        std::thread::Builder::new().name("spool".into()).spawn(move || {
            let closed = owner.run();
            if closed == Closed::Removed {
                owner.remove();
            }
            // Nobody waits for a worker that was dropped.
            end.send(closed).ok();
        })?;
        Ok(Self { shared: Arc::clone(shared), ended })
    }

    /// Writes what is left, or removes the folder if the server has everything.
    pub(in crate::worker) async fn close(mut self) -> Closed {
        self.shared.close_spool();
        timeout(CLOSE_TIMEOUT, &mut self.ended).await.ok().and_then(Result::ok).unwrap_or(Closed::KeptInPart)
    }
}

impl Drop for SpoolThread {
    fn drop(&mut self) {
        self.shared.close_spool();
    }
}

struct Owner {
    folder: Folder,
    disk_bytes_max: u64,
    shared: Arc<Shared>,
    notes: Notes,
    /// Taken from the buffer and not written yet.
    in_hand: Batch,
    /// Everything up to this number is on disk, or acked.
    written_to: u64,
    /// The last write that failed.
    failed_at: Option<Instant>,
    synced_at: Instant,
    acked_noted: u64,
    /// What reading back was tried for without success: it is tried again when something has changed.
    tried: Option<(u64, u64, u64)>,
    overflow_noted: bool,
}

impl Owner {
    fn run(&mut self) -> Closed {
        let mut acked = 0;
        loop {
            let pause = if self.failed_at.is_some() { RETRY_INTERVAL } else { SYNC_INTERVAL };
            let has_in_hand = !self.in_hand.records.is_empty();
            let (seen, tried, written_to) = (acked, self.tried, self.written_to);
            let Work { batch, acked: now_acked, wanted, overflowed, closed, complete } =
                self.shared.spool_work(has_in_hand, pause, |work| {
                    let wanted = work.wanted.map(|(from, _)| (from, work.acked, written_to));
                    let to_read = wanted.is_some() && wanted != tried;
                    let to_write = !work.batch.records.is_empty();
                    to_read || to_write || work.acked != seen || work.overflowed || work.closed
                });
            acked = now_acked;
            if !has_in_hand {
                self.in_hand = batch;
            }
            if overflowed {
                self.note_overflow();
            }
            self.write(acked, closed);
            if self.folder.reclaim(acked) {
                self.tell();
            }
            if let Some((from, to)) = wanted {
                self.read_back(from, to, acked);
            }
            self.sync(acked);
            if !closed {
                continue;
            }
            if complete {
                return Closed::Removed;
            }
            if self.failed_at.is_some() {
                self.write_end(acked);
                return Closed::KeptInPart;
            }
            if self.in_hand.records.is_empty() && !self.shared.has_records() {
                return if self.folder.sync().is_ok() { Closed::Kept } else { Closed::KeptInPart };
            }
        }
    }

    /// Writes what is in hand, unless the disk has just refused.
    fn write(&mut self, acked: u64, at_once: bool) {
        let refused = |at: Instant| at.elapsed() < RETRY_INTERVAL;
        if self.in_hand.records.is_empty() || (self.failed_at.is_some_and(refused) && !at_once) {
            return;
        }
        if self.in_hand.last_seq <= acked {
            // What the server has need not be written.
            self.written_to = self.in_hand.last_seq;
            self.in_hand = Batch::default();
        }
        match self.write_pieces(acked) {
            Ok(()) => {
                if self.failed_at.take().is_some() {
                    self.note(&format!("the spool in {} takes lines again", self.path().display()));
                }
            }
            Err(error) => {
                if self.failed_at.replace(Instant::now()).is_none() {
                    let why = format!("cannot write to the spool in {}: {error}", self.path().display());
                    self.note(&format!("{why}: lines are only in memory until it can be written again"));
                }
            }
        }
        self.tell();
    }

    /// Piece by piece, so that a disk that is nearly full gets as much as it takes.
    fn write_pieces(&mut self, acked: u64) -> io::Result<()> {
        let records = std::mem::take(&mut self.in_hand.records);
        let mut rest = records.as_slice();
        while let Some((first_seq, length)) = record::first_piece(rest, PIECE_BYTES) {
            let (piece, later) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            if let Err(error) = self.folder.append(first_seq, piece, acked) {
                self.in_hand.records = rest.to_vec();
                return Err(error);
            }
            rest = later;
            self.written_to = record::first_piece(rest, 0).map_or(self.in_hand.last_seq, |(next, _)| next - 1);
        }
        Ok(())
    }

    /// The disk does not take the lines: the end, at least, has a few bytes only.
    fn write_end(&mut self, acked: u64) {
        let Work { batch, .. } = self.shared.spool_work(false, Duration::ZERO, |_| true);
        for records in [&self.in_hand.records, &batch.records] {
            let mut rest = records.as_slice();
            while let Next::Record(record, bytes) = record::next(rest) {
                let end = rest.get(..bytes).unwrap_or_default();
                if let Record::End(said) = record
                    && let Err(error) = self.folder.append(said.seq, end, acked)
                {
                    tracing::debug!(%error, "the end did not get into the spool");
                }
                rest = rest.get(bytes..).unwrap_or_default();
            }
        }
    }

    fn tell(&self) {
        self.shared.spool_has(self.in_hand.records.len(), self.folder.bytes());
    }

    fn note_overflow(&mut self) {
        if std::mem::replace(&mut self.overflow_noted, true) {
            return;
        }
        let why = if self.failed_at.is_some() {
            "cannot be written"
        } else if self.folder.bytes() >= self.disk_bytes_max / 8 * 7 {
            &format!("has reached its limit of {} (spool_bytes_max)", units::show_size(self.disk_bytes_max))
        } else {
            "is too slow for this output"
        };
        self.note(&format!("the spool in {} {why}: lines are skipped", self.path().display()));
    }

    /// Gives the buffer the lines it has no room for before, from number `from` on.
    fn read_back(&mut self, from: u64, to: u64, acked: u64) {
        let (lines_max, bytes_max) = self.shared.spool_room();
        let read = self.folder.read(from, lines_max, bytes_max);
        let (mut first_seq, mut items) = read.unwrap_or_else(|error| {
            self.note(&format!("cannot read the spool in {}: {error}", self.path().display()));
            (from, Vec::new())
        });
        if items.is_empty() {
            (first_seq, items) = lines_of(&self.in_hand.records, from, lines_max);
        }
        let done = match items.is_empty() {
            false => self.shared.refill(first_seq, items),
            // Not there, and not on its way either.
            true if self.written_to >= to => self.shared.lose_up_to(to),
            true => false,
        };
        self.tried = if done { None } else { Some((from, acked, self.written_to)) };
    }

    fn sync(&mut self, acked: u64) {
        if self.synced_at.elapsed() < SYNC_INTERVAL {
            return;
        }
        self.synced_at = Instant::now();
        let noted = if acked > self.acked_noted { self.folder.note_acked(acked) } else { Ok(()) };
        self.acked_noted = acked;
        if let Err(error) = noted.and_then(|()| self.folder.sync()) {
            tracing::debug!(%error, "the spool's disk does not sync");
        }
    }

    fn remove(self) {
        if let Err(error) = self.folder.remove() {
            (self.notes)(&format!("cannot remove the spool, which is not needed any more: {error}"));
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn note(&self, text: &str) {
        (self.notes)(text);
    }
}

/// Lines among these records from number `from_seq` on, without a hole in their numbers.
fn lines_of(mut records: &[u8], from_seq: u64, lines_max: usize) -> (u64, Vec<Item>) {
    let (mut first_seq, mut items) = (from_seq, Vec::new());
    while let Next::Record(record, bytes) = record::next(records) {
        records = records.get(bytes..).unwrap_or_default();
        if let Record::Line(seq, item) = record
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
