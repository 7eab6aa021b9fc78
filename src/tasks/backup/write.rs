//! Writing a snapshot to a folder of backups.

use std::fs::{self, File, FileTimes};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::remove_if_exists;
use crate::model::Timestamp;
use crate::store::codec::STORE_FORMAT;
use crate::store::{create_folder, make_private, sync_folder};

/// Suffix of a backup that is not complete.
const PART_SUFFIX: &str = ".part";
/// The file that describes a complete backup.
pub(super) const BACKUP_FILE: &str = "backup.json";
/// Files of the data folder besides the journal and the archives.
pub(super) const OTHER_FILES: [&str; 4] = ["tokens.json", "tokens.used.json", "share.key", "clock.json"];

/// The contents of [`BACKUP_FILE`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BackupFile {
    /// Time of the snapshot.
    pub(super) created: Timestamp,
    /// Version of the program that wrote it.
    pub(super) version: String,
    /// Format of its store.
    pub(super) store_format: u8,
}

/// The files and bytes that were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// Folder of the backup.
    pub backup: PathBuf,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// Archives that were copied.
    pub copied_archives: u64,
    /// Archives shared with the backup before.
    pub linked_archives: u64,
}

/// A backup could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot back up {}: {source}", path.display())]
pub struct BackupError {
    /// The file or folder.
    path: PathBuf,
    /// The system's error.
    source: io::Error,
}

/// Adds the error's file or folder.
pub(super) trait AtPath<T> {
    fn at(self, path: &Path) -> Result<T, BackupError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, BackupError> {
        self.map_err(|source| BackupError { path: path.to_owned(), source })
    }
}

/// Copies the snapshot in `stage`, with these `files`, to a new folder in `folder`. Sealed archives that the newest
/// backup there has too are linked. `data` is the data folder.
///
/// # Errors
/// A file cannot be read or written. What was copied is removed by the next backup.
pub fn write_backup(
    data: &Path,
    stage: &Path,
    files: &[(String, u64)],
    folder: &Path,
) -> Result<BackupReport, BackupError> {
    create_folder(folder).at(folder)?;
    remove_parts(folder).at(folder)?;
    let created = Timestamp::now();
    let before = newest_backup(folder).at(folder)?;
    let target = folder.join(created.to_string().replace(':', ""));
    let part = with_suffix(&target);
    create_folder(&part.join("archive")).at(&part)?;
    let mut report = BackupReport { backup: target.clone(), ..BackupReport::default() };
    for (name, bytes) in files {
        let (from, to) = (stage.join("archive").join(name), part.join("archive").join(name));
        let known = before.as_ref().map(|before| before.join("archive").join(name));
        if known.is_some_and(|known| link_if_same(&from, *bytes, &known, &to)) {
            report.linked_archives += 1;
        } else {
            report.copied_bytes += copy_file(&from, &to, *bytes)?;
            report.copied_archives += 1;
        }
    }
    report.copied_bytes += copy_tree(&stage.join("journal"), &part.join("journal"))?;
    for name in OTHER_FILES {
        if data.join(name).is_file() {
            copy_file(&data.join(name), &part.join(name), u64::MAX)?;
        }
    }
    let about = BackupFile { created, version: env!("CARGO_PKG_VERSION").to_owned(), store_format: STORE_FORMAT };
    let about = serde_json::to_vec(&about).map_err(io::Error::other).at(&part)?;
    fs::write(part.join(BACKUP_FILE), about).at(&part)?;
    make_private(&part).at(&part)?;
    sync_all(&part).at(&part)?;
    fs::rename(&part, &target).and_then(|()| sync_folder(folder)).at(&target)?;
    Ok(report)
}

/// Returns the newest complete backup in a folder.
pub(super) fn newest_backup(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_part = path.extension().is_some_and(|suffix| format!(".{}", suffix.display()) == PART_SUFFIX);
        if !is_part && path.join(BACKUP_FILE).is_file() && newest.as_ref().is_none_or(|newest| *newest < path) {
            newest = Some(path);
        }
    }
    Ok(newest)
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PART_SUFFIX);
    PathBuf::from(name)
}

/// Removes backups that were not completed.
fn remove_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(PART_SUFFIX);
        if is_ours && path.is_dir() {
            remove_if_exists(&path)?;
        }
    }
    Ok(())
}

/// Links `to` to a file of the backup before, if that has the same contents as the sealed archive `from`: a sealed
/// archive never changes, and a copy has its time.
fn link_if_same(from: &Path, bytes: u64, known: &Path, to: &Path) -> bool {
    if from.extension().is_none_or(|suffix| suffix != "zst") {
        return false;
    }
    let (Ok(new), Ok(old)) = (from.metadata(), known.metadata()) else { return false };
    let is_same = old.len() == bytes
        && new.len() == bytes
        && matches!((new.modified(), old.modified()), (Ok(new), Ok(old)) if new == old);
    is_same && fs::hard_link(known, to).is_ok()
}

/// Copies a folder with its files and folders. Returns the number of bytes copied.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<u64, BackupError> {
    create_folder(to).at(to)?;
    let mut copied = 0;
    for entry in fs::read_dir(from).at(from)? {
        let entry = entry.at(from)?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().at(&path)?;
        if kind.is_dir() {
            copied += copy_tree(&path, &to)?;
        } else if kind.is_file() {
            copied += copy_file(&path, &to, u64::MAX)?;
        }
    }
    Ok(copied)
}

/// Copies the first `bytes` bytes of a file, and its time. Returns the number of bytes copied.
pub(super) fn copy_file(from: &Path, to: &Path, bytes: u64) -> Result<u64, BackupError> {
    let source = File::open(from).at(from)?;
    let modified = source.metadata().and_then(|metadata| metadata.modified()).at(from)?;
    let mut target = File::create_new(to).at(to)?;
    let copied = io::copy(&mut source.take(bytes), &mut target).at(to)?;
    if bytes != u64::MAX && copied != bytes {
        let short = io::Error::new(io::ErrorKind::UnexpectedEof, format!("it has {copied} bytes, not {bytes}"));
        return Err(short).at(from);
    }
    target.set_times(FileTimes::new().set_modified(modified)).at(to)?;
    Ok(copied)
}

/// Makes the files and folders below a folder durable.
pub(super) fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder)
}
