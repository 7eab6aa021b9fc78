//! Browsers that are signed in: a cookie with a random id stands for one access token.
//!
//! The server keeps the SHA-256 of each id, never the id, in one file of the data folder, so that a
//! restart signs nobody out and a sign-out is final. A session ends at its time, at a sign-out, when
//! newer ones take its place, and with its token; connections that live on it hear of it.
//!
//! Not here: what a session may do (that is its token's matter), and the cookie.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Digest as TokenDigest, TokenName};
use crate::model::Timestamp;

/// The file of the sessions, in the data folder.
pub const SESSIONS_FILE: &str = "sessions.json";
const FORMAT_VERSION: u32 = 1;
const ID_BYTES: usize = 32;
/// Characters of an id: 256 bits in base64url.
const ID_CHARS: usize = 43;

/// The id of a session, as its cookie carries it: 256 random bits. Known to the browser alone.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    fn random() -> io::Result<Self> {
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text for the cookie.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// One browser's sign-in.
#[derive(Clone, Debug)]
pub struct Session {
    /// The name of the token that it stands for.
    pub token: TokenName,
    /// That token, should another one ever bear the name.
    pub sha256: TokenDigest,
    /// Its end.
    pub expires: Timestamp,
    /// Cancelled at a sign-out, or when newer sessions have taken its place. Its time and its token
    /// are watched elsewhere.
    pub end: CancellationToken,
    begun: Timestamp,
}

/// All sessions of a server.
#[derive(Debug)]
pub struct Sessions {
    path: PathBuf,
    sessions_max: usize,
    /// By the hash of the id. Held for moments, never while a file is written.
    all: Mutex<HashMap<[u8; 32], Session>>,
    /// Held while the file is written, so that an older state never replaces a newer one.
    file: Mutex<()>,
    /// The file does not say what is in memory: the disk did not take it.
    stale: AtomicBool,
}

/// What stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    sessions: Vec<StoredSession>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredSession {
    id_sha256: String,
    token: TokenName,
    token_sha256: TokenDigest,
    begun: Timestamp,
    expires: Timestamp,
}

impl Sessions {
    /// Reads the sessions of a data folder. At most `sessions_max` are kept; then the oldest goes.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(data: &Path, sessions_max: usize) -> io::Result<Self> {
        let path = data.join(SESSIONS_FILE);
        let stored = match std::fs::read(&path) {
            Ok(bytes) => read(&bytes).map_err(|why| {
                let why = format!("{}: {why}; delete it, and everyone signs in anew", path.display());
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(error),
        };
        let file = Mutex::new(());
        Ok(Self { path, sessions_max, all: Mutex::new(stored), file, stale: AtomicBool::new(false) })
    }

    /// A new session for a token. It counts even if the disk does not take it; then it only does
    /// not outlive a restart. Says whether an older session had to go.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn begin(
        &self,
        token: &TokenName,
        sha256: TokenDigest,
        now: Timestamp,
        expires: Timestamp,
    ) -> io::Result<(SessionId, bool)> {
        let id = SessionId::random()?;
        let session = Session { token: token.clone(), sha256, expires, begun: now, end: CancellationToken::new() };
        let mut all = self.all.lock();
        drop_expired(&mut all, now);
        let mut displaced = false;
        while all.len() >= self.sessions_max.max(1) {
            let oldest = all.iter().min_by_key(|(_, session)| session.begun).map(|(hash, _)| *hash);
            let Some(session) = oldest.and_then(|hash| all.remove(&hash)) else { break };
            session.end.cancel();
            displaced = true;
        }
        all.insert(hash(id.expose()), session);
        drop(all);
        self.save();
        Ok((id, displaced))
    }

    /// The session of a cookie's value, if it is one and its time is not over.
    pub fn find(&self, id: &str, now: Timestamp) -> Option<Session> {
        if id.len() != ID_CHARS {
            return None;
        }
        self.all.lock().get(&hash(id)).filter(|session| session.expires > now).cloned()
    }

    /// Ends a session: a sign-out. Those who use it hear of it at once.
    pub fn end(&self, id: &str) {
        let Some(session) = self.all.lock().remove(&hash(id)) else { return };
        session.end.cancel();
        self.save();
    }

    /// Drops what is over (`alive` knows the tokens), and writes what the disk had not taken. To be
    /// called every now and then.
    pub fn sweep(&self, now: Timestamp, alive: impl Fn(&TokenName, &TokenDigest) -> bool) {
        let mut all = self.all.lock();
        let before = all.len();
        drop_expired(&mut all, now);
        all.retain(|_, session| alive(&session.token, &session.sha256));
        let changed = all.len() != before;
        drop(all);
        if changed || self.stale.load(Ordering::Relaxed) {
            self.save();
        }
    }

    fn save(&self) {
        let _file = self.file.lock();
        let stored = self.stored();
        let saved = write(&self.path, &stored);
        self.stale.store(saved.is_err(), Ordering::Relaxed);
        if let Err(error) = saved {
            tracing::warn!(%error, path = %self.path.display(), "the sessions of browsers could not be written");
        }
    }

    fn stored(&self) -> Stored {
        let all = self.all.lock();
        let mut sessions: Vec<_> = all
            .iter()
            .map(|(hash, session)| StoredSession {
                id_sha256: URL_SAFE_NO_PAD.encode(hash),
                token: session.token.clone(),
                token_sha256: session.sha256,
                begun: session.begun,
                expires: session.expires,
            })
            .collect();
        sessions.sort_by_key(|session| session.begun);
        Stored { version: FORMAT_VERSION, sessions }
    }
}

fn drop_expired(all: &mut HashMap<[u8; 32], Session>, now: Timestamp) {
    all.retain(|_, session| session.expires > now);
}

fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

fn read(bytes: &[u8]) -> Result<HashMap<[u8; 32], Session>, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.version != FORMAT_VERSION {
        return Err(format!("it has version {}, this program knows {FORMAT_VERSION}", stored.version));
    }
    let session = |stored: StoredSession| {
        let hash = URL_SAFE_NO_PAD.decode(&stored.id_sha256).ok().and_then(|hash| hash.try_into().ok());
        let StoredSession { token, token_sha256: sha256, begun, expires, .. } = stored;
        let hash = hash.ok_or_else(|| "an `id_sha256` is no SHA-256 in base64url".to_owned())?;
        Ok((hash, Session { token, sha256, expires, begun, end: CancellationToken::new() }))
    };
    stored.sessions.into_iter().map(session).collect()
}

/// Writes the whole file, for its owner alone; a reader sees all of it or what was before.
fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".sessions.").tempfile_in(folder)?;
    serde_json::to_writer(&mut file, stored)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const LATER: Timestamp = Timestamp::from_millis(9_000);

    /// A session of a token.
    fn begin(sessions: &Sessions, token: &str, now: Timestamp) -> (SessionId, bool) {
        let sha256 = TokenDigest::of(token.as_bytes());
        sessions.begin(&token.parse().unwrap(), sha256, now, LATER).unwrap()
    }

    fn open(folder: &tempfile::TempDir) -> Sessions {
        Sessions::open(folder.path(), 3).unwrap()
    }

    #[test]
    fn a_session_outlives_a_restart_and_ends_at_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let (id, _) = begin(&open(&folder), "t1", NOW);
        let sessions = open(&folder);
        assert_eq!(sessions.find(id.expose(), NOW).unwrap().token.as_str(), "t1");
        assert!(sessions.find(id.expose(), LATER).is_none());
        for wrong in ["", "x", &id.expose()[1..], &id.expose().replace(|_| true, "A")] {
            assert!(sessions.find(wrong, NOW).is_none());
        }
    }

    #[test]
    fn a_sign_out_is_final_and_heard() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let (id, _) = begin(&sessions, "t1", NOW);
        let session = sessions.find(id.expose(), NOW).unwrap();
        assert!(!session.end.is_cancelled());
        sessions.end(id.expose());
        assert!(session.end.is_cancelled());
        assert!(sessions.find(id.expose(), NOW).is_none());
        assert!(open(&folder).find(id.expose(), NOW).is_none(), "after a restart too");
    }

    #[test]
    fn the_file_is_private_and_holds_no_id() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let (id, _) = begin(&sessions, "t1", NOW);
        let path = folder.path().join(SESSIONS_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(id.expose()));
        assert!(!format!("{id:?} {sessions:?}").contains(id.expose()));
        assert_eq!(id.expose().len(), ID_CHARS);
    }

    #[test]
    fn the_oldest_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let at = |ms| begin(&sessions, "t1", Timestamp::from_millis(ms));
        let ids: Vec<_> = (1..=4).map(|ms| at(ms).0).collect();
        let there = |id: &SessionId| sessions.find(id.expose(), NOW).is_some();
        assert_eq!(ids.iter().map(there).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(at(5).1, "and it is said that one had to go");
    }

    #[test]
    fn a_sweep_drops_what_is_over_and_writes_what_was_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let (kept, _) = begin(&sessions, "t1", NOW);
        let (revoked, _) = begin(&sessions, "t2", NOW);
        sessions.sweep(NOW, |token, sha256| token.as_str() == "t1" && *sha256 == TokenDigest::of(b"t1"));
        assert!(sessions.find(kept.expose(), NOW).is_some());
        assert!(open(&folder).find(revoked.expose(), NOW).is_none());
        // A disk that takes nothing: the file's place is a folder.
        let path = folder.path().join(SESSIONS_FILE);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        sessions.end(kept.expose());
        let (other, _) = begin(&sessions, "t1", NOW);
        assert!(sessions.find(kept.expose(), NOW).is_none() && sessions.find(other.expose(), NOW).is_some());
        std::fs::remove_dir(&path).unwrap();
        sessions.sweep(NOW, |_, _| true);
        let again = open(&folder);
        assert!(again.find(kept.expose(), NOW).is_none() && again.find(other.expose(), NOW).is_some());
    }

    #[test]
    fn a_file_that_is_none_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["nonsense", r#"{"version":2,"sessions":[]}"#] {
            std::fs::write(folder.path().join(SESSIONS_FILE), text).unwrap();
            let error = Sessions::open(folder.path(), 3).unwrap_err().to_string();
            assert!(error.contains("delete it"), "{error}");
        }
    }
}
