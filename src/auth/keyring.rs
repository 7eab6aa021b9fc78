//! A snapshot of the tokens of a store, and the lookup of a presented token.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lease::LeaseEnd;
use super::{Caller, Scope, Secret, Token, TokenDigest, TokenName, TokenStatus};
use crate::model::Timestamp;

/// A token and the time of its last use.
#[derive(Clone, Debug)]
pub struct TokenEntry {
    pub(super) token: Token,
    /// Last use in milliseconds since 1970, 0 if never. Shared by all snapshots that contain the token.
    pub(super) used_ms: Arc<AtomicU64>,
}

impl Deref for TokenEntry {
    type Target = Token;

    fn deref(&self) -> &Token {
        &self.token
    }
}

/// The reason why authentication failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token was given.
    #[error("no access token was given")]
    Missing,
    /// The token is not one of the store's.
    #[error("unknown access token")]
    Unknown,
    /// The token was revoked.
    #[error("access token `{0}` was revoked")]
    Revoked(TokenName),
    /// The token has expired.
    #[error("access token `{0}` has expired")]
    Expired(TokenName),
    /// Two different tokens were given.
    #[error("two different access tokens were given")]
    Contradictory,
    /// The tokens of the store are not known, so every caller is rejected.
    #[error("cannot read the access tokens of this store: {0}")]
    Unreadable(String),
}

impl AuthError {
    /// Returns a stable identifier, for counters.
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

/// An immutable snapshot of a store's tokens.
#[derive(Debug)]
pub struct Keyring(KeyringState);

/// The contents of a [`Keyring`].
#[derive(Debug)]
pub(super) enum KeyringState {
    /// No tokens: every caller may do everything.
    Open,
    /// Tokens by the first bytes of their digests.
    Closed(HashMap<[u8; 8], Vec<Arc<TokenEntry>>>),
    /// The reason why the tokens cannot be read.
    Unreadable(String),
}

impl Keyring {
    /// Returns a keyring in this state.
    pub(super) fn new(state: KeyringState) -> Self {
        Self(state)
    }

    /// Returns a keyring with these tokens. Times of last use carry over from `before`.
    pub(super) fn of(tokens: Vec<Token>, before: &Self) -> Self {
        if tokens.is_empty() {
            return Self(KeyringState::Open);
        }
        let mut by_prefix: HashMap<[u8; 8], Vec<Arc<TokenEntry>>> = HashMap::new();
        for token in tokens {
            let used_ms = before.find(&token.sha256).map(|entry| entry.used_ms.clone()).unwrap_or_default();
            by_prefix.entry(token.sha256.prefix()).or_default().push(Arc::new(TokenEntry { token, used_ms }));
        }
        Self(KeyringState::Closed(by_prefix))
    }

    /// Returns whether callers need a token.
    pub fn auth_required(&self) -> bool {
        !matches!(self.0, KeyringState::Open)
    }

    /// Returns the reason why the tokens cannot be read, if they cannot.
    pub fn unreadable(&self) -> Option<&str> {
        match &self.0 {
            KeyringState::Unreadable(why) => Some(why),
            _ => None,
        }
    }

    /// Authenticates the bearer of `token`. In an open store any token, or none, is accepted.
    pub(super) fn check(
        &self,
        token: Option<&str>,
        owner: &Arc<TokenEntry>,
        now: Timestamp,
    ) -> Result<Caller, AuthError> {
        match (&self.0, token) {
            (KeyringState::Open, _) => return Ok(Caller::anonymous()),
            (KeyringState::Unreadable(why), _) => return Err(AuthError::Unreadable(why.clone())),
            (KeyringState::Closed(_), None) => return Err(AuthError::Missing),
            (KeyringState::Closed(_), Some(_)) => {}
        }
        let digest = TokenDigest::of(token.unwrap_or_default().as_bytes());
        let entry = if owner.sha256 == digest { Some(owner) } else { self.find(&digest) };
        let entry = entry.ok_or(AuthError::Unknown)?;
        match entry.status(now) {
            TokenStatus::Active => {}
            TokenStatus::Revoked => return Err(AuthError::Revoked(entry.name.clone())),
            TokenStatus::Expired => return Err(AuthError::Expired(entry.name.clone())),
        }
        entry.used_ms.store(now.as_millis(), Ordering::Relaxed);
        Ok(Caller::token(entry.clone()))
    }

    /// Returns the reason why an authenticated caller has lost access since, if it has.
    pub(super) fn end_reason(&self, caller: &Caller, owner: &TokenEntry, now: Timestamp) -> Option<LeaseEnd> {
        use super::caller::Identity;
        if caller.until.is_some_and(|until| until <= now) {
            return Some(LeaseEnd::Expired);
        }
        if caller.end.as_ref().is_some_and(tokio_util::sync::CancellationToken::is_cancelled) {
            return Some(LeaseEnd::Withdrawn);
        }
        if matches!(self.0, KeyringState::Unreadable(_)) {
            return Some(LeaseEnd::Unreadable);
        }
        match &caller.identity {
            Identity::Anonymous => self.auth_required().then_some(LeaseEnd::TokenNeeded),
            Identity::Share(_) => None,
            // The store requires no tokens any more.
            Identity::Token(_) | Identity::Session(_) if !self.auth_required() => None,
            Identity::Token(entry) | Identity::Session(entry) => {
                if entry.sha256 == owner.sha256 {
                    return None;
                }
                let Some(known) = self.find(&entry.sha256) else { return Some(LeaseEnd::Revoked) };
                match known.status(now) {
                    TokenStatus::Revoked => Some(LeaseEnd::Revoked),
                    TokenStatus::Expired => Some(LeaseEnd::Expired),
                    // The file was edited: permissions must be checked again.
                    TokenStatus::Active => (known.token != entry.token).then_some(LeaseEnd::Changed),
                }
            }
        }
    }

    /// Returns whether any token, past or present, may write, but not to every run. True while the tokens
    /// are unreadable.
    pub(super) fn bounds_runs(&self) -> bool {
        let bounded = |entry: &Arc<TokenEntry>| entry.scope >= Scope::Write && !entry.runs.matches_all();
        matches!(self.0, KeyringState::Unreadable(_)) || self.all().any(bounded)
    }

    /// Returns all tokens, in no particular order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<TokenEntry>> {
        let rows = match &self.0 {
            KeyringState::Closed(by_prefix) => Some(by_prefix.values().flatten()),
            _ => None,
        };
        rows.into_iter().flatten()
    }

    /// Returns the token with this digest.
    fn find(&self, digest: &TokenDigest) -> Option<&Arc<TokenEntry>> {
        let KeyringState::Closed(by_prefix) = &self.0 else { return None };
        by_prefix.get(&digest.prefix())?.iter().find(|entry| entry.sha256 == *digest)
    }
}

/// Returns the token of the server's own process. It may do everything, as access to the data folder implies
/// full control.
pub(super) fn owner(secret: &Secret) -> std::io::Result<Arc<TokenEntry>> {
    let name = "(this process)".parse().map_err(std::io::Error::other)?;
    let (tasks, runs) = (super::IdPatterns::all(), super::IdPatterns::all());
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
    Ok(Arc::new(TokenEntry { token, used_ms: Arc::default() }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::auth::{IdPatterns, Scope};

    fn patterns(patterns: &[&str]) -> IdPatterns {
        IdPatterns::new(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
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
            sha256: TokenDigest::of(text.as_bytes()),
        }
    }

    /// Returns a token entry for a caller.
    pub(in crate::auth) fn token_entry(scope: Scope, tasks: &[&str], runs: &[&str]) -> Arc<TokenEntry> {
        Arc::new(TokenEntry { token: token("t", scope, tasks, runs), used_ms: Arc::default() })
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn check_accepts_active_tokens_and_reports_why_others_fail() {
        let secret = Secret::generate().unwrap();
        let owner = owner(&secret).unwrap();
        let open = Keyring::new(KeyringState::Open);
        assert!(
            !open.auth_required()
                && open.check(None, &owner, at(1)).is_ok()
                && open.check(Some("x"), &owner, at(1)).is_ok()
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
        // Revoking the last token leaves the store closed.
        let last = Keyring::of(vec![revoked], &ring);
        assert!(last.auth_required());
        assert_eq!(last.check(None, &owner, at(1)).unwrap_err().reason(), "missing");
        let broken = Keyring::new(KeyringState::Unreadable("why".into()));
        assert_eq!(broken.check(Some(secret.reveal()), &owner, at(1)).unwrap_err().reason(), "unreadable");
    }

    #[test]
    fn a_caller_loses_access_with_its_token() {
        let owner = owner(&Secret::generate().unwrap()).unwrap();
        let open = Keyring::new(KeyringState::Open);
        let row = token("a", Scope::Write, &["*"], &["*"]);
        let ring = Keyring::of(vec![row.clone()], &open);
        let caller = ring.check(Some("a"), &owner, at(1)).unwrap();
        let ended = |row: Token, ms| Keyring::of(vec![row], &ring).end_reason(&caller, &owner, at(ms));
        assert_eq!(ended(row.clone(), 1), None);
        assert_eq!(ended(Token { revoked: Some(at(1)), ..row.clone() }, 1), Some(LeaseEnd::Revoked));
        assert_eq!(ended(Token { expires: Some(at(9)), ..row.clone() }, 9), Some(LeaseEnd::Expired));
        assert_eq!(ended(Token { scope: Scope::Read, ..row.clone() }, 1), Some(LeaseEnd::Changed));
        assert_eq!(ended(token("other", Scope::Read, &["*"], &["*"]), 1), Some(LeaseEnd::Revoked));
        assert_eq!(ring.end_reason(&Caller::anonymous(), &owner, at(1)), Some(LeaseEnd::TokenNeeded));
        assert_eq!(open.end_reason(&Caller::anonymous(), &owner, at(1)), None);
        let broken = Keyring::new(KeyringState::Unreadable("why".into()));
        assert_eq!(broken.end_reason(&caller, &owner, at(1)), Some(LeaseEnd::Unreadable));
    }
}
