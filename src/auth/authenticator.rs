//! The server's view of its access tokens: follows `tokens.json` and authenticates callers.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keyring::{self, KeyringState};
use super::used::{self, LastUsed};
use super::{AuthError, Caller, Keyring, Lease, LeaseEnd, Secret, TokenEntry, TokenName, Tokens};
use crate::model::Timestamp;

/// Interval between checks of the file. A check is one `stat`; it opens nothing.
const POLL: Duration = Duration::from_millis(150);

/// Authenticates the callers of one store.
#[derive(Debug)]
pub struct Authenticator {
    tokens: Tokens,
    /// The current tokens. Live connections wait for changes.
    keyring: watch::Sender<Arc<Keyring>>,
    /// The token of the server's own process.
    secret: Secret,
    owner: Arc<TokenEntry>,
    /// The last observed file, locked while the file is checked.
    seen: Mutex<FileState>,
}

/// The file as last observed.
#[derive(Debug, Default)]
struct FileState {
    stamp: Option<TokensFileStamp>,
    /// Whether there have been tokens. If so, a missing file does not open the store.
    closed: bool,
}

/// Metadata that identifies one version of `tokens.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TokensFileStamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Authenticator {
    /// Reads the tokens of the store in `data`. If they cannot be read, every caller is rejected.
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub fn open(data: &Path) -> io::Result<Self> {
        let secret = Secret::generate()?;
        let owner = keyring::owner(&secret)?;
        let keyring = watch::Sender::new(Arc::new(Keyring::new(KeyringState::Open)));
        let auth = Self { tokens: Tokens::at(data), keyring, secret, owner, seen: Mutex::default() };
        auth.refresh();
        Ok(auth)
    }

    /// Returns whether callers need a token.
    pub fn auth_required(&self) -> bool {
        self.keyring.borrow().auth_required()
    }

    /// Returns whether any writer of this store is, or was, restricted to certain runs. If so, a task's
    /// output must not name arbitrary runs, since the author of a stored line is no longer known.
    pub fn bounds_runs(&self) -> bool {
        self.keyring.borrow().bounds_runs()
    }

    /// Returns the reason why the tokens cannot be read, if they cannot.
    pub fn unreadable(&self) -> Option<String> {
        self.keyring.borrow().unreadable().map(str::to_owned)
    }

    /// Authenticates the bearer of `token`.
    ///
    /// # Errors
    /// The reason for the rejection.
    pub fn check(&self, token: Option<&str>) -> Result<Caller, AuthError> {
        let known = self.keyring.borrow().check(token, &self.owner, Timestamp::now());
        if !matches!(known, Err(AuthError::Unknown)) {
            return known;
        }
        // New tokens are often used at once, before the next poll. This costs a `stat`, and a read of the
        // file only if it has changed.
        self.refresh();
        self.keyring.borrow().check(token, &self.owner, Timestamp::now())
    }

    /// Returns the caller like [`Self::check`], after reading the tokens file again if it has changed. A sign-in
    /// uses this, so that a token revoked a moment ago is rejected.
    ///
    /// # Errors
    /// The reason why the token is rejected.
    pub fn check_latest(&self, token: &str) -> Result<Caller, AuthError> {
        self.refresh();
        self.check(Some(token))
    }

    /// Returns the active token of this name, for a session that was opened with it.
    pub fn active(&self, name: &TokenName) -> Option<Arc<TokenEntry>> {
        let keyring = self.keyring.borrow();
        let now = Timestamp::now();
        keyring.all().find(|entry| entry.name == *name && entry.status(now) == super::TokenStatus::Active).cloned()
    }

    /// Returns the reason why an authenticated caller has lost access since, if it has.
    pub fn end_reason(&self, caller: &Caller) -> Option<LeaseEnd> {
        self.keyring.borrow().end_reason(caller, &self.owner, Timestamp::now())
    }

    /// Returns a lease, by which a live connection notices that its caller has lost access.
    pub fn lease(&self, caller: Caller) -> Lease {
        Lease { caller, owner: self.owner.clone(), keyring: self.keyring.subscribe() }
    }

    /// Returns a receiver of the current tokens and every change.
    pub fn keyring(&self) -> watch::Receiver<Arc<Keyring>> {
        self.keyring.subscribe()
    }

    /// Returns the token of the server's own process, which may do everything: access to the data folder
    /// implies full control. The token is in no file.
    pub fn owner(&self) -> &Secret {
        &self.secret
    }

    /// Follows the file until shutdown.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut known: LastUsed = blocking(&self, |auth| used::read(auth.tokens.folder())).await.unwrap_or_default();
        loop {
            let ending = tokio::select! {
                () = shutdown.cancelled() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            blocking(&self, Self::refresh).await;
            let keyring = self.keyring.borrow().clone();
            if used::update(&mut known, &keyring, ending) {
                let snapshot = known.clone();
                blocking(&self, move |auth| used::write(auth.tokens.folder(), &snapshot)).await;
            }
            if ending {
                return;
            }
        }
    }

    /// Reloads the file now if it has changed.
    pub async fn reload(self: Arc<Self>) {
        blocking(&self, Self::refresh).await;
    }

    /// Reloads the file if it has changed.
    fn refresh(&self) {
        let mut seen = self.seen.lock();
        let stamp = TokensFileStamp::of(&self.tokens.path());
        if seen.stamp.is_some() && stamp.as_ref().ok() == seen.stamp.as_ref() {
            return;
        }
        let before = self.keyring.borrow().clone();
        // An open store without a file stays open. Reading would need a file descriptor, which may be scarce.
        let absent = stamp.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if absent && !seen.closed && !before.auth_required() {
            return;
        }
        let after = match self.tokens.read() {
            Ok(Some(rows)) => Keyring::of(rows, &before),
            Ok(None) if seen.closed => {
                let why = "tokens.json is missing; restore it, or restart the server to run without authentication";
                Keyring::new(KeyringState::Unreadable(why.to_owned()))
            }
            Ok(None) => Keyring::new(KeyringState::Open),
            Err(error) => Keyring::new(KeyringState::Unreadable(error.to_string())),
        };
        // A file that could not be read is read again at the next check.
        seen.stamp = stamp.ok().filter(|_| after.unreadable().is_none());
        seen.closed |= after.auth_required();
        match (before.unreadable(), after.unreadable()) {
            (before, Some(why)) if before != Some(why) => {
                tracing::error!(why, "failed to read the access tokens; rejecting all requests");
            }
            (Some(_), None) => tracing::info!("access tokens are readable again"),
            (_, Some(_)) => return,
            (None, None) => {}
        }
        if before.auth_required() || after.auth_required() {
            self.keyring.send_replace(Arc::new(after));
        }
    }
}

impl Tokens {
    /// Returns the time of each token's last use, as far as the server has recorded it.
    pub fn last_used(&self) -> BTreeMap<TokenName, Timestamp> {
        used::read(self.folder())
    }
}

impl TokensFileStamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = path.metadata()?;
        Ok(Self {
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// Runs `work`, which may block on the disk, on the blocking thread pool.
async fn blocking<T: Send + 'static>(
    auth: &Arc<Authenticator>,
    work: impl FnOnce(&Authenticator) -> T + Send + 'static,
) -> Option<T> {
    let auth = auth.clone();
    tokio::task::spawn_blocking(move || work(&auth)).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{IdPatterns, NewToken, Scope};

    fn create(tokens: &Tokens, name: &str) -> Secret {
        let (tasks, runs) = (IdPatterns::all(), IdPatterns::all());
        let new = NewToken { name: name.parse().unwrap(), scope: Scope::Read, tasks, runs, expires: None };
        tokens.create(new).unwrap().0
    }

    async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    #[tokio::test]
    async fn a_running_server_follows_changes_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let auth = Arc::new(Authenticator::open(folder.path()).unwrap());
        let shutdown = CancellationToken::new();
        let following = tokio::spawn(auth.clone().follow(shutdown.clone()));
        let mut anonymous = auth.lease(auth.check(None).unwrap());
        let first = create(&tokens, "first");
        assert_eq!(within("the first token", anonymous.ended()).await, LeaseEnd::TokenNeeded);
        assert_eq!(auth.check(None).unwrap_err(), AuthError::Missing);
        let mut lease = auth.lease(auth.check(Some(first.reveal())).unwrap());
        create(&tokens, "second");
        let mut changes = auth.keyring();
        changes.mark_unchanged();
        assert_eq!(lease.end_reason(), None);
        tokens.revoke(&"first".parse().unwrap()).unwrap();
        assert_eq!(within("the revocation", lease.ended()).await, LeaseEnd::Revoked);
        assert!(matches!(auth.check(Some(first.reveal())), Err(AuthError::Revoked(_))));
        // With a corrupt or missing file every request is rejected, until the file is restored.
        let good = std::fs::read(tokens.path()).unwrap();
        let mut owner = auth.lease(auth.check(Some(auth.owner().reveal())).unwrap());
        std::fs::write(tokens.path(), "{").unwrap();
        assert_eq!(within("the broken file", owner.ended()).await, LeaseEnd::Unreadable);
        std::fs::remove_file(tokens.path()).unwrap();
        let missing = || async {
            while !auth.unreadable().is_some_and(|why| why.contains("is missing")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the loss", missing()).await;
        assert!(matches!(auth.check(None), Err(AuthError::Unreadable(_))), "not open");
        std::fs::write(tokens.path(), good).unwrap();
        let back = || async {
            while auth.unreadable().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the file's return", back()).await;
        assert_eq!(auth.check(None).unwrap_err(), AuthError::Missing);
        shutdown.cancel();
        within("the end", following).await.unwrap();
        assert!(tokens.last_used().contains_key(&"first".parse().unwrap()), "its use was recorded");
    }

    #[test]
    fn a_new_token_is_accepted_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        create(&tokens, "first");
        // No task follows the file here.
        let auth = Authenticator::open(folder.path()).unwrap();
        let second = create(&tokens, "second");
        assert!(auth.check(Some(second.reveal())).is_ok());
        let third = create(&tokens, "third");
        tokens.revoke(&"third".parse().unwrap()).unwrap();
        assert!(matches!(auth.check(Some(third.reveal())), Err(AuthError::Revoked(_))));
    }

    #[test]
    fn a_sign_in_rejects_a_token_as_soon_as_it_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let secret = create(&tokens, "first");
        // No task follows the file here.
        let auth = Authenticator::open(folder.path()).unwrap();
        assert!(auth.check_latest(secret.reveal()).is_ok());
        tokens.revoke(&"first".parse().unwrap()).unwrap();
        assert!(matches!(auth.check_latest(secret.reveal()), Err(AuthError::Revoked(_))));
    }
}
