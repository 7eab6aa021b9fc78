//! Sessions of signed-in browsers: a cookie with a random id that represents one access token.
//!
//! The server stores the SHA-256 of each id, never the id, in one file of the data folder. So a restart ends
//! no session, and a sign-out is final. A session ends when it expires, at a sign-out, when newer sessions
//! displace it, and with its token. Live connections of the session are notified.
//!
//! Not here: the permissions of a session, which are its token's, and the cookie.

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

use super::{TokenDigest, TokenName};
use crate::model::Timestamp;

/// The file that stores the sessions, in the data folder.
pub const SESSIONS_FILE: &str = "sessions.json";
const FORMAT_VERSION: u32 = 1;
const ID_BYTES: usize = 32;
/// Length of an id: 256 bits in base64url.
const ID_CHARS: usize = 43;

/// The id of a session, as in its cookie: 256 random bits, known only to the browser.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// Returns a new random id.
    fn random() -> io::Result<Self> {
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Returns the value for the cookie.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// The sign-in of one browser.
#[derive(Clone, Debug)]
pub struct BrowserSession {
    /// The name of the token it represents.
    pub token: TokenName,
    /// The digest of that token, in case another token ever has the name.
    pub sha256: TokenDigest,
    /// The time of expiry.
    pub expires: Timestamp,
    /// Cancelled at a sign-out, or when newer sessions displace this one. Expiry and the token's end
    /// are observed elsewhere.
    pub end: CancellationToken,
    created: Timestamp,
}

/// All sessions of a server.
#[derive(Debug)]
pub struct BrowserSessions {
    path: PathBuf,
    sessions_max: usize,
    /// Sessions by the hash of their id. Locked briefly, never during a write of the file.
    all: Mutex<HashMap<[u8; 32], BrowserSession>>,
    /// Locked while the file is written, so that an older state never replaces a newer one.
    file: Mutex<()>,
    /// True if the last write failed, so that the file is out of date.
    stale: AtomicBool,
}

/// The contents of the file.
#[derive(Debug, Serialize, Deserialize)]
struct SessionsFile {
    version: u32,
    sessions: Vec<StoredSession>,
}

/// A session in the file.
#[derive(Debug, Serialize, Deserialize)]
struct StoredSession {
    id_sha256: String,
    token: TokenName,
    token_sha256: TokenDigest,
    #[serde(rename = "begun")]
    created: Timestamp,
    expires: Timestamp,
}

impl BrowserSessions {
    /// Reads the sessions of a data folder. With more than `sessions_max`, the oldest is displaced.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn open(data: &Path, sessions_max: usize) -> io::Result<Self> {
        let path = data.join(SESSIONS_FILE);
        let stored = match std::fs::read(&path) {
            Ok(bytes) => read(&bytes).map_err(|why| {
                let why = format!("cannot parse {}: {why}; delete it, and users must sign in again", path.display());
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(error),
        };
        let file = Mutex::new(());
        Ok(Self { path, sessions_max, all: Mutex::new(stored), file, stale: AtomicBool::new(false) })
    }

    /// Creates a session for a token. Returns its id, and whether an older session was displaced. The session
    /// is valid even if writing the file fails, but is then lost at a restart.
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub fn create(
        &self,
        token: &TokenName,
        sha256: TokenDigest,
        now: Timestamp,
        expires: Timestamp,
    ) -> io::Result<(SessionId, bool)> {
        let id = SessionId::random()?;
        let session =
            BrowserSession { token: token.clone(), sha256, expires, created: now, end: CancellationToken::new() };
        let mut all = self.all.lock();
        drop_expired(&mut all, now);
        let mut displaced = false;
        while all.len() >= self.sessions_max.max(1) {
            let oldest = all.iter().min_by_key(|(_, session)| session.created).map(|(hash, _)| *hash);
            let Some(session) = oldest.and_then(|hash| all.remove(&hash)) else { break };
            session.end.cancel();
            displaced = true;
        }
        all.insert(hash(id.expose()), session);
        drop(all);
        self.save();
        Ok((id, displaced))
    }

    /// Reads the file again, which another server has changed. Sessions that are missing from it end.
    ///
    /// # Errors
    /// The file cannot be read or parsed; the sessions stay as they are.
    pub fn reload(&self) -> io::Result<()> {
        let _file = self.file.lock();
        let stored =
            read(&std::fs::read(&self.path)?).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        let mut all = self.all.lock();
        for (hash, session) in stored.iter() {
            all.entry(*hash).or_insert_with(|| session.clone());
        }
        all.retain(|hash, session| {
            let is_stored = stored.contains_key(hash);
            if !is_stored {
                session.end.cancel();
            }
            is_stored
        });
        Ok(())
    }

    /// Returns the session with the id from a cookie, if it exists and has not expired.
    pub fn find(&self, id: &str, now: Timestamp) -> Option<BrowserSession> {
        if id.len() != ID_CHARS {
            return None;
        }
        self.all.lock().get(&hash(id)).filter(|session| session.expires > now).cloned()
    }

    /// Ends a session at a sign-out, and notifies its live connections.
    pub fn end(&self, id: &str) {
        let Some(session) = self.all.lock().remove(&hash(id)) else { return };
        session.end.cancel();
        self.save();
    }

    /// Removes expired sessions and those whose token is no longer `alive`, and retries a failed write.
    /// Called periodically.
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

    /// Writes the file.
    fn save(&self) {
        let _file = self.file.lock();
        let stored = self.stored();
        let saved = write(&self.path, &stored);
        self.stale.store(saved.is_err(), Ordering::Relaxed);
        if let Err(error) = saved {
            tracing::warn!(%error, path = %self.path.display(), "failed to write the browser sessions");
        }
    }

    /// Returns the contents for the file.
    fn stored(&self) -> SessionsFile {
        let all = self.all.lock();
        let mut sessions: Vec<_> = all
            .iter()
            .map(|(hash, session)| StoredSession {
                id_sha256: URL_SAFE_NO_PAD.encode(hash),
                token: session.token.clone(),
                token_sha256: session.sha256,
                created: session.created,
                expires: session.expires,
            })
            .collect();
        sessions.sort_by_key(|session| session.created);
        SessionsFile { version: FORMAT_VERSION, sessions }
    }
}

/// Removes expired sessions.
fn drop_expired(all: &mut HashMap<[u8; 32], BrowserSession>, now: Timestamp) {
    all.retain(|_, session| session.expires > now);
}

/// Returns the SHA-256 of an id.
fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

/// Parses the file.
fn read(bytes: &[u8]) -> Result<HashMap<[u8; 32], BrowserSession>, String> {
    let stored: SessionsFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if stored.version != FORMAT_VERSION {
        return Err(format!("version {} is not supported, only {FORMAT_VERSION}", stored.version));
    }
    let session = |stored: StoredSession| {
        let hash = URL_SAFE_NO_PAD.decode(&stored.id_sha256).ok().and_then(|hash| hash.try_into().ok());
        let StoredSession { token, token_sha256: sha256, created, expires, .. } = stored;
        let hash = hash.ok_or_else(|| "an `id_sha256` is not a SHA-256 in base64url".to_owned())?;
        Ok((hash, BrowserSession { token, sha256, expires, created, end: CancellationToken::new() }))
    };
    stored.sessions.into_iter().map(session).collect()
}

/// Replaces the file atomically, readable only by its owner.
fn write(path: &Path, stored: &SessionsFile) -> io::Result<()> {
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

    /// Creates a session for a token.
    fn create(sessions: &BrowserSessions, token: &str, now: Timestamp) -> (SessionId, bool) {
        let sha256 = TokenDigest::of(token.as_bytes());
        sessions.create(&token.parse().unwrap(), sha256, now, LATER).unwrap()
    }

    fn open(folder: &tempfile::TempDir) -> BrowserSessions {
        BrowserSessions::open(folder.path(), 3).unwrap()
    }

    #[test]
    fn a_session_survives_a_restart_and_expires() {
        let folder = tempfile::tempdir().unwrap();
        let (id, _) = create(&open(&folder), "t1", NOW);
        let sessions = open(&folder);
        assert_eq!(sessions.find(id.expose(), NOW).unwrap().token.as_str(), "t1");
        assert!(sessions.find(id.expose(), LATER).is_none());
        for wrong in ["", "x", &id.expose()[1..], &id.expose().replace(|_| true, "A")] {
            assert!(sessions.find(wrong, NOW).is_none());
        }
    }

    #[test]
    fn a_sign_out_is_final_and_notified() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let (id, _) = create(&sessions, "t1", NOW);
        let session = sessions.find(id.expose(), NOW).unwrap();
        assert!(!session.end.is_cancelled());
        sessions.end(id.expose());
        assert!(session.end.is_cancelled());
        assert!(sessions.find(id.expose(), NOW).is_none());
        assert!(open(&folder).find(id.expose(), NOW).is_none(), "after a restart too");
    }

    #[test]
    fn the_file_is_private_and_contains_no_id() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let (id, _) = create(&sessions, "t1", NOW);
        let path = folder.path().join(SESSIONS_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(id.expose()));
        assert!(!format!("{id:?} {sessions:?}").contains(id.expose()));
        assert_eq!(id.expose().len(), ID_CHARS);
    }

    #[test]
    fn a_new_session_displaces_the_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let at = |ms| create(&sessions, "t1", Timestamp::from_millis(ms));
        let ids: Vec<_> = (1..=4).map(|ms| at(ms).0).collect();
        let exists = |id: &SessionId| sessions.find(id.expose(), NOW).is_some();
        assert_eq!(ids.iter().map(exists).collect::<Vec<_>>(), [false, true, true, true]);
        assert!(at(5).1, "reported as displaced");
    }

    #[test]
    fn a_sweep_removes_ended_sessions_and_retries_a_failed_write() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = open(&folder);
        let (kept, _) = create(&sessions, "t1", NOW);
        let (revoked, _) = create(&sessions, "t2", NOW);
        sessions.sweep(NOW, |token, sha256| token.as_str() == "t1" && *sha256 == TokenDigest::of(b"t1"));
        assert!(sessions.find(kept.expose(), NOW).is_some());
        assert!(open(&folder).find(revoked.expose(), NOW).is_none());
        // A folder at the file's path makes writes fail.
        let path = folder.path().join(SESSIONS_FILE);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        sessions.end(kept.expose());
        let (other, _) = create(&sessions, "t1", NOW);
        assert!(sessions.find(kept.expose(), NOW).is_none() && sessions.find(other.expose(), NOW).is_some());
        std::fs::remove_dir(&path).unwrap();
        sessions.sweep(NOW, |_, _| true);
        let again = open(&folder);
        assert!(again.find(kept.expose(), NOW).is_none() && again.find(other.expose(), NOW).is_some());
    }

    #[test]
    fn the_error_for_a_corrupt_file_contains_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["nonsense", r#"{"version":2,"sessions":[]}"#] {
            std::fs::write(folder.path().join(SESSIONS_FILE), text).unwrap();
            let error = BrowserSessions::open(folder.path(), 3).unwrap_err().to_string();
            assert!(error.contains("delete it"), "{error}");
        }
    }
}
