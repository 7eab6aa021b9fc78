//! The tokens of a store as a server knows them at one moment, and what becomes of one that is shown.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lease::Ended;
use super::{Caller, Digest, Scope, Secret, Token, TokenName, TokenStatus};
use crate::model::Timestamp;

/// A token that somebody holds, and when it was used last.
#[derive(Clone, Debug)]
pub struct Held {
    pub(super) token: Token,
    /// Milliseconds since 1970; 0: never. Shared by all who know this token.
    pub(super) used_ms: Arc<AtomicU64>,
}

impl Deref for Held {
    type Target = Token;

    fn deref(&self) -> &Token {
        &self.token
    }
}

/// Why someone is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing was shown.
    #[error("no access token was given")]
    Missing,
    /// What was shown is none of the store's tokens.
    #[error("the access token is not known here")]
    Unknown,
    /// It was taken back.
    #[error("the access token `{0}` was revoked")]
    Revoked(TokenName),
    /// Its time is over.
    #[error("the access token `{0}` has expired")]
    Expired(TokenName),
    /// Two were shown, and they are not the same.
    #[error("two different access tokens were given")]
    Contradictory,
    /// The store's tokens are not known: nobody is let in.
    #[error("the access tokens of this store cannot be read: {0}")]
    Unreadable(String),
}

impl Denied {
    /// A stable word, for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Revoked(_) => "revoked",
            Self::Expired(_) => "expired",
            Self::Contradictory => "contradictory",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// The tokens of a store at one moment.
#[derive(Debug)]
pub struct Keyring(State);

#[derive(Debug)]
pub(super) enum State {
    /// There are none: everyone may do everything.
    Open,
    /// By the first bytes of their digests.
    Closed(HashMap<[u8; 8], Vec<Arc<Held>>>),
    /// They cannot be read: why.
    Unreadable(String),
}

impl Keyring {
    pub(super) fn new(state: State) -> Self {
        Self(state)
    }

    /// Of these tokens; when one was used last goes over from `before`.
    pub(super) fn of(tokens: Vec<Token>, before: &Self) -> Self {
        if tokens.is_empty() {
            return Self(State::Open);
        }
        let mut by_prefix: HashMap<[u8; 8], Vec<Arc<Held>>> = HashMap::new();
        for token in tokens {
            let used_ms = before.held(&token.sha256).map(|held| held.used_ms.clone()).unwrap_or_default();
            by_prefix.entry(token.sha256.prefix()).or_default().push(Arc::new(Held { token, used_ms }));
        }
        Self(State::Closed(by_prefix))
    }

    /// Whether whoever comes has to show a token.
    pub fn asks(&self) -> bool {
        !matches!(self.0, State::Open)
    }

    /// Why the tokens cannot be read, if they cannot.
    pub fn unreadable(&self) -> Option<&str> {
        match &self.0 {
            State::Unreadable(why) => Some(why),
            _ => None,
        }
    }

    /// Who someone is that shows this; in an open store anyone, whatever is shown.
    pub(super) fn check(&self, shown: Option<&str>, owner: &Arc<Held>, now: Timestamp) -> Result<Caller, Denied> {
        match (&self.0, shown) {
            (State::Open, _) => return Ok(Caller::anonymous()),
            (State::Unreadable(why), _) => return Err(Denied::Unreadable(why.clone())),
            (State::Closed(_), None) => return Err(Denied::Missing),
            (State::Closed(_), Some(_)) => {}
        }
        let digest = Digest::of(shown.unwrap_or_default().as_bytes());
        let held = if owner.sha256 == digest { Some(owner) } else { self.held(&digest) };
        let held = held.ok_or(Denied::Unknown)?;
        match held.status(now) {
            TokenStatus::Active => {}
            TokenStatus::Revoked => return Err(Denied::Revoked(held.name.clone())),
            TokenStatus::Expired => return Err(Denied::Expired(held.name.clone())),
        }
        held.used_ms.store(now.as_millis(), Ordering::Relaxed);
        Ok(Caller::token(held.clone()))
    }

    /// Why a caller that was let in before has no place here any more, if it has none.
    pub(super) fn ended(&self, caller: &Caller, owner: &Held, now: Timestamp) -> Option<Ended> {
        use super::caller::Who;
        if caller.until.is_some_and(|until| until <= now) {
            return Some(Ended::Expired);
        }
        if caller.end.as_ref().is_some_and(tokio_util::sync::CancellationToken::is_cancelled) {
            return Some(Ended::Withdrawn);
        }
        if matches!(self.0, State::Unreadable(_)) {
            return Some(Ended::Unreadable);
        }
        match &caller.who {
            Who::Anonymous => self.asks().then_some(Ended::TokenNeeded),
            Who::Share(_) => None,
            // Nothing is asked for any more.
            Who::Token(_) | Who::Session(_) if !self.asks() => None,
            Who::Token(held) | Who::Session(held) => {
                if held.sha256 == owner.sha256 {
                    return None;
                }
                let Some(known) = self.held(&held.sha256) else { return Some(Ended::Revoked) };
                match known.status(now) {
                    TokenStatus::Revoked => Some(Ended::Revoked),
                    TokenStatus::Expired => Some(Ended::Expired),
                    // Somebody has edited the file: what it may now is asked for anew.
                    TokenStatus::Active => (known.token != held.token).then_some(Ended::Changed),
                }
            }
        }
    }

    /// Whether there is or was anyone who may write, and not every run. While the tokens are not known
    /// there may be.
    pub(super) fn bounds_runs(&self) -> bool {
        let bounded = |held: &Arc<Held>| held.scope >= Scope::Write && !held.runs.are_all();
        matches!(self.0, State::Unreadable(_)) || self.all().any(bounded)
    }

    /// All tokens, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Held>> {
        let rows = match &self.0 {
            State::Closed(by_prefix) => Some(by_prefix.values().flatten()),
            _ => None,
        };
        rows.into_iter().flatten()
    }

    fn held(&self, digest: &Digest) -> Option<&Arc<Held>> {
        let State::Closed(by_prefix) = &self.0 else { return None };
        by_prefix.get(&digest.prefix())?.iter().find(|held| held.sha256 == *digest)
    }
}

/// The token of the server's own process: whoever opened the data folder may do everything with it.
pub(super) fn owner(secret: &Secret) -> std::io::Result<Arc<Held>> {
    let name = "(this process)".parse().map_err(std::io::Error::other)?;
    let (tasks, runs) = (super::Patterns::all(), super::Patterns::all());
    let token = Token {
        name,
        scope: super::Scope::Admin,
        tasks,
        runs,
        created: Timestamp::now(),
        expires: None,
        revoked: None,
        sha256: secret.digest(),
    };
    Ok(Arc::new(Held { token, used_ms: Arc::default() }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::auth::{Patterns, Scope};

    fn patterns(patterns: &[&str]) -> Patterns {
        Patterns::new(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
    }

    fn token(text: &str, scope: Scope, tasks: &[&str], runs: &[&str]) -> Token {
        Token {
            name: "t".parse().unwrap(),
            scope,
            tasks: patterns(tasks),
            runs: patterns(runs),
            created: Timestamp::from_millis(0),
            expires: None,
            revoked: None,
            sha256: Digest::of(text.as_bytes()),
        }
    }

    /// A token as a caller holds it.
    pub(in crate::auth) fn held(scope: Scope, tasks: &[&str], runs: &[&str]) -> Arc<Held> {
        Arc::new(Held { token: token("t", scope, tasks, runs), used_ms: Arc::default() })
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_token_is_found_or_the_reason_is_told() {
        let secret = Secret::generate().unwrap();
        let owner = owner(&secret).unwrap();
        let open = Keyring::new(State::Open);
        assert!(
            !open.asks() && open.check(None, &owner, at(1)).is_ok() && open.check(Some("x"), &owner, at(1)).is_ok()
        );
        let expiring = Token { expires: Some(at(100)), ..token("b", Scope::Read, &["*"], &["*"]) };
        let revoked = Token { revoked: Some(at(1)), ..token("c", Scope::Read, &["*"], &["*"]) };
        let ring = Keyring::of(vec![token("a", Scope::Read, &["*"], &["*"]), expiring, revoked.clone()], &open);
        let check = |shown, ms| ring.check(shown, &owner, at(ms)).map(|_| ()).map_err(|denied| denied.reason());
        assert_eq!(check(None, 1), Err("missing"));
        assert_eq!(check(Some("a"), 1), Ok(()));
        assert_eq!(check(Some("A"), 1), Err("unknown"));
        assert_eq!(check(Some(""), 1), Err("unknown"));
        assert_eq!((check(Some("b"), 99), check(Some("b"), 100)), (Ok(()), Err("expired")));
        assert_eq!(check(Some("c"), 1), Err("revoked"));
        assert_eq!(check(Some(secret.reveal()), 1), Ok(()), "the process itself");
        // The last token that was revoked leaves the store closed.
        let last = Keyring::of(vec![revoked], &ring);
        assert!(last.asks());
        assert_eq!(last.check(None, &owner, at(1)).unwrap_err().reason(), "missing");
        let broken = Keyring::new(State::Unreadable("why".into()));
        assert_eq!(broken.check(Some(secret.reveal()), &owner, at(1)).unwrap_err().reason(), "unreadable");
    }

    #[test]
    fn a_caller_ends_with_its_token() {
        let owner = owner(&Secret::generate().unwrap()).unwrap();
        let open = Keyring::new(State::Open);
        let row = token("a", Scope::Write, &["*"], &["*"]);
        let ring = Keyring::of(vec![row.clone()], &open);
        let caller = ring.check(Some("a"), &owner, at(1)).unwrap();
        let ended = |row: Token, ms| Keyring::of(vec![row], &ring).ended(&caller, &owner, at(ms));
        assert_eq!(ended(row.clone(), 1), None);
        assert_eq!(ended(Token { revoked: Some(at(1)), ..row.clone() }, 1), Some(Ended::Revoked));
        assert_eq!(ended(Token { expires: Some(at(9)), ..row.clone() }, 9), Some(Ended::Expired));
        assert_eq!(ended(Token { scope: Scope::Read, ..row.clone() }, 1), Some(Ended::Changed));
        assert_eq!(ended(token("other", Scope::Read, &["*"], &["*"]), 1), Some(Ended::Revoked));
        assert_eq!(ring.ended(&Caller::anonymous(), &owner, at(1)), Some(Ended::TokenNeeded));
        assert_eq!(open.ended(&Caller::anonymous(), &owner, at(1)), None);
        let broken = Keyring::new(State::Unreadable("why".into()));
        assert_eq!(broken.ended(&caller, &owner, at(1)), Some(Ended::Unreadable));
    }
}
