//! Sessions that earlier workers left in a spool, because the server was unreachable at their end or because
//! they were killed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::session::WorkerSession;
use super::shared::SharedBuffer;
use super::spool::{SessionFolder, SpoolCloseOutcome, SpoolError, SpoolKeeper, is_session_of, list_sessions};
use super::uplink::Uplink;
use super::{Exit, WorkerOptions, server_of};
use crate::model::TaskId;

/// Internal line after the last line of a killed worker.
const KILLED_MESSAGE: &str =
    "the worker was killed; these lines were recovered from its spool, and the exit status is unknown";

/// Result of the task of a killed worker.
const UNKNOWN_EXIT: Exit = Exit { code: None, signal: None, aborted: true };

/// A session left by an earlier worker.
#[derive(Clone, Debug)]
pub struct UnsentSession {
    /// Path of its folder.
    pub path: PathBuf,
    /// Details of the session.
    pub session: WorkerSession,
    /// Lines of the command that the server had not confirmed, or had asked to keep.
    pub lines: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The end of its command is recorded; otherwise the worker was killed.
    pub ended: bool,
}

/// The outcome of sending a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The server has confirmed this many more lines and the end; the folder was removed.
    Complete(u64),
    /// The server has not confirmed this many lines, or only the end; they are still in the folder.
    Incomplete(u64),
    /// The server accepts no more lines of this task; this many are still in the folder.
    TaskEnded(u64),
    /// Another process has just sent the session.
    Missing,
}

/// Returns the sessions in a spool, or only those of one task, oldest first, with an error for each that is in use or
/// cannot be read.
///
/// # Errors
/// `dir` itself cannot be read. A missing `dir` has no sessions.
pub fn list(dir: &Path, task: Option<&TaskId>) -> Result<Vec<Result<UnsentSession, SpoolError>>, SpoolError> {
    // Sessions of other tasks are not opened: they may be in use.
    let wanted = |path: &PathBuf| task.is_none_or(|task| is_session_of(path, task));
    let sessions = list_sessions(dir)?.into_iter().filter(wanted).map(|path| inspect(&path));
    Ok(sessions.filter_map(Result::transpose).collect())
}

fn inspect(path: &Path) -> Result<Option<UnsentSession>, SpoolError> {
    let Some(folder) = SessionFolder::open(path)? else { return Ok(None) };
    let (log, cursor) = folder.open_log(false, Arc::new(|_| {}))?;
    let count = cursor.count_rest(&log).map_err(|source| SpoolError::Io { path: path.to_owned(), source })?;
    let (path, session, space) = (path.to_owned(), folder.session, log.space());
    let ended = count.end.is_some_and(|exit| exit != UNKNOWN_EXIT);
    Ok(Some(UnsentSession { path, session, lines: count.lines, bytes: space.end - space.start, ended }))
}

/// Counts the sessions that are not in use, without reading their lines.
pub(super) fn count_unsent(dir: &Path) -> usize {
    let sessions = list_sessions(dir).unwrap_or_default();
    sessions.iter().filter(|path| matches!(SessionFolder::open(path), Ok(Some(_)))).count()
}

/// Sends a session under its original id, so that the server drops duplicates. `options.task` names the task,
/// which may differ from the original if that accepts no more lines. The log reports that a worker was
/// killed, and its task ends as aborted. Confirmed lines are removed from the disk.
///
/// # Errors
/// The folder is in use or cannot be read, or the URL in the options is invalid.
pub async fn send(options: WorkerOptions, path: &Path) -> Result<SendOutcome, SpoolError> {
    let io = |source| SpoolError::Io { path: path.to_owned(), source };
    let opened = {
        let (path, notes) = (path.to_owned(), Arc::clone(&options.notes));
        tokio::task::spawn_blocking(move || {
            let Some(folder) = SessionFolder::open(&path)? else { return Ok(None) };
            let (log, cursor) = folder.open_log(true, notes)?;
            let count = cursor.count_rest(&log).map_err(|source| SpoolError::Io { path, source })?;
            Ok(Some((folder, log, cursor, count)))
        })
    };
    let opened = opened.await.map_err(|error| io(std::io::Error::other(error)))??;
    let server = server_of(&options).map_err(|error| io(std::io::Error::other(error)))?;
    let Some((folder, log, cursor, count)) = opened else { return Ok(SendOutcome::Missing) };
    let session = WorkerSession { task: options.task.clone(), ..folder.session.clone() };
    let log = Arc::new(log);
    let keeper = SpoolKeeper::start(folder, &log, Arc::clone(&options.notes)).map_err(io)?;
    let shared = Arc::new(SharedBuffer::restored(options.masks.clone(), log, cursor));
    if count.end.is_none() {
        shared.defer_end(UNKNOWN_EXIT, KILLED_MESSAGE);
    }
    shared.mark_finished();
    let uplink = Uplink::new(options, server, session, Arc::clone(&shared)).with_keeper(Some(keeper));
    let (delivery, closed) = Box::pin(uplink.deliver_and_close()).await;
    Ok(match (delivery.complete && closed == Some(SpoolCloseOutcome::Removed), shared.is_rejected()) {
        (true, _) => SendOutcome::Complete(count.lines),
        (false, true) => SendOutcome::TaskEnded(delivery.undelivered_lines),
        (false, false) => SendOutcome::Incomplete(delivery.undelivered_lines),
    })
}
