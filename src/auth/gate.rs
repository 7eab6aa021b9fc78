//! What a server holds: the tokens of its store as they are now, and who comes with which.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::keyring::{self, State};
use super::used::{self, Used};
use super::{Caller, Denied, Ended, Held, Keyring, Lease, Secret, TokenName, Tokens};
use crate::model::Timestamp;

/// The file is looked at this often: one question to the system, which opens nothing.
const POLL: Duration = Duration::from_millis(150);

/// The door of a store.
#[derive(Debug)]
pub struct Gate {
    tokens: Tokens,
    /// Moves when the tokens do; live connections wait on it.
    keyring: watch::Sender<Arc<Keyring>>,
    /// What the server's own process comes in with.
    secret: Secret,
    owner: Arc<Held>,
    /// Held while the file is looked at.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    /// There were tokens: without its file the store is not open.
    closed: bool,
}

/// By which another version of the file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Gate {
    /// Reads the tokens of the store in this folder. One that cannot be read lets nobody in.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn open(data: &Path) -> io::Result<Self> {
        let secret = Secret::generate()?;
        let owner = keyring::owner(&secret)?;
        let keyring = watch::Sender::new(Arc::new(Keyring::new(State::Open)));
        let gate = Self { tokens: Tokens::at(data), keyring, secret, owner, seen: Mutex::default() };
        gate.refresh();
        Ok(gate)
    }

    /// Whether whoever comes has to show a token.
    pub fn asks(&self) -> bool {
        self.keyring.borrow().asks()
    }

    /// Whether writers of this store are, or were, kept to runs of their own. Then what a task prints may
    /// not name any run it likes: nobody knows any more who wrote which line of it.
    pub fn bounds_runs(&self) -> bool {
        self.keyring.borrow().bounds_runs()
    }

    /// Why the tokens cannot be read, if they cannot.
    pub fn unreadable(&self) -> Option<String> {
        self.keyring.borrow().unreadable().map(str::to_owned)
    }

    /// Who someone is that shows this token, or none.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn check(&self, shown: Option<&str>) -> Result<Caller, Denied> {
        let known = self.keyring.borrow().check(shown, &self.owner, Timestamp::now());
        if !matches!(known, Err(Denied::Unknown)) {
            return known;
        }
        // It may have been made a moment ago: whoever makes a token uses it at once. A question to the
        // system, and the file only if it is another one.
        self.refresh();
        self.keyring.borrow().check(shown, &self.owner, Timestamp::now())
    }

    /// A token by its name, if it is taken now: for a session that was opened with it.
    pub fn active(&self, name: &TokenName) -> Option<Arc<Held>> {
        let keyring = self.keyring.borrow();
        let now = Timestamp::now();
        keyring.all().find(|held| held.name == *name && held.status(now) == super::TokenStatus::Active).cloned()
    }

    /// Why a caller that was let in before has no place here any more, if it has none.
    pub fn is_over(&self, caller: &Caller) -> Option<Ended> {
        self.keyring.borrow().ended(caller, &self.owner, Timestamp::now())
    }

    /// What a live connection watches.
    pub fn lease(&self, caller: Caller) -> Lease {
        Lease { caller, owner: self.owner.clone(), keyring: self.keyring.subscribe() }
    }

    /// The tokens as they are now, and each change of them.
    pub fn keyring(&self) -> watch::Receiver<Arc<Keyring>> {
        self.keyring.subscribe()
    }

    /// What this process itself comes in with: whoever opened the data folder may do everything. It is
    /// in no file.
    pub fn owner(&self) -> &Secret {
        &self.secret
    }

    /// Follows the file until the server ends.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut known: Used = blocking(&self, |gate| used::read(gate.tokens.folder())).await.unwrap_or_default();
        loop {
            let ending = tokio::select! {
                () = shutdown.cancelled() => true,
                () = tokio::time::sleep(POLL) => false,
            };
            blocking(&self, Self::refresh).await;
            let keyring = self.keyring.borrow().clone();
            if used::take(&mut known, &keyring, ending) {
                let snapshot = known.clone();
                blocking(&self, move |gate| used::write(gate.tokens.folder(), &snapshot)).await;
            }
            if ending {
                return;
            }
        }
    }

    /// Takes in the file if it is another one than before.
    fn refresh(&self) {
        let mut seen = self.seen.lock();
        let stamp = Stamp::of(&self.tokens.path());
        if seen.stamp.is_some() && stamp.as_ref().ok() == seen.stamp.as_ref() {
            return;
        }
        let before = self.keyring.borrow().clone();
        // An open store stays open without a look into it: that would take a file, and there may be none left.
        let absent = stamp.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if absent && !seen.closed && !before.asks() {
            return;
        }
        let after = match self.tokens.read() {
            Ok(Some(rows)) => Keyring::of(rows, &before),
            Ok(None) if seen.closed => {
                let why = "tokens.json has gone; put it back, or start the server anew to open the store to everyone";
                Keyring::new(State::Unreadable(why.to_owned()))
            }
            Ok(None) => Keyring::new(State::Open),
            Err(error) => Keyring::new(State::Unreadable(error.to_string())),
        };
        // Of a file that could not be read the next look is a fresh one.
        seen.stamp = stamp.ok().filter(|_| after.unreadable().is_none());
        seen.closed |= after.asks();
        match (before.unreadable(), after.unreadable()) {
            (before, Some(why)) if before != Some(why) => {
                tracing::error!(why, "the access tokens cannot be read: nobody is let in");
            }
            (Some(_), None) => tracing::info!("the access tokens can be read again"),
            (_, Some(_)) => return,
            (None, None) => {}
        }
        if before.asks() || after.asks() {
            self.keyring.send_replace(Arc::new(after));
        }
    }
}

impl Tokens {
    /// When each token was used last, as far as the server has written it down.
    pub fn last_used(&self) -> BTreeMap<TokenName, Timestamp> {
        used::read(self.folder())
    }
}

impl Stamp {
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

/// Runs what may wait for a disk where that is allowed.
async fn blocking<T: Send + 'static>(gate: &Arc<Gate>, work: impl FnOnce(&Gate) -> T + Send + 'static) -> Option<T> {
    let gate = gate.clone();
    tokio::task::spawn_blocking(move || work(&gate)).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{NewToken, Patterns, Scope};

    fn make(tokens: &Tokens, name: &str) -> Secret {
        let (tasks, runs) = (Patterns::all(), Patterns::all());
        let new = NewToken { name: name.parse().unwrap(), scope: Scope::Read, tasks, runs, expires: None };
        tokens.create(new).unwrap().0
    }

    async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    #[tokio::test]
    async fn a_running_server_follows_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        let gate = Arc::new(Gate::open(folder.path()).unwrap());
        let shutdown = CancellationToken::new();
        let following = tokio::spawn(gate.clone().follow(shutdown.clone()));
        let mut anonymous = gate.lease(gate.check(None).unwrap());
        let first = make(&tokens, "first");
        assert_eq!(within("the first token", anonymous.ended()).await, Ended::TokenNeeded);
        assert_eq!(gate.check(None).unwrap_err(), Denied::Missing);
        let mut lease = gate.lease(gate.check(Some(first.reveal())).unwrap());
        make(&tokens, "second");
        let mut changes = gate.keyring();
        changes.mark_unchanged();
        assert_eq!(lease.is_over(), None);
        tokens.revoke(&"first".parse().unwrap()).unwrap();
        assert_eq!(within("the revocation", lease.ended()).await, Ended::Revoked);
        assert!(matches!(gate.check(Some(first.reveal())), Err(Denied::Revoked(_))));
        // A file that is broken, or goes, lets nobody in; one that comes back does.
        let good = std::fs::read(tokens.path()).unwrap();
        let mut owner = gate.lease(gate.check(Some(gate.owner().reveal())).unwrap());
        std::fs::write(tokens.path(), "{").unwrap();
        assert_eq!(within("the broken file", owner.ended()).await, Ended::Unreadable);
        std::fs::remove_file(tokens.path()).unwrap();
        let gone = || async {
            while !gate.unreadable().is_some_and(|why| why.contains("has gone")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the loss", gone()).await;
        assert!(matches!(gate.check(None), Err(Denied::Unreadable(_))), "not open");
        std::fs::write(tokens.path(), good).unwrap();
        let back = || async {
            while gate.unreadable().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the file's return", back()).await;
        assert_eq!(gate.check(None).unwrap_err(), Denied::Missing);
        shutdown.cancel();
        within("the end", following).await.unwrap();
        assert!(tokens.last_used().contains_key(&"first".parse().unwrap()), "its use was written down");
    }

    #[test]
    fn a_token_is_taken_as_soon_as_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::at(folder.path());
        make(&tokens, "first");
        // Nobody follows the file.
        let gate = Gate::open(folder.path()).unwrap();
        let second = make(&tokens, "second");
        assert!(gate.check(Some(second.reveal())).is_ok());
        let third = make(&tokens, "third");
        tokens.revoke(&"third".parse().unwrap()).unwrap();
        assert!(matches!(gate.check(Some(third.reveal())), Err(Denied::Revoked(_))));
    }
}
