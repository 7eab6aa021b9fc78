//! One thread per pipe of the child, which reads, forwards and shows the output. Only this process's terminal
//! can slow it down, never the network.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::NoteFn;
use super::shared::SharedBuffer;
use crate::model::{Channel, Timestamp};

/// Bytes per read.
const READ_BYTES: usize = 256 * 1024;
/// Requested pipe capacity; a burst continues while this process is not scheduled.
pub(super) const PIPE_BYTES: usize = 1024 * 1024;
/// Maximum bytes left in a pipe at the child's exit, plus one read.
const LEFT_IN_PIPE_MAX: u64 = (PIPE_BYTES + READ_BYTES) as u64;

/// A local copy of the raw output. It is abandoned after a write error.
pub(super) struct OutputCopy {
    /// Name for messages.
    pub(super) name: String,
    pub(super) file: Arc<Mutex<Option<File>>>,
}

/// A thread that reads one pipe to its end.
pub(super) struct PipeReader {
    state: Arc<ReaderState>,
    /// The pipe, to look for unread output.
    source: File,
    ended: oneshot::Receiver<()>,
}

#[derive(Default)]
struct ReaderState {
    /// The thread waits for the pipe, not for this process's terminal.
    waiting: AtomicBool,
    bytes: AtomicU64,
    /// The output is no longer wanted.
    abandoned: AtomicBool,
}

impl PipeReader {
    /// Starts a thread that reads `source` to its end.
    pub(super) fn spawn(
        source: File,
        channel: Channel,
        copies: Vec<OutputCopy>,
        shared: Arc<SharedBuffer>,
        notes: NoteFn,
    ) -> io::Result<Self> {
        let state = Arc::new(ReaderState::default());
        let (end, ended) = oneshot::channel();
        let thread_state = Arc::clone(&state);
        let thread_source = source.try_clone()?;
        std::thread::Builder::new().name(format!("read-{channel}")).spawn(move || {
            read_loop(thread_source, channel, &copies, &shared, &thread_state, &notes);
            // The receiver is dropped if the reader was abandoned.
            end.send(()).ok();
        })?;
        Ok(Self { state, source, ended })
    }

    /// Returns `true` if everything written so far was read and copied.
    pub(super) fn has_caught_up(&self) -> bool {
        // In this order: the thread stops waiting before it reads, so output is either unread or being copied.
        !is_readable(&self.source, Some(&Timespec::default())) && self.state.waiting.load(Ordering::SeqCst)
    }

    /// Waits for the end of the pipe, for up to `limit` once it is empty. Returns `false` if a process still
    /// holds it open.
    pub(super) async fn drain(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let enough = self.state.bytes.load(Ordering::Relaxed) + LEFT_IN_PIPE_MAX;
        if timeout(limit, &mut self.ended).await.is_ok() {
            return true;
        }
        loop {
            let idle = self.state.waiting.load(Ordering::SeqCst) && Instant::now() >= deadline;
            if idle || self.state.bytes.load(Ordering::Relaxed) >= enough {
                return false;
            }
            // The thread is blocked by a slow terminal, not by a process that holds the pipe open.
            tokio::select! {
                _ = &mut self.ended => return true,
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.state.abandoned.store(true, Ordering::Relaxed);
    }
}

fn read_loop(
    mut source: File,
    channel: Channel,
    copies: &[OutputCopy],
    shared: &SharedBuffer,
    state: &ReaderState,
    notes: &NoteFn,
) {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        state.waiting.store(true, Ordering::SeqCst);
        is_readable(&source, None);
        state.waiting.store(false, Ordering::SeqCst);
        let length = match source.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal returns EIO once its last user has closed it.
            Err(_) => 0,
        };
        if state.abandoned.load(Ordering::Relaxed) {
            return;
        }
        if length == 0 {
            return write_copies(&shared.finish_channel(channel, Timestamp::now()), copies, notes);
        }
        state.bytes.fetch_add(length as u64, Ordering::Relaxed);
        let bytes = chunk.get(..length).unwrap_or_default();
        write_copies(&shared.push_bytes(channel, bytes, Timestamp::now()), copies, notes);
    }
}

/// Waits up to `limit` for output or the end of the pipe. Unlike `FIONREAD`, it includes output that the kernel has
/// not yet passed from one side of a terminal to the other. An error counts as output: the read that follows
/// reports it.
fn is_readable(source: &File, limit: Option<&Timespec>) -> bool {
    poll(&mut [PollFd::new(&source.as_fd(), PollFlags::IN)], limit) != Ok(0)
}

fn write_copies(bytes: &[u8], copies: &[OutputCopy], notes: &NoteFn) {
    for copy in copies {
        let mut file = copy.file.lock();
        let Some(Err(error)) = file.as_mut().map(|file| write_all(file, bytes)) else { continue };
        *file = None;
        // `tasktail run -- make
        //  head` is not an error.
        if error.kind() != io::ErrorKind::BrokenPipe {
            notes(&format!("cannot write to {}: {error}; the task continues without it", copy.name));
        }
    }
}

/// Writes everything, even to a terminal that was made non-blocking.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&file.as_fd(), PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
