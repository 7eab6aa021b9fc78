//! One thread for each pipe of the child: reads, hands over, shows. Only this process's own
//! terminal can slow it down, never the network.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::Notes;
use super::shared::Shared;
use crate::model::{Channel, Timestamp};

/// Bytes of one read.
const READ_BYTES: usize = 256 * 1024;
/// Asked of the kernel for each pipe: a burst goes on while this process is not scheduled.
pub(super) const PIPE_BYTES: usize = 1024 * 1024;
/// What a pipe may still hold at the child's exit, and one read beside it.
const LEFT_IN_PIPE_MAX: u64 = (PIPE_BYTES + READ_BYTES) as u64;

/// Where raw output goes beside the server: what cannot be written any more is left out.
pub(super) struct Copy {
    /// What it is called in a note.
    pub(super) name: String,
    pub(super) file: Arc<Mutex<Option<File>>>,
}

/// A thread that reads one pipe to its end.
pub(super) struct Reader {
    state: Arc<State>,
    ended: oneshot::Receiver<()>,
}

#[derive(Default)]
struct State {
    /// It waits for the pipe (and not for this process's own terminal).
    waiting: AtomicBool,
    bytes: AtomicU64,
    /// Nobody wants what comes now.
    abandoned: AtomicBool,
}

impl Reader {
    /// Reads `source` to its end on a thread of its own.
    pub(super) fn spawn(
        source: File,
        channel: Channel,
        copies: Vec<Copy>,
        shared: Arc<Shared>,
        notes: Notes,
    ) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let (end, ended) = oneshot::channel();
        let thread_state = Arc::clone(&state);
        std::thread::Builder::new().name(format!("read-{channel}")).spawn(move || {
            read(source, channel, &copies, &shared, &thread_state, &notes);
            // Nobody waits for the end of a reader that was abandoned.
            end.send(()).ok();
        })?;
        Ok(Self { state, ended })
    }

    /// Waits for the end of the pipe, for up to `limit` once it is empty. `false` if something
    /// still holds it open.
    pub(super) async fn drain(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let enough = self.state.bytes.load(Ordering::Relaxed) + LEFT_IN_PIPE_MAX;
        if timeout(limit, &mut self.ended).await.is_ok() {
            return true;
        }
        loop {
            let idle = self.state.waiting.load(Ordering::Relaxed) && Instant::now() >= deadline;
            if idle || self.state.bytes.load(Ordering::Relaxed) >= enough {
                return false;
            }
            // It writes to a terminal that does not take more right now: that is not a leak.
            tokio::select! {
                _ = &mut self.ended => return true,
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.state.abandoned.store(true, Ordering::Relaxed);
    }
}

fn read(mut source: File, channel: Channel, copies: &[Copy], shared: &Shared, state: &State, notes: &Notes) {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        state.waiting.store(true, Ordering::Relaxed);
        let read = source.read(&mut chunk);
        state.waiting.store(false, Ordering::Relaxed);
        let length = match read {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal says EIO when its last user is gone.
            Err(_) => 0,
        };
        if state.abandoned.load(Ordering::Relaxed) {
            return;
        }
        if length == 0 {
            return copy(&shared.end_channel(channel, Timestamp::now()), copies, notes);
        }
        state.bytes.fetch_add(length as u64, Ordering::Relaxed);
        let bytes = chunk.get(..length).unwrap_or_default();
        copy(&shared.push_bytes(channel, bytes, Timestamp::now()), copies, notes);
    }
}

fn copy(bytes: &[u8], copies: &[Copy], notes: &Notes) {
    for copy in copies {
        let mut file = copy.file.lock();
        let Some(Err(error)) = file.as_mut().map(|file| write_all(file, bytes)) else { continue };
        *file = None;
        // `tasktail run -- make | head` is no fault.
        if error.kind() != io::ErrorKind::BrokenPipe {
            notes(&format!("cannot write to {}: {error}; the task goes on without", copy.name));
        }
    }
}

/// Writes everything, also to a terminal that someone has made non-blocking.
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
