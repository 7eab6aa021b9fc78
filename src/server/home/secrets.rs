//! Keeping the tokens, the browsers' sessions and the key of share links the same on all servers.
//!
//! Each is a file of the data folder, which the rest of the server follows, and a value in Redis. A change on either side
//! is applied to the other: the rows that were added or removed since both were the same last. So `tasktail token` works
//! with the data folder of any of the servers, and a revocation ends connections on all of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::auth::session::{BrowserSessions, SESSIONS_FILE};
use crate::auth::share::{SHARE_KEY_FILE, ShareKeyFile};
use crate::auth::{TOKENS_FILE, replace_private};
use crate::home::redis::StoredSecret;
use crate::home::{Engine, EngineError};

/// Interval at which the files are checked. A check is one `stat` of each.
const POLL_INTERVAL: Duration = Duration::from_millis(150);
/// Interval at which the values are read even if no change was reported.
const READ_INTERVAL: Duration = Duration::from_secs(5);
/// Attempts to write a value that other servers change at the same time.
const ATTEMPTS_MAX: usize = 10;
/// Maximum size of a file.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// An error of keeping a file and its value the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{name} in Redis is changed by other servers all the time; will retry")]
    Contended { name: &'static str },
}

/// How the contents of a file are merged.
#[derive(Clone, Copy, Debug)]
enum Contents {
    /// JSON with a list of rows under the first name, each with a key under the second.
    Rows { list: &'static str, key: &'static str },
    /// Text that is replaced as a whole.
    Text,
}

/// A file and the value in Redis that belongs to it.
#[derive(Debug)]
struct SyncedFile {
    /// Name of the value.
    name: &'static str,
    path: PathBuf,
    contents: Contents,
    /// What both had last.
    base: Option<Vec<u8>>,
    /// Version of the file that was read last.
    stamp: Option<(SystemTime, u64)>,
}

/// The secrets of a server.
#[derive(Debug)]
pub(crate) struct SharedSecrets {
    engine: Engine,
    files: [SyncedFile; 3],
}

impl SharedSecrets {
    /// Makes the files of a data folder and the values in Redis the same.
    ///
    /// # Errors
    /// Redis or a file cannot be read or written.
    pub(crate) async fn open(engine: Engine, data: &Path) -> Result<Self, SyncError> {
        // Created by the first server. Two servers that create one each would withdraw the links of the other.
        let key = ShareKeyFile::new(data).key_or_new();
        key.map_err(|source| SyncError::File { path: data.join(SHARE_KEY_FILE), source })?;
        let file = |name, file, contents| SyncedFile { name, path: data.join(file), contents, base: None, stamp: None };
        let mut files = [
            file("tokens", TOKENS_FILE, Contents::Rows { list: "tokens", key: "name" }),
            file("sessions", SESSIONS_FILE, Contents::Rows { list: "sessions", key: "id_sha256" }),
            file("share", SHARE_KEY_FILE, Contents::Text),
        ];
        for file in &mut files {
            // A session that ended while this server was down must not return, and the common key of links wins. A token
            // that was created meanwhile is new.
            if file.name != "tokens" && engine.secret(file.name).await?.is_some() {
                file.base = file.read()?;
            }
            file.sync(&engine).await?;
        }
        Ok(Self { engine, files })
    }

    /// Keeps them the same until `shutdown`.
    pub(crate) async fn run(mut self, sessions: &BrowserSessions, shutdown: &CancellationToken) {
        let [mut tokens, mut sessions_watch, mut share] =
            self.files.each_ref().map(|file| self.engine.watch_secret(file.name));
        let mut last_read = tokio::time::Instant::now();
        loop {
            let changed = tokio::select! {
                () = shutdown.cancelled() => return,
                read = tokens.next() => read.is_ok(),
                read = sessions_watch.next() => read.is_ok(),
                read = share.next() => read.is_ok(),
                () = tokio::time::sleep(POLL_INTERVAL) => false,
            };
            let is_due = changed || last_read.elapsed() >= READ_INTERVAL;
            if is_due {
                last_read = tokio::time::Instant::now();
            }
            for file in &mut self.files {
                if !is_due && !file.has_changed() {
                    continue;
                }
                match file.sync(&self.engine).await {
                    Ok(true) if file.name == "sessions" => {
                        if let Err(error) = sessions.reload() {
                            tracing::warn!(%error, "failed to read the sessions of browsers");
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(%error, name = file.name, "failed to share a secret with the other servers; will retry");
                    }
                }
            }
        }
    }
}

impl SyncedFile {
    /// Applies the changes of each side to the other. Returns whether the file has changed.
    async fn sync(&mut self, engine: &Engine) -> Result<bool, SyncError> {
        for _ in 0..ATTEMPTS_MAX {
            let (stored, local) = (engine.secret(self.name).await?, self.read()?);
            let (remote, version) = match stored {
                Some(StoredSecret { value, version }) => (Some(value), version),
                None => (None, 0),
            };
            let Some(merged) = self.merge(local.as_deref(), remote.as_deref()) else { return Ok(false) };
            if !self.is_same(remote.as_deref(), &merged)
                && engine.set_secret(self.name, version, Some(&merged), None).await?.is_none()
            {
                continue;
            }
            let is_new = !self.is_same(local.as_deref(), &merged);
            if is_new {
                let written = replace_private(&self.path, &merged);
                written.map_err(|source| SyncError::File { path: self.path.clone(), source })?;
                self.stamp = stamp(&self.path);
            }
            self.base = Some(merged);
            return Ok(is_new);
        }
        Err(SyncError::Contended { name: self.name })
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, SyncError> {
        self.stamp = stamp(&self.path);
        let error = |source| SyncError::File { path: self.path.clone(), source };
        match fs::File::open(&self.path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes).map_err(error)?;
                Ok(Some(bytes))
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(error(source)),
        }
    }

    /// Reports whether the file was replaced since it was read.
    fn has_changed(&self) -> bool {
        stamp(&self.path) != self.stamp
    }

    /// Returns what both sides should have; `None` if neither has anything.
    fn merge(&self, local: Option<&[u8]>, remote: Option<&[u8]>) -> Option<Vec<u8>> {
        let (local, remote) = match (local, remote) {
            (None, None) => return None,
            (Some(one), None) | (None, Some(one)) => return Some(one.to_vec()),
            (Some(local), Some(remote)) => (local, remote),
        };
        let base = self.base.as_deref();
        match self.contents {
            Contents::Rows { list, key } => Some(merge_rows(base, local, remote, list, key)),
            Contents::Text if base.is_some_and(|base| base != local) => Some(local.to_vec()),
            Contents::Text => Some(remote.to_vec()),
        }
    }

    fn is_same(&self, one: Option<&[u8]>, other: &[u8]) -> bool {
        let Some(one) = one else { return false };
        match self.contents {
            Contents::Text => one == other,
            Contents::Rows { .. } => {
                let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
                one == other || parse(one).is_some_and(|one| Some(one) == parse(other))
            }
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

/// Merges two versions of a list of rows. A side that cannot be parsed is replaced by the other one.
fn merge_rows(base: Option<&[u8]>, local: &[u8], remote: &[u8], list: &str, key: &str) -> Vec<u8> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok().filter(|value| value[list].is_array());
    let (Some(ours), Some(mut theirs)) = (parse(local), parse(remote)) else {
        return if parse(remote).is_some() { remote.to_vec() } else { local.to_vec() };
    };
    let base = base.and_then(parse).unwrap_or_default();
    let rows = |value: &Value| value[list].as_array().cloned().unwrap_or_default();
    let (before, ours, found) = (rows(&base), rows(&ours), rows(&theirs));
    let find = |rows: &[Value], row: &Value| rows.iter().find(|other| other[key] == row[key]).cloned();
    let mut merged: Vec<Value> = Vec::new();
    for row in &found {
        match find(&ours, row) {
            // Changed here since both were the same.
            Some(own) if own != *row && find(&before, row).as_ref() == Some(row) => merged.push(own),
            Some(_) => merged.push(row.clone()),
            // Removed here, unless it was added there.
            None if find(&before, row).is_none() => merged.push(row.clone()),
            None => {}
        }
    }
    let added = |row: &&Value| find(&found, row).is_none() && find(&before, row).is_none();
    merged.extend(ours.iter().filter(added).cloned());
    theirs[list] = Value::Array(merged);
    let mut text = serde_json::to_vec_pretty(&theirs).unwrap_or_else(|_| remote.to_vec());
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(rows: &[(&str, u64)]) -> Vec<u8> {
        let rows: Vec<Value> = rows.iter().map(|(name, v)| serde_json::json!({ "name": name, "v": v })).collect();
        serde_json::to_vec(&serde_json::json!({ "version": 1, "tokens": rows })).unwrap()
    }

    fn merge(base: Option<&[(&str, u64)]>, local: &[(&str, u64)], remote: &[(&str, u64)]) -> Vec<(String, u64)> {
        let base = base.map(doc);
        let merged = merge_rows(base.as_deref(), &doc(local), &doc(remote), "tokens", "name");
        let value: Value = serde_json::from_slice(&merged).unwrap();
        let row = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["v"].as_u64().unwrap());
        value["tokens"].as_array().unwrap().iter().map(row).collect()
    }

    #[test]
    fn changes_of_both_sides_are_kept() {
        let of = |rows: &[(&str, u64)]| rows.iter().map(|(name, v)| ((*name).to_owned(), *v)).collect::<Vec<_>>();
        assert_eq!(merge(None, &[("a", 1)], &[("b", 1)]), of(&[("b", 1), ("a", 1)]), "without a common version: all");
        let base: &[(&str, u64)] = &[("a", 1), ("b", 1), ("c", 1)];
        assert_eq!(merge(Some(base), &[("a", 1), ("b", 1)], base), of(&[("a", 1), ("b", 1)]), "removed here");
        assert_eq!(merge(Some(base), base, &[("a", 1), ("c", 1)]), of(&[("a", 1), ("c", 1)]), "removed there");
        assert_eq!(merge(Some(base), &[("a", 2), ("b", 1), ("c", 1)], base)[0].1, 2, "changed here");
        assert_eq!(merge(Some(base), base, &[("a", 3), ("b", 1), ("c", 1)])[0].1, 3, "changed there");
    }

    #[test]
    fn unreadable_side_is_replaced() {
        let good = doc(&[("a", 1)]);
        assert_eq!(merge_rows(None, b"{", &good, "tokens", "name"), good);
        assert_eq!(merge_rows(None, &good, b"", "tokens", "name"), good);
    }
}
