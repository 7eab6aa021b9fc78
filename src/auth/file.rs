//! `tokens.json`: the tokens of a store.
//!
//! ```text
//! {"version":1,"tokens":[{"name":"ci","scope":"write","tasks":["build-*"],"runs":["build-*"],
//!   "created":"2026-05-09T14:23:01.000Z","expires":"2026-06-08T14:23:01.000Z","sha256":"9f86.."}]}
//! ```
//! Each version is written to a temporary file, synced and renamed, under a lock on `tokens.lock`. So any
//! number of processes may change the file at once, and a reader sees one version or the next. Mode 0600.
//! Rows are never removed: a revoked name stays for traces, and keeps the store closed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{IdPatterns, Scope, Secret, Token, TokenName};
use crate::model::Timestamp;

/// The file, in the data folder.
pub const FILE: &str = "tokens.json";
/// The file that is locked while tokens are changed.
const LOCK: &str = "tokens.lock";
/// The version of the file format.
const VERSION: u32 = 1;
/// Maximum size of the file; a larger one was not written by us.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The tokens of a store, accessed through its data folder. No server needs to run.
#[derive(Clone, Debug)]
pub struct Tokens {
    data: PathBuf,
}

/// A token to be created.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// A name that no token of the store has ever had.
    pub name: TokenName,
    /// The permitted operations.
    pub scope: Scope,
    /// The accessible tasks.
    pub tasks: IdPatterns,
    /// The accessible runs.
    pub runs: IdPatterns,
    /// The time of expiry, if any.
    pub expires: Option<Timestamp>,
}

/// An error reading or changing the tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// An I/O error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file exists, but cannot be parsed.
    #[error("cannot parse {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The name is or was in use.
    #[error("token name `{0}` is taken; names are never reused")]
    NameTaken(TokenName),
    /// No token has this name.
    #[error("no token named `{0}`")]
    NoSuchToken(TokenName),
}

/// The contents of `tokens.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    version: u32,
    tokens: Vec<Token>,
}

impl Tokens {
    /// Returns a handle to the tokens of the store in `data`, without reading them.
    pub fn at(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// Returns all tokens in creation order, including revoked and expired ones. If there are none, the
    /// store is open.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub fn list(&self) -> Result<Vec<Token>, TokensError> {
        Ok(self.read()?.unwrap_or_default())
    }

    /// Creates a token and returns its secret, which is stored nowhere else.
    ///
    /// # Errors
    /// The name is in use, or the file cannot be read or written.
    pub fn create(&self, new: NewToken) -> Result<(Secret, Token), TokensError> {
        fs::create_dir_all(&self.data).map_err(|source| io_error(&self.data, source))?;
        let secret = Secret::generate().map_err(|source| io_error(Path::new("random bytes"), source))?;
        let NewToken { name, scope, tasks, runs, expires } = new;
        let created = Timestamp::now();
        let token = Token { name, scope, tasks, runs, created, expires, revoked: None, sha256: secret.digest() };
        self.change(|rows| {
            if rows.iter().any(|row| row.name == token.name) {
                return Err(TokensError::NameTaken(token.name.clone()));
            }
            rows.push(token.clone());
            Ok(true)
        })?;
        Ok((secret, token))
    }

    /// Revokes a token. Returns false if it was already revoked.
    ///
    /// # Errors
    /// No token has this name, or the file cannot be read or written.
    pub fn revoke(&self, name: &TokenName) -> Result<bool, TokensError> {
        let mut revoked = false;
        self.change(|rows| {
            let row = rows.iter_mut().find(|row| row.name == *name);
            let row = row.ok_or_else(|| TokensError::NoSuchToken(name.clone()))?;
            revoked = row.revoked.is_none();
            row.revoked.get_or_insert_with(Timestamp::now);
            Ok(revoked)
        })?;
        Ok(revoked)
    }

    /// Reads the rows. Returns `None` if there is no file.
    pub(super) fn read(&self) -> Result<Option<Vec<Token>>, TokensError> {
        let path = self.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(&path, source)),
        };
        let mut text = String::new();
        let read = io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX), &mut text);
        read.map_err(|source| io_error(&path, source))?;
        let unreadable = |why| TokensError::Unreadable { path: path.clone(), why };
        let contents: TokensFile = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        if contents.version != VERSION {
            return Err(unreadable(format!("version {} is not supported, only {VERSION}", contents.version)));
        }
        Ok(Some(contents.tokens))
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> PathBuf {
        self.data.join(FILE)
    }

    /// Returns the data folder.
    pub(super) fn folder(&self) -> &Path {
        &self.data
    }

    /// Applies `change` to the rows under the lock, and writes them if it returns true.
    fn change(&self, change: impl FnOnce(&mut Vec<Token>) -> Result<bool, TokensError>) -> Result<(), TokensError> {
        let lock_path = self.data.join(LOCK);
        let locked = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let locked = locked.and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        // The lock is held until dropped.
        let _lock = locked.map_err(|source| io_error(&lock_path, source))?;
        let mut tokens = self.read()?.unwrap_or_default();
        if !change(&mut tokens)? {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&TokensFile { version: VERSION, tokens })
            .map_err(|error| io_error(&self.path(), error.into()))?;
        text.push(b'\n');
        replace(&self.path(), &text, true).map_err(|source| io_error(&self.path(), source))
    }
}

/// Replaces a file of the data folder atomically and durably, readable only by the owner of the folder.
///
/// # Errors
/// The file cannot be written.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

/// Replaces a file atomically. The new file gets the owner of its folder, so that root can create tokens for a
/// server that runs as another user.
pub(super) fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Created with mode 0600.
    let mut file = tempfile::Builder::new().prefix(".tokens.").suffix(".part").tempfile_in(folder)?;
    file.write_all(bytes)?;
    let (owner, own) = (folder.metadata()?, file.as_file().metadata()?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(file.as_file(), Some(owner.uid()), Some(owner.gid()))?;
    }
    if durable {
        file.as_file().sync_all()?;
    }
    file.persist(path).map_err(|error| error.error)?;
    if durable { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn io_error(path: &Path, source: io::Error) -> TokensError {
    TokensError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str) -> NewToken {
        let name = name.parse().unwrap();
        NewToken { name, scope: Scope::Read, tasks: IdPatterns::all(), runs: IdPatterns::all(), expires: None }
    }

    #[test]
    fn a_revoked_token_stays_listed_and_its_name_reserved() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(&folder.path().join("data"));
        assert!(tokens.list().unwrap().is_empty());
        let (secret, row) = tokens.create(new("ci")).unwrap();
        assert_eq!(tokens.list().unwrap(), std::slice::from_ref(&row));
        let text = fs::read_to_string(tokens.path()).unwrap();
        assert!(!text.contains(&secret.reveal()[3..]), "only the digest is stored");
        assert_eq!(fs::metadata(tokens.path()).unwrap().mode() & 0o777, 0o600);
        assert!(tokens.revoke(&row.name).unwrap());
        assert!(!tokens.revoke(&row.name).unwrap(), "already revoked");
        assert!(tokens.list().unwrap()[0].revoked.is_some());
        assert!(matches!(tokens.create(new("ci")), Err(TokensError::NameTaken(_))), "names are not reused");
        assert!(matches!(tokens.revoke(&"x".parse().unwrap()), Err(TokensError::NoSuchToken(_))));
        let left: Vec<_> = fs::read_dir(tokens.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "no temporary file remains: {left:?}");
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        tokens.create(new("ci")).unwrap();
        let good = fs::read_to_string(tokens.path()).unwrap();
        for bad in [
            String::new(),
            "{}".to_owned(),
            good.replace("\"version\": 1", "\"version\": 2"),
            good.replace("\"scope\"", "\"only_on_sundays\": true, \"scope\""),
            good.replace("\"read\"", "\"root\""),
            good.replace("\"*\"", "\"[a]\""),
        ] {
            fs::write(tokens.path(), &bad).unwrap();
            assert!(matches!(tokens.list(), Err(TokensError::Unreadable { .. })), "{bad}");
            assert!(tokens.create(new("next")).is_err() && tokens.revoke(&"ci".parse().unwrap()).is_err());
            assert_eq!(fs::read_to_string(tokens.path()).unwrap(), bad);
        }
    }
}
