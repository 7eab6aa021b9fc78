//! Offline verification of a data folder: is it complete and unchanged?
//!
//! Nothing is modified. Archives are only read; the store is opened from a copy, because opening writes. While
//! a server uses the folder its store cannot be copied, and only the sealed archives are checked.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::TaskRecord;
use crate::archive::{ArchiveCheck, Archives};
use crate::model::{Artifact, TaskId};
use crate::store::{OpenError, Store};

/// The result of a verification.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Number of tasks with a record.
    pub tasks: u64,
    /// Number of archives, including growing ones.
    pub archives: u64,
    /// Number of archived lines.
    pub lines: u64,
    /// Number of journals.
    pub journals: u64,
    /// Number of journal entries.
    pub entries: u64,
    /// Set if a server uses the folder: records and journals were not checked.
    pub in_use: bool,
    /// Faults found.
    pub faults: Vec<VerifyFault>,
}

/// A fault found by a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyFault {
    /// File or stream, as a path in the data folder.
    pub at: String,
    /// Task that it belongs to, if any.
    pub task: Option<TaskId>,
    /// Description of the fault.
    pub what: String,
}

/// An error that prevented a verification.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The folder does not exist, or it belongs to another program.
    #[error("{0} is not a tasktail data folder: it has neither a journal nor an archive")]
    NotOurs(PathBuf),
    /// Error of the operating system.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The journal could not be copied: it is unreadable, or there is not enough space.
    #[error(transparent)]
    Copy(#[from] OpenError),
}

/// Verifies a data folder. Calls `progress` with the bytes checked since the last call; the first call has the
/// total as its second argument. Blocks for as long as it takes to read everything.
///
/// # Errors
/// The path is not a data folder, or it cannot be read. Faults inside are part of the report.
pub fn verify(data: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<VerifyReport, VerifyError> {
    let (journal, archive) = (data.join("journal"), data.join("archive"));
    if !journal.is_dir() && !archive.is_dir() {
        return Err(VerifyError::NotOurs(data.to_owned()));
    }
    let mut verifier = DataVerifier { archives: Archives::open_read_only(&archive), report: VerifyReport::default() };
    let ids = match archive.is_dir() {
        true => verifier
            .archives
            .ids()
            .map_err(|error| VerifyError::Io { path: archive, source: io::Error::other(error) })?,
        false => Default::default(),
    };
    let files = ids.iter().flat_map(|id| verifier.archives.files(id)).flatten();
    let bytes = files.filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum();
    progress(0, Some(bytes));

    let scratch = tempfile::tempdir().map_err(|source| VerifyError::Io { path: std::env::temp_dir(), source })?;
    let store = verifier.open_copy(&journal, scratch.path())?;
    let mut records = match &store {
        Some(store) => verifier.read_records(store),
        None => BTreeMap::new(),
    };
    for id in ids {
        verifier.check_archive(&id, records.remove(&id), &mut |bytes| progress(bytes, None), store.as_ref());
    }
    if let Some(store) = &store {
        for (id, record) in records {
            verifier.check_without_archive(&id, &record, store);
        }
        verifier.check_journals(store);
    }
    Ok(verifier.report)
}

struct DataVerifier {
    archives: Archives,
    report: VerifyReport,
}

impl DataVerifier {
    fn fault(&mut self, at: impl Into<String>, task: Option<&TaskId>, what: impl Into<String>) {
        self.report.faults.push(VerifyFault { at: at.into(), task: task.cloned(), what: what.into() });
    }

    /// Opens a copy of the store; returns `None` if the store is missing, in use or damaged.
    fn open_copy(&mut self, journal: &Path, copy: &Path) -> Result<Option<Store>, VerifyError> {
        if !journal.join("db").is_file() {
            self.fault("journal", None, "the store is missing, and with it the records of all tasks");
            return Ok(None);
        }
        match Store::open_copy(journal, copy) {
            Ok(store) => Ok(Some(store)),
            Err(OpenError::InUse { .. }) => {
                self.report.in_use = true;
                Ok(None)
            }
            Err(OpenError::Store(error)) => {
                self.fault("journal", None, format!("cannot open the store: {error}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read_records(&mut self, store: &Store) -> BTreeMap<TaskId, TaskRecord> {
        let mut records = BTreeMap::new();
        for row in store.tasks() {
            let (id, bytes) = match row {
                Ok(row) => row,
                Err(error) => {
                    self.fault("journal", None, format!("cannot read the records of tasks: {error}"));
                    break;
                }
            };
            self.report.tasks += 1;
            let name = String::from_utf8_lossy(&id).into_owned();
            match (name.parse::<TaskId>(), TaskRecord::decode(&bytes)) {
                (Ok(id), Ok(record)) => drop(records.insert(id, record)),
                (Err(_), _) => self.fault("journal", None, format!("the record of {name:?}: not a task id")),
                (Ok(id), Err(error)) => self.fault("journal", Some(&id), format!("cannot read its record: {error}")),
            }
        }
        records
    }

    fn check_archive(
        &mut self,
        id: &TaskId,
        record: Option<TaskRecord>,
        read: &mut dyn FnMut(u64),
        store: Option<&Store>,
    ) {
        let [sealed, growing] = self.archives.files(id);
        if self.report.in_use && sealed.is_none() {
            // The server is writing it.
            return;
        }
        // The sealed archive is the valid one; a growing one beside it is a leftover that is never read.
        let (Some(path), is_sealed) = (sealed.as_ref().or(growing.as_ref()), sealed.is_some()) else { return };
        let at = format!("archive/{}", path.file_name().unwrap_or_default().to_string_lossy());
        self.report.archives += 1;
        let kept = store.and_then(|store| store.stream(id.stream_key().as_bytes()).ok().flatten());
        let kept_from = kept.filter(|stream| stream.first_line <= stream.last_line).map(|stream| stream.first_line);
        let check = match Archives::check(path, is_sealed, kept_from, read) {
            Ok(check) => check,
            Err(error) => return self.fault(at, Some(id), format!("cannot read the archive: {error}")),
        };
        self.report.lines += check.lines;
        for fault in &check.faults {
            self.fault(&at, Some(id), fault);
        }
        match (&record, store) {
            (Some(record), Some(store)) => self.check_record(&at, id, record, &check, is_sealed, store),
            (None, Some(_)) => self.fault(at, Some(id), "this archive has no record"),
            _ => {}
        }
    }

    fn check_record(
        &mut self,
        at: &str,
        id: &TaskId,
        record: &TaskRecord,
        check: &ArchiveCheck,
        is_sealed: bool,
        store: &Store,
    ) {
        match (&record.artifact, is_sealed) {
            (Some(artifact), true) => {
                for what in sealed_faults(record, artifact, check) {
                    self.fault(at, Some(id), what);
                }
            }
            (Some(_), false) => self.fault(at, Some(id), "it is not sealed, but its record is"),
            // A kill between the seal and its record, or a damaged store: the next start restores the record.
            (None, true) => {}
            (None, false) => self.check_continuity(at, id, check, store),
        }
    }

    /// Checks that the journal continues where a growing archive ends.
    fn check_continuity(&mut self, at: &str, id: &TaskId, check: &ArchiveCheck, store: &Store) {
        let Ok(Some(stream)) = store.stream(id.stream_key().as_bytes()) else {
            return self.fault(at, Some(id), "it is not sealed, and its journal is missing");
        };
        let next = check.last_line + 1;
        if stream.first_line > next {
            let to = stream.first_line - 1;
            self.fault(at, Some(id), format!("lines {next} to {to} are in neither the archive nor the journal"));
        }
    }

    fn check_without_archive(&mut self, id: &TaskId, record: &TaskRecord, store: &Store) {
        let at = format!("archive/{id}.ndjson.zst");
        if record.artifact.is_some() {
            return self.fault(at, Some(id), "the archive is missing");
        }
        if let Ok(Some(stream)) = store.stream(id.stream_key().as_bytes())
            && stream.first_line > 1
        {
            let to = stream.first_line - 1;
            self.fault(at, Some(id), format!("lines 1 to {to} are in neither an archive nor the journal"));
        }
    }

    fn check_journals(&mut self, store: &Store) {
        let found = store.check_all(|name| TaskId::from_stream_key(name).is_some());
        (self.report.journals, self.report.entries) = (found.streams, found.entries);
        for (name, what) in found.faults {
            let task = TaskId::from_stream_key(&name);
            let at = match name.is_empty() {
                true => "journal".to_owned(),
                false => format!("journal/{}", String::from_utf8_lossy(&name)),
            };
            self.fault(at, task.as_ref(), what);
        }
    }
}

/// Returns the differences between a sealed archive and its record.
pub(super) fn sealed_faults(record: &TaskRecord, artifact: &Artifact, check: &ArchiveCheck) -> Vec<String> {
    let mut faults = Vec::new();
    if artifact.bytes != check.bytes {
        faults.push(format!("it has {} bytes, but {} were sealed", check.bytes, artifact.bytes));
    } else if artifact.sha256 != check.sha256 {
        faults.push(format!("its SHA-256 is {}, but {} was sealed", check.sha256, artifact.sha256));
    }
    let recorded = (record.first_line, record.lines);
    if check.last_line > 0 && recorded != (check.first_line, check.last_line) {
        let (first, last) = (check.first_line, check.last_line);
        faults.push(format!(
            "it has lines {first} to {last}, but its record has {} to {}",
            record.first_line, record.lines
        ));
    }
    if check.last_line == 0 && record.first_line > 0 {
        faults.push(format!("it has no lines, but its record has {} to {}", record.first_line, record.lines));
    }
    if check.verdict.is_some() && check.verdict != record.integrity {
        faults.push("the verification result in its seal differs from its record".to_owned());
    }
    faults
}
