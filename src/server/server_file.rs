//! Files in the data folder that let commands on the same machine find the running server.
//!
//! - `server.json`: [`ServerFile`].
//! - `server.pem`: the certificate served now, if TLS is on. It identifies the server to local commands
//!   whatever names it contains. Never a key.
//!
//! Files are replaced atomically. A copy of the data folder contains a copy of `server.json`, which must not lead
//! to the server of the original: the file names its own inode and that of its folder, which a copy does not share.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::tasks::{FILE_MODE, write_private};
use crate::transport::Acceptor;

/// Name of the file with the addresses.
const SERVER_FILE: &str = "server.json";
/// Name of the file with the certificate.
const CERTIFICATE_FILE: &str = "server.pem";

/// The addresses of a running server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFile {
    /// HTTP address.
    pub url: String,
    /// Process of the server.
    pub pid: i32,
    /// Address of the Redis port, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<String>,
    /// Address for people, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Random id of the server, which `/healthz` also names.
    pub instance: String,
    /// Device and inode of the data folder, and inode of this file.
    #[serde(default)]
    pub place: (u64, u64, u64),
}

/// The state of the process of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerProcess {
    /// It runs.
    Running,
    /// It was stopped, by Ctrl-Z or SIGSTOP.
    Stopped,
    /// It does not exist.
    Gone,
}

impl ServerFile {
    /// Reads the file of a data folder; `None` if there is none, or one that was copied from another folder.
    pub fn read(data: &Path) -> Option<Self> {
        let file = File::open(data.join(SERVER_FILE)).ok()?;
        let place = place(&data.metadata().ok()?, &file.metadata().ok()?);
        let found: Self = serde_json::from_reader(file).ok()?;
        (found.place == place).then_some(found)
    }

    /// Returns the state of the server's process.
    pub fn process(&self) -> ServerProcess {
        let Some(pid) = Pid::from_raw(self.pid) else { return ServerProcess::Gone };
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return ServerProcess::Gone;
        }
        match process_state(self.pid) {
            Some('T' | 't') => ServerProcess::Stopped,
            Some('Z' | 'X') => ServerProcess::Gone,
            _ => ServerProcess::Running,
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The folder is not writable.
    pub(crate) fn write(mut self, data: &Path) -> io::Result<()> {
        let part = data.join(format!("{SERVER_FILE}.part"));
        // A new file: its inode is part of its contents.
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&part)?;
        self.place = place(&data.metadata()?, &file.metadata()?);
        writeln!(file, "{}", serde_json::to_string(&self)?)?;
        std::fs::rename(&part, data.join(SERVER_FILE))
    }
}

fn place(folder: &Metadata, file: &Metadata) -> (u64, u64, u64) {
    (folder.dev(), folder.ino(), file.ino())
}

/// Returns the state of a process as the kernel names it; `None` where `/proc` is missing.
fn process_state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Writes the certificate that is served now.
///
/// # Errors
/// The folder is not writable.
pub(crate) async fn write_certificate(data: &Path, tls: &Acceptor) -> io::Result<()> {
    let part = data.join(format!("{CERTIFICATE_FILE}.part"));
    write_private(&part, &tls.chain())?;
    tokio::fs::rename(&part, data.join(CERTIFICATE_FILE)).await
}

/// Removes both files. A failure is logged.
pub(crate) async fn remove_all(data: &Path) {
    for name in [SERVER_FILE, CERTIFICATE_FILE] {
        match tokio::fs::remove_file(data.join(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "failed to remove {name}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_file_names_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let [data, copy] = ["data", "copy"].map(|name| folder.path().join(name));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(&copy).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let file = ServerFile {
            url: "http://127.0.0.1:1".into(),
            pid,
            redis: None,
            public_url: None,
            instance: "i".into(),
            place: Default::default(),
        };
        file.write(&data).unwrap();
        let found = ServerFile::read(&data).unwrap();
        assert_eq!((found.pid, found.process()), (pid, ServerProcess::Running));
        std::fs::copy(data.join(SERVER_FILE), copy.join(SERVER_FILE)).unwrap();
        assert_eq!(ServerFile::read(&copy), None);
        // The folder itself may be renamed.
        let moved = folder.path().join("moved");
        std::fs::rename(&data, &moved).unwrap();
        assert_eq!(ServerFile::read(&moved), Some(found.clone()));
        // Neither a copy of the file in its own folder nor a restored one counts.
        std::fs::copy(moved.join(SERVER_FILE), moved.join("again")).unwrap();
        std::fs::rename(moved.join("again"), moved.join(SERVER_FILE)).unwrap();
        assert_eq!(ServerFile::read(&moved), None);
        assert_eq!(ServerFile { pid: i32::MAX, ..found }.process(), ServerProcess::Gone);
    }
}
