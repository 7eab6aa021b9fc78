//! An offline look at a data folder: is everything in it that should be, and as it was written?
//!
//! Nothing is changed: archives are only read, and of the store a copy is opened, since opening
//! writes. While a server has the folder its store cannot be copied; then the sealed archives are
//! looked at for themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::record::TaskRecord;
use crate::archive::{ArchiveCheck, Archives};
use crate::model::TaskId;
use crate::store::{OpenError, Store};

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Tasks that have a record.
    pub tasks: u64,
    /// Archives, growing ones too.
    pub archives: u64,
    /// Lines in them.
    pub lines: u64,
    /// Journals.
    pub journals: u64,
    /// Entries in them.
    pub entries: u64,
    /// A server has the folder: records and journals were not looked at.
    pub in_use: bool,
    /// What is wrong.
    pub faults: Vec<VerifyFault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyFault {
    /// Which file or stream, as a person finds it in the data folder.
    pub at: String,
    /// The task, if it is one's.
    pub task: Option<TaskId>,
    /// What is wrong, in words.
    pub what: String,
}

/// Why a folder could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is none, or it is another's.
    #[error("{0} is not a data folder of tasktail: there is neither a journal nor an archive in it")]
    NotOurs(PathBuf),
    /// The system said no.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is no room for the copy of the journal, or it cannot be read.
    #[error(transparent)]
    Copy(#[from] OpenError),
}

/// Looks at a data folder. `progress` is told of bytes as they are looked at, and first, with the
/// second number, how many there are. Blocks; takes as long as reading everything does.
///
/// # Errors
/// It is no data folder, or it cannot be read. What is wrong inside is in the report.
pub fn verify(data: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<VerifyReport, VerifyError> {
    let (journal, archive) = (data.join("journal"), data.join("archive"));
    if !journal.is_dir() && !archive.is_dir() {
        return Err(VerifyError::NotOurs(data.to_owned()));
    }
    let mut verifier = Verifier { archives: Archives::open_read_only(&archive), report: VerifyReport::default() };
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
    let store = verifier.open(&journal, scratch.path())?;
    let mut records = match &store {
        Some(store) => verifier.records(store),
        None => BTreeMap::new(),
    };
    for id in ids {
        verifier.archive(&id, records.remove(&id), &mut |bytes| progress(bytes, None), store.as_ref());
    }
    if let Some(store) = &store {
        for (id, record) in records {
            verifier.without_archive(&id, &record, store);
        }
        verifier.journals(store);
    }
    Ok(verifier.report)
}

struct Verifier {
    archives: Archives,
    report: VerifyReport,
}

impl Verifier {
    fn fault(&mut self, at: impl Into<String>, task: Option<&TaskId>, what: impl Into<String>) {
        self.report.faults.push(VerifyFault { at: at.into(), task: task.cloned(), what: what.into() });
    }

    /// The copy of the store; `None` if there is none that could be looked at.
    fn open(&mut self, journal: &Path, copy: &Path) -> Result<Option<Store>, VerifyError> {
        if !journal.join("db").is_file() {
            self.fault("journal", None, "there is no store: what was known of the tasks is gone");
            return Ok(None);
        }
        match Store::open_copy(journal, copy) {
            Ok(store) => Ok(Some(store)),
            Err(OpenError::InUse { .. }) => {
                self.report.in_use = true;
                Ok(None)
            }
            Err(OpenError::Store(error)) => {
                self.fault("journal", None, format!("the store does not open: {error}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn records(&mut self, store: &Store) -> BTreeMap<TaskId, TaskRecord> {
        let mut records = BTreeMap::new();
        for row in store.tasks() {
            let (id, bytes) = match row {
                Ok(row) => row,
                Err(error) => {
                    self.fault("journal", None, format!("the records of tasks cannot be read: {error}"));
                    break;
                }
            };
            self.report.tasks += 1;
            let name = String::from_utf8_lossy(&id).into_owned();
            match (name.parse::<TaskId>(), TaskRecord::decode(&bytes)) {
                (Ok(id), Ok(record)) => drop(records.insert(id, record)),
                (Err(_), _) => self.fault("journal", None, format!("the record of {name:?}: that is no task's id")),
                (Ok(id), Err(error)) => self.fault("journal", Some(&id), format!("its record: {error}")),
            }
        }
        records
    }

    fn archive(&mut self, id: &TaskId, record: Option<TaskRecord>, read: &mut dyn FnMut(u64), store: Option<&Store>) {
        let [sealed, growing] = self.archives.files(id);
        if self.report.in_use && sealed.is_none() {
            // It grows under our eyes.
            return;
        }
        // A sealed one is what counts; a growing one beside it is a rest that nobody reads.
        let (Some(path), is_sealed) = (sealed.as_ref().or(growing.as_ref()), sealed.is_some()) else { return };
        let at = format!("archive/{}", path.file_name().unwrap_or_default().to_string_lossy());
        self.report.archives += 1;
        let kept = store.and_then(|store| store.stream(id.stream_key().as_bytes()).ok().flatten());
        let kept_from = kept.filter(|stream| stream.first_line <= stream.last_line).map(|stream| stream.first_line);
        let check = match Archives::check(path, is_sealed, kept_from, read) {
            Ok(check) => check,
            Err(error) => return self.fault(at, Some(id), format!("it cannot be read: {error}")),
        };
        self.report.lines += check.lines;
        for fault in &check.faults {
            self.fault(&at, Some(id), fault);
        }
        match (&record, store) {
            (Some(record), Some(store)) => self.against_record(&at, id, record, &check, is_sealed, store),
            (None, Some(_)) => self.fault(at, Some(id), "no record speaks of this archive"),
            _ => {}
        }
    }

    fn against_record(
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
                if artifact.bytes != check.bytes {
                    self.fault(at, Some(id), format!("it has {} bytes, sealed were {}", check.bytes, artifact.bytes));
                } else if artifact.sha256 != check.sha256 {
                    let (is, was) = (&check.sha256, &artifact.sha256);
                    self.fault(at, Some(id), format!("its SHA-256 is {is}, sealed was {was}"));
                }
                if check.last_line > 0 && (record.first_line, record.lines) != (check.first_line, check.last_line) {
                    let (first, last) = (check.first_line, check.last_line);
                    let what = format!(
                        "it has lines {first} to {last}, the record says {} to {}",
                        record.first_line, record.lines
                    );
                    self.fault(at, Some(id), what);
                }
                if check.last_line == 0 && record.first_line > 0 {
                    self.fault(
                        at,
                        Some(id),
                        format!("it holds no line, the record says {} to {}", record.first_line, record.lines),
                    );
                }
                if check.verdict.is_some() && check.verdict != record.integrity {
                    self.fault(at, Some(id), "what its seal says of the worker's count is not what the record says");
                }
            }
            (Some(_), false) => self.fault(at, Some(id), "the record says that it is sealed, and it is not"),
            // A kill came between the seal and its record, or a damaged store has forgotten it: the next start records it.
            (None, true) => {}
            (None, false) => self.joins(at, id, check, store),
        }
    }

    /// Where a growing archive ends its journal goes on.
    fn joins(&mut self, at: &str, id: &TaskId, check: &ArchiveCheck, store: &Store) {
        let Ok(Some(stream)) = store.stream(id.stream_key().as_bytes()) else {
            return self.fault(at, Some(id), "it grows, and there is no journal to grow from");
        };
        let next = check.last_line + 1;
        if stream.first_line > next {
            let to = stream.first_line - 1;
            self.fault(at, Some(id), format!("lines {next} to {to} are in neither the archive nor the journal"));
        }
    }

    fn without_archive(&mut self, id: &TaskId, record: &TaskRecord, store: &Store) {
        let at = format!("archive/{id}.ndjson.zst");
        if record.artifact.is_some() {
            return self.fault(at, Some(id), "the archive is not there");
        }
        if let Ok(Some(stream)) = store.stream(id.stream_key().as_bytes())
            && stream.first_line > 1
        {
            let to = stream.first_line - 1;
            self.fault(at, Some(id), format!("lines 1 to {to} are in neither an archive nor the journal"));
        }
    }

    fn journals(&mut self, store: &Store) {
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
