//! What earlier workers have left in a spool, because the server was away at their end, or because
//! they were killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::{self, Folder, SpoolError};
use super::record::{self, Record};
use super::thread::{Closed, SpoolThread};
use crate::worker::session::Session;
use crate::worker::shared::Shared;
use crate::worker::uplink::Uplink;
use crate::worker::{Exit, WorkerOptions, server_of};

/// What stands in the log behind the last line of a worker that was killed.
const KILLED: &str =
    "the worker was killed: these are the lines that were in its spool; how the command ended is not known";

/// How its task ends.
const UNKNOWN: Exit = Exit { code: None, signal: None, aborted: true };

/// A session that an earlier worker has left.
#[derive(Clone, Debug)]
pub struct LeftSession {
    /// Its folder.
    pub path: PathBuf,
    /// What it was.
    pub session: Session,
    /// Lines that the server had not confirmed when it was last asked.
    pub lines: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether its command's end is known; if not, the worker was killed.
    pub ended: bool,
}

/// What has become of a session that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The server has so many lines more, and the end: its folder is gone.
    All(u64),
    /// The server does not have so many lines, or only the end: they are still here.
    NotAll(u64),
    /// The server takes no more lines of this task: they are still here.
    TaskEnded(u64),
    /// Someone else has just sent it.
    Gone,
}

/// The sessions in a spool, in the order they began; an error for each that cannot be read or is at
/// work now.
///
/// # Errors
/// `dir` itself cannot be read. One that is not there has no sessions.
pub fn list(dir: &Path) -> Result<Vec<Result<LeftSession, SpoolError>>, SpoolError> {
    let sessions = folder::sessions(dir)?.into_iter().map(|path| look(&path));
    Ok(sessions.filter_map(Result::transpose).collect())
}

fn look(path: &Path) -> Result<Option<LeftSession>, SpoolError> {
    let Some(folder) = Folder::open(path)? else { return Ok(None) };
    let left = folder.left().map_err(|source| SpoolError::Io { path: path.to_owned(), source })?;
    let (path, session) = (path.to_owned(), folder.session);
    let ended = left.end.is_some_and(|end| end.exit != UNKNOWN);
    Ok(Some(LeftSession { path, session, lines: left.lines, bytes: left.bytes, ended }))
}

/// How many sessions nobody is at work on, without reading their lines.
pub(in crate::worker) fn count(dir: &Path) -> usize {
    let sessions = folder::sessions(dir).unwrap_or_default();
    sessions.iter().filter(|path| matches!(Folder::open(path), Ok(Some(_)))).count()
}

/// Sends a session that was left, as the session that it was, so that the server drops what it has;
/// `options.task` names the task (another than it was, for one that takes no more lines). A worker that
/// was killed is said to be, and its task ends as aborted. What was sent goes from the disk as the
/// server confirms it.
///
/// # Errors
/// The folder cannot be read, or someone is at work on it; the options' URL is none.
pub async fn send(options: WorkerOptions, path: &Path) -> Result<Sent, SpoolError> {
    let io = |source| SpoolError::Io { path: path.to_owned(), source };
    let opened = {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let Some(folder) = Folder::open(&path)? else { return Ok(None) };
            let left = folder.left().map_err(|source| SpoolError::Io { path, source })?;
            Ok(Some((folder, left)))
        })
    };
    let opened = opened.await.map_err(|error| io(std::io::Error::other(error)))??;
    let server = server_of(&options).map_err(|error| io(std::io::Error::other(error)))?;
    let Some((folder, left)) = opened else { return Ok(Sent::Gone) };
    let session = Session { task: options.task.clone(), ..folder.session.clone() };
    let shared = Arc::new(Shared::new(options.masks.clone()));
    let acked = left.acked.max(left.first_seq.saturating_sub(1));
    let last_seq = left.end.map_or(left.last_seq, |end| left.last_seq.max(end.seq - 1));
    shared.take_over(acked, last_seq, left.lines, left.end);
    if left.end.is_none() {
        shared.finish_left(UNKNOWN, KILLED);
    }
    let thread = SpoolThread::start(folder, last_seq, 0, &shared, Arc::clone(&options.notes)).map_err(io)?;
    let uplink = Uplink::new(options, server, session, Arc::clone(&shared)).patient();
    let delivery = Box::pin(uplink.run()).await;
    let closed = thread.close().await;
    Ok(match (delivery.complete && closed == Closed::Removed, shared.was_refused()) {
        (true, _) => Sent::All(left.lines),
        (false, true) => Sent::TaskEnded(delivery.undelivered_lines),
        (false, false) => Sent::NotAll(delivery.undelivered_lines),
    })
}

/// Reads a segment's bytes: how many lines it has, and how many of its bytes are whole records. For
/// those who test it with bytes of their own.
pub fn scan_segment(bytes: &[u8]) -> (u64, usize) {
    let (records, valid) = record::records(bytes);
    (records.iter().filter(|record| matches!(record, Record::Line(..))).count() as u64, valid)
}
