//! Folders whose names survive a power cut.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Syncs a folder. Names created in it are durable only after that.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a folder and its missing parents, with durable names. Does nothing if it exists.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent.unwrap_or(Path::new(".")))
}

/// Copies a folder and its subfolders, except for the files that `skip` selects by name.
pub(super) fn copy_folder(from: &Path, to: &Path, skip: &dyn Fn(&str) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target, skip)?;
        } else if path.is_file() && !skip(&entry.file_name().to_string_lossy()) {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Returns the folder in which the new database is built.
pub(super) fn rebuild_folder(folder: &Path) -> PathBuf {
    let mut path = folder.as_os_str().to_owned();
    path.push(".rebuilt");
    PathBuf::from(path)
}

/// Removes the folder of an unfinished rebuild. The caller must hold the store's lock.
pub(super) fn remove_rebuild_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(rebuild_folder(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
