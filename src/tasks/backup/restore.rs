//! Copying a backup to a new data folder.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Gid, Uid, geteuid};

use super::remove_if_exists;
use super::write::{
    AtPath as _, BACKUP_FILE, BackupError, BackupFile, OTHER_FILES, copy_file, copy_tree, newest_backup, sync_all,
};
use crate::store::codec::STORE_FORMAT;
use crate::store::{create_folder, make_private, sync_folder};

/// Folder in the data folder that is being filled.
const PART: &str = "restore.part";

/// A backup could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no backup.
    #[error("{} has no complete backup; use the folder that was given to `tasktail backup`, or one in it", .0.display())]
    NoBackup(PathBuf),
    /// The data folder is in use or has tasks.
    #[error("the data folder {} is not empty; restore to another one with --data", .0.display())]
    NotEmpty(PathBuf),
    /// A newer version wrote it.
    #[error("the backup has store format {found}, this version reads up to {STORE_FORMAT}; use tasktail {version}")]
    Newer {
        /// Its format.
        found: u8,
        /// The version that wrote it.
        version: String,
    },
    /// A file failed.
    #[error(transparent)]
    Io(#[from] BackupError),
}

/// Copies a backup, or the newest one of a folder of backups, to the data folder `data`, which must not exist or be
/// empty. Returns the folder of the backup.
///
/// # Errors
/// There is no backup, the data folder is not empty, or a file cannot be read or written.
pub fn restore(backup: &Path, data: &Path) -> Result<PathBuf, RestoreError> {
    let backup = find(backup)?;
    let about = backup.join(BACKUP_FILE);
    let about: BackupFile =
        fs::read(&about).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other)).at(&about)?;
    if about.store_format > STORE_FORMAT {
        return Err(RestoreError::Newer { found: about.store_format, version: about.version });
    }
    if ["journal", "archive", "tokens.json"].iter().any(|name| data.join(name).exists()) {
        return Err(RestoreError::NotEmpty(data.to_owned()));
    }
    create_folder(data).at(data)?;
    let part = data.join(PART);
    remove_if_exists(&part).at(&part)?;
    for folder in ["archive", "journal"] {
        copy_tree(&backup.join(folder), &part.join(folder))?;
    }
    let others = OTHER_FILES.iter().filter(|name| backup.join(name).is_file());
    for name in others.clone() {
        copy_file(&backup.join(name), &part.join(name), u64::MAX)?;
    }
    make_private(&part).at(&part)?;
    give_to_owner_of(data, &part).at(&part)?;
    sync_all(&part).at(&part)?;
    // The journal last: a folder with a journal is complete.
    for name in others.copied().chain(["archive", "journal"]) {
        fs::rename(part.join(name), data.join(name)).at(&data.join(name))?;
    }
    remove_if_exists(&part).and_then(|()| sync_folder(data)).at(data)?;
    Ok(backup)
}

/// Returns the backup itself, or the newest one in a folder of backups.
fn find(folder: &Path) -> Result<PathBuf, RestoreError> {
    if folder.join(BACKUP_FILE).is_file() {
        return Ok(folder.to_owned());
    }
    let newest = if folder.is_dir() { newest_backup(folder).at(folder)? } else { None };
    newest.ok_or_else(|| RestoreError::NoBackup(folder.to_owned()))
}

/// Gives files that root has restored to the account whose data folder it is.
fn give_to_owner_of(data: &Path, folder: &Path) -> io::Result<()> {
    let owner = data.metadata()?;
    if !geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    give(folder, Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()))
}

fn give(path: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    rustix::fs::chown(path, Some(uid), Some(gid))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}
