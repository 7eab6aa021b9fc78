//! Folders whose names survive a power cut, and files that only their owner can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Mode of every folder of a store.
const FOLDER_MODE: u32 = 0o700;
/// Mode of every file of a store.
pub const FILE_MODE: u32 = 0o600;
/// Access for the group and for others.
const SHARED_BITS: u32 = 0o077;

/// Syncs a folder. Names created in it are durable only after that.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a folder, for its owner only, and its missing parents, with durable names. Does nothing if it exists.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    create_folder_with(folder, FOLDER_MODE)
}

fn create_folder_with(folder: &Path, mode: u32) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder_with(parent, 0o777)?;
    }
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent.unwrap_or(Path::new(".")))
}

/// Creates or truncates a file that only its owner can read, and writes `bytes` to it.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path);
    options?.write_all(bytes)
}

/// Withdraws access for the group and for others from a folder and everything in it. Returns the number of files
/// and folders that were changed.
pub fn make_private(folder: &Path) -> io::Result<usize> {
    let mut changed = restrict(folder, &fs::metadata(folder)?)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let done = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => make_private(&entry.path()),
            Ok(metadata) if metadata.is_file() => restrict(&entry.path(), &metadata),
            Ok(_) => Ok(0),
            Err(error) => Err(error),
        };
        match done {
            // A file that was just removed or renamed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => changed += done?,
        }
    }
    Ok(changed)
}

/// Withdraws access for the group and for others. Returns 1 if there was any, otherwise 0.
pub fn restrict(path: &Path, metadata: &fs::Metadata) -> io::Result<usize> {
    let mode = metadata.mode() & 0o7777;
    if mode & SHARED_BITS == 0 {
        return Ok(0);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & !SHARED_BITS))?;
    Ok(1)
}

/// Copies a folder and its subfolders, except for the files that `skip` selects by name.
pub(super) fn copy_folder(from: &Path, to: &Path, skip: &dyn Fn(&str) -> bool) -> io::Result<()> {
    create_folder(to)?;
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
