//! The sessions of one file's lines, and what is remembered of them on disk.
//!
//! The server drops a line whose number it has already stored in the same session. So a session must belong to one
//! content: a file that was rewritten with the same first line is sent in another one. What was sent is therefore
//! remembered as a mark of the content, and the next `ship` of the file compares it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::time::Instant;
use ulid::Ulid;

use crate::events::{
    FileFollower, FileIdentity, FileMark, FollowFileError, FollowFileOptions, LostContent, Resumption,
};
use crate::model::TaskId;

/// Subfolder of the data folder.
const FOLDER: &str = "ship";
/// Maximum number of files that are remembered; the least recently sent is forgotten.
const RECORDS_MAX: usize = 10_000;
/// Maximum bytes of a first line that are part of a session's name.
const FIRST_BYTES_MAX: usize = 1024;
/// Maximum number of session names remembered for one file.
const NAMES_MAX: usize = 1024;

/// The record of a file that was sent from its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ShipRecord {
    /// The file, for people who look at the record.
    path: PathBuf,
    session: String,
    mark: FileMark,
}

/// The sessions of one file's lines.
pub(super) struct ShipSessions {
    task: TaskId,
    path: PathBuf,
    /// Path of the record, if there is a data folder.
    record: Option<PathBuf>,
    saved_at: Option<Instant>,
    /// A save has failed, which was reported.
    failed: bool,
    /// The next line is the first of its content.
    at_start: bool,
    /// Session of the next content, which an earlier process has begun to send.
    resumed: Option<String>,
    /// Session of the content before.
    previous: Option<String>,
    used: HashSet<String>,
    lost: Option<String>,
}

impl ShipSessions {
    /// Starts to follow a file from its start, compared with the record of an earlier `ship` to the same task.
    pub(super) fn open(
        data: Option<&Path>,
        task: TaskId,
        path: &Path,
    ) -> Result<(Self, FileFollower), FollowFileError> {
        let record = data.map(|data| data.join(FOLDER).join(record_name(&task, path)));
        let known = record.as_deref().and_then(read_record);
        let mut sessions = Self {
            task,
            path: path.to_owned(),
            record,
            saved_at: None,
            failed: false,
            at_start: true,
            resumed: None,
            previous: None,
            used: HashSet::new(),
            lost: None,
        };
        let Some(known) = known else {
            let options = FollowFileOptions { from_start: true, ..FollowFileOptions::default() };
            return Ok((sessions, FileFollower::new(path, options)?));
        };
        let (follower, resumption) = FileFollower::resume(path, &known.mark)?;
        sessions.used.insert(known.session.clone());
        sessions.lost = lost(&resumption);
        if resumption == Resumption::Continues {
            sessions.resumed = Some(known.session);
        } else {
            sessions.previous = Some(known.session);
        }
        Ok((sessions, follower))
    }

    /// Returns, once, what was lost while the file was not followed.
    pub(super) fn take_lost(&mut self) -> Option<String> {
        self.lost.take()
    }

    /// Returns the session to start with this line, if the line is the first of its content.
    pub(super) fn start(&mut self, identity: Option<FileIdentity>, first: &str) -> Option<String> {
        if !std::mem::take(&mut self.at_start) {
            return None;
        }
        let session = match self.resumed.take() {
            Some(session) => session,
            None => self.name("lines", identity, first),
        };
        self.previous = Some(session.clone());
        Some(session)
    }

    /// Ends the session: other content follows.
    pub(super) fn end(&mut self) {
        self.at_start = true;
    }

    /// Returns the session of a last line that is not complete.
    pub(super) fn name_half(&mut self, identity: Option<FileIdentity>, text: &str) -> String {
        self.name("half", identity, text)
    }

    /// Returns the session of content that starts with this line. The name is the same in the next process.
    fn name(&mut self, what: &str, identity: Option<FileIdentity>, first: &str) -> String {
        let first = first.as_bytes().get(..first.len().min(FIRST_BYTES_MAX)).unwrap_or_default();
        let file = format!("{what}\0{}\0{identity:?}\0", self.task);
        // The session before distinguishes equal contents at different times. Without a record it is unknown.
        let previous = self.previous.as_deref().filter(|_| self.record.is_some()).unwrap_or_default();
        let name = session_name(&[file.as_bytes(), first, previous.as_bytes()]);
        if self.used.len() >= NAMES_MAX {
            self.used.clear();
        }
        if self.used.insert(name.clone()) { name } else { Ulid::generate().to_string() }
    }

    /// Remembers what was sent in this session, unless that was done within `pause`. Reports one failure.
    ///
    /// # Errors
    /// The record cannot be written.
    pub(super) fn save(&mut self, pause: Duration, follower: &FileFollower, session: &str) -> io::Result<()> {
        let Some(record) = &self.record else { return Ok(()) };
        let is_early = self.saved_at.is_some_and(|at| at.elapsed() < pause);
        if is_early || self.failed || self.at_start {
            return Ok(());
        }
        let Some(mark) = follower.mark().filter(|mark| mark.offset() > 0) else { return Ok(()) };
        self.saved_at = Some(Instant::now());
        let written = write_record(record, &ShipRecord { path: self.path.clone(), session: session.to_owned(), mark });
        self.failed = written.is_err();
        written
    }
}

/// Describes the lines that can no longer be read.
fn lost(resumption: &Resumption) -> Option<String> {
    let (change, LostContent { read, compressed }) = match resumption {
        Resumption::Continues => return None,
        Resumption::Rotated(lost) => ("rotated", lost),
        Resumption::Truncated(lost) => ("truncated", lost),
        Resumption::Rewritten(lost) => ("rewritten", lost),
    };
    let mut text = format!(
        "it was {change} while it was not followed, and the old content is gone: lines after its first {read} bytes are missing, if there were any"
    );
    for (n, path) in compressed.iter().enumerate() {
        let begin = if n == 0 { "; they may be in" } else { "," };
        // Writing to a string cannot fail.
        write!(text, "{begin} {}", path.display()).ok();
    }
    Some(text)
}

fn session_name(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    format!("ship-{}", short_hex(&hash.finalize()))
}

fn short_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(16) {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

fn record_name(task: &TaskId, path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut hash = Sha256::new();
    hash.update(task.as_str());
    hash.update([0]);
    hash.update(path.as_os_str().as_encoded_bytes());
    format!("{}.json", short_hex(&hash.finalize()))
}

/// Reads a record; one that is missing or damaged is like none.
fn read_record(path: &Path) -> Option<ShipRecord> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn write_record(path: &Path, record: &ShipRecord) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if !path.exists() {
        forget_oldest(folder)?;
    }
    let mut file = NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, record)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let records: Vec<_> = fs::read_dir(folder)?.filter_map(Result::ok).collect();
    if records.len() < RECORDS_MAX {
        return Ok(());
    }
    let age = |entry: &&fs::DirEntry| entry.metadata().and_then(|metadata| metadata.modified()).ok();
    records.iter().min_by_key(age).map_or(Ok(()), |oldest| fs::remove_file(oldest.path()))
}
