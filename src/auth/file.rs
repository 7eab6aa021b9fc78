//! `tokens.json`: the tokens of a store.
//!
//! ```text
//! {"version":1,"tokens":[{"name":"ci","scope":"write","tasks":["build-*"],"runs":["build-*"],
//!   "created":"2026-05-09T14:23:01.000Z","expires":"2026-06-08T14:23:01.000Z","sha256":"9f86.."}]}
//! ```
//! Written whole into a file of its own, synced, and renamed, under a lock on `tokens.lock`: any number
//! of processes may change it at once, and a reader sees one version or the next. Mode 0600. A row
//! is never taken out: a revoked name is a trace, and keeps the store closed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Patterns, Scope, Secret, Token, TokenName};
use crate::model::Timestamp;

/// The file, in the data folder.
pub(super) const FILE: &str = "tokens.json";
/// The file that is locked while the tokens are changed.
const LOCK: &str = "tokens.lock";
/// The version of the file that is written and read.
const VERSION: u32 = 1;
/// Bytes of the file at most; more is not what we wrote.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The tokens of a store, by its data folder. No process has to run for them.
#[derive(Clone, Debug)]
pub struct Tokens {
    data: PathBuf,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// A name that no token of the store has or had.
    pub name: TokenName,
    /// What it is for.
    pub scope: Scope,
    /// The tasks it is for.
    pub tasks: Patterns,
    /// The runs it is for.
    pub runs: Patterns,
    /// From when on it is refused.
    pub expires: Option<Timestamp>,
}

/// Why the tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and is not ours.
    #[error("{}: it cannot be understood: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Names are given once.
    #[error("there is or was a token `{0}`: a name is used once, so that what it did stays its own; choose another")]
    NameTaken(TokenName),
    /// No such token.
    #[error("there is no token `{0}`")]
    NoSuchToken(TokenName),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    tokens: Vec<Token>,
}

impl Tokens {
    /// Those of the store in this folder; nothing is read yet.
    pub fn at(data: &Path) -> Self {
        Self { data: data.to_owned() }
    }

    /// All of them, revoked and expired ones too, in the order they were made. None: the store is open.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn list(&self) -> Result<Vec<Token>, TokensError> {
        Ok(self.read()?.unwrap_or_default())
    }

    /// Makes a token; what is given is the only thing that ever knows it.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be read or written.
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

    /// Takes a token back; false if it was already.
    ///
    /// # Errors
    /// There is none of that name, or the file cannot be read or written.
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

    /// The rows; `None` if there is no file.
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
        let contents: Contents = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        if contents.version != VERSION {
            return Err(unreadable(format!("it is of version {}, not {VERSION}", contents.version)));
        }
        Ok(Some(contents.tokens))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.data.join(FILE)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.data
    }

    /// Changes the rows while nobody else does; they are written if `change` says so.
    fn change(&self, change: impl FnOnce(&mut Vec<Token>) -> Result<bool, TokensError>) -> Result<(), TokensError> {
        let lock_path = self.data.join(LOCK);
        let locked = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let locked = locked.and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        // Held until it is dropped.
        let _lock = locked.map_err(|source| io_error(&lock_path, source))?;
        let mut tokens = self.read()?.unwrap_or_default();
        if !change(&mut tokens)? {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&Contents { version: VERSION, tokens })
            .map_err(|error| io_error(&self.path(), error.into()))?;
        text.push(b'\n');
        replace(&self.path(), &text, true).map_err(|source| io_error(&self.path(), source))
    }
}

/// Puts a file in another one's place: whoever reads sees all of the one or all of the other. It
/// belongs to whom its folder belongs, so that root may make tokens for a server that is not root.
pub(super) fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Mode 0600 from the beginning on.
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
        NewToken { name, scope: Scope::Read, tasks: Patterns::all(), runs: Patterns::all(), expires: None }
    }

    #[test]
    fn a_token_is_made_listed_and_taken_back_and_stays_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(&folder.path().join("data"));
        assert!(tokens.list().unwrap().is_empty());
        let (secret, row) = tokens.create(new("ci")).unwrap();
        assert_eq!(tokens.list().unwrap(), std::slice::from_ref(&row));
        let text = fs::read_to_string(tokens.path()).unwrap();
        assert!(!text.contains(&secret.reveal()[3..]), "only its digest is kept");
        assert_eq!(fs::metadata(tokens.path()).unwrap().mode() & 0o777, 0o600);
        assert!(tokens.revoke(&row.name).unwrap());
        assert!(!tokens.revoke(&row.name).unwrap(), "once is enough");
        assert!(tokens.list().unwrap()[0].revoked.is_some());
        assert!(matches!(tokens.create(new("ci")), Err(TokensError::NameTaken(_))), "a name is used once");
        assert!(matches!(tokens.revoke(&"x".parse().unwrap()), Err(TokensError::NoSuchToken(_))));
        let left: Vec<_> = fs::read_dir(tokens.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "nothing is left lying about: {left:?}");
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_written_over() {
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
