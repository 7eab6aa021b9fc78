//! Access to a data folder: its owner's alone, whatever the umask is.
//!
//! Tokens decide who reads a log. An archive that any local account can read would bypass them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::store::{make_private, restrict};

/// Withdraws access for the group and for others from a data folder. Files that tasktail does not write are left
/// as they are. A failure is logged: the folder may belong to another user or be read-only.
pub fn make_data_private(data: &Path) {
    // Files in a folder that others cannot enter are not worth a warning, nor is a folder without a store.
    let shared = fs::metadata(data).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) && data.join("journal").is_dir();
    match restrict_data(data) {
        Ok(_) if !shared => {}
        Ok(_) => tracing::warn!(
            data = %data.display(),
            "withdrew access to the data folder from other users; share logs through the server instead"
        ),
        Err(error) => tracing::warn!(
            data = %data.display(), %error,
            "cannot withdraw access to the data folder from other users; run `chmod -R go= DATA` as its owner"
        ),
    }
}

fn restrict_data(data: &Path) -> io::Result<usize> {
    // First: this closes everything below.
    let mut changed = restrict(data, &fs::metadata(data)?)?;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let (name, metadata) = (entry.file_name(), entry.metadata()?);
        let name = name.to_string_lossy();
        if metadata.is_dir() && (name.starts_with("journal") || name == "archive") {
            changed += make_private(&entry.path())?;
        } else if metadata.is_file()
            && [".json", ".pem", ".key", ".lock", ".part"].iter().any(|end| name.ends_with(end))
        {
            changed += restrict(&entry.path(), &metadata)?;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_files_of_a_store_are_restricted() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        for name in ["archive", "journal", "mine"] {
            fs::create_dir(data.join(name)).unwrap();
            fs::write(data.join(name).join("file"), "").unwrap();
        }
        for name in ["tokens.json", "notes.txt"] {
            fs::write(data.join(name), "").unwrap();
        }
        let all = ["", "archive", "archive/file", "journal", "journal/file", "tokens.json"];
        let others = ["mine", "mine/file", "notes.txt"];
        for name in all.iter().chain(&others) {
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o775)).unwrap();
        }
        assert_eq!(restrict_data(data).unwrap(), all.len());
        let mode = |name: &&str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
        assert!(all.iter().all(|name| mode(name) == 0o700));
        assert!(others.iter().all(|name| mode(name) == 0o775));
        assert_eq!(restrict_data(data).unwrap(), 0, "a second time there is nothing to do");
    }
}
