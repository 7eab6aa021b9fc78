//! The identity of a request, and the permission check.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Scope, TokenEntry};
use crate::model::{RunId, TaskId, Timestamp};

/// The authenticated party behind a request.
///
/// A caller is created once, when a request is authenticated, and travels with the request or connection.
/// It does not track whether access has ended since; a [`Lease`](super::Lease) does.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) identity: Identity,
    /// Expiry of the session or share, independent of the token's.
    pub(super) until: Option<Timestamp>,
    /// Cancelled when the session or share itself is withdrawn, such as by a sign-out.
    pub(super) end: Option<CancellationToken>,
}

/// The kind of credentials a caller presented.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    Anonymous,
    Token(Arc<TokenEntry>),
    Session(Arc<TokenEntry>),
    Share(TaskId),
}

/// The object of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// One task and its log.
    Task(&'a TaskId),
    /// One run and its events.
    Run(&'a RunId),
    /// A key of the Redis port: a task's, a run's, or another.
    Key(&'a [u8]),
    /// No particular object, such as a list that is filtered to visible items, or counters.
    Any,
    /// The whole store.
    Store,
}

/// The result of a permission check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request is permitted.
    Allowed,
    /// The caller may see the object, but not do this with it.
    Forbidden,
    /// The caller must not learn whether the object exists.
    Hidden,
}

impl Caller {
    /// Returns the caller of every request to a store without tokens.
    pub fn anonymous() -> Self {
        Self { identity: Identity::Anonymous, until: None, end: None }
    }

    /// Returns a caller that presented an access token.
    pub fn token(token: Arc<TokenEntry>) -> Self {
        Self { identity: Identity::Token(token), until: None, end: None }
    }

    /// Returns a browser that signed in with a token. It has the token's permissions until `until`, or
    /// until `end` is cancelled.
    pub fn session(token: Arc<TokenEntry>, until: Timestamp, end: CancellationToken) -> Self {
        Self { identity: Identity::Session(token), until: Some(until), end: Some(end) }
    }

    /// Returns a caller with a share link. It may read `task` until `until`, or until `end` is cancelled.
    pub fn share(task: TaskId, until: Timestamp, end: CancellationToken) -> Self {
        Self { identity: Identity::Share(task), until: Some(until), end: Some(end) }
    }

    /// Checks whether the caller has `scope` on `resource`.
    pub fn may(&self, scope: Scope, resource: Resource<'_>) -> Decision {
        if self.is_hidden(resource) {
            return Decision::Hidden;
        }
        let enough = match &self.identity {
            Identity::Anonymous => true,
            Identity::Token(token) | Identity::Session(token) => {
                scope <= token.scope && (resource != Resource::Store || token.covers_all())
            }
            Identity::Share(_) => scope == Scope::Read && matches!(resource, Resource::Task(_) | Resource::Key(_)),
        };
        if enough { Decision::Allowed } else { Decision::Forbidden }
    }

    /// Returns whether lists show this task to the caller.
    pub fn sees_task(&self, task: &TaskId) -> bool {
        self.may(Scope::Read, Resource::Task(task)) == Decision::Allowed
    }

    /// Returns whether lists show this run to the caller.
    pub fn sees_run(&self, run: &RunId) -> bool {
        self.may(Scope::Read, Resource::Run(run)) == Decision::Allowed
    }

    /// Returns whether lists show this key to the caller.
    pub fn sees_key(&self, key: &[u8]) -> bool {
        self.may(Scope::Read, Resource::Key(key)) == Decision::Allowed
    }

    /// Returns whether nothing is hidden from the caller.
    pub fn sees_all(&self) -> bool {
        match &self.identity {
            Identity::Anonymous => true,
            Identity::Token(token) | Identity::Session(token) => token.covers_all(),
            Identity::Share(_) => false,
        }
    }

    /// Returns the caller's token, unless it is anonymous or has a share link.
    pub fn token_entry(&self) -> Option<&Arc<TokenEntry>> {
        match &self.identity {
            Identity::Token(token) | Identity::Session(token) => Some(token),
            Identity::Anonymous | Identity::Share(_) => None,
        }
    }

    /// Returns whether the caller is anonymous, in a store that requires no token.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.identity, Identity::Anonymous)
    }

    /// Returns whether the caller has a share link.
    pub fn is_share(&self) -> bool {
        matches!(self.identity, Identity::Share(_))
    }

    /// Returns the expiry of the session or share, which may precede the token's.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Returns the caller's name for traces: at most the name of a token.
    pub fn name(&self) -> &str {
        match &self.identity {
            Identity::Anonymous => "anonymous",
            Identity::Token(token) | Identity::Session(token) => token.name.as_str(),
            Identity::Share(_) => "share link",
        }
    }

    /// Returns whether the caller must not learn that `resource` exists.
    fn is_hidden(&self, resource: Resource<'_>) -> bool {
        let token = match &self.identity {
            Identity::Anonymous => return false,
            Identity::Token(token) | Identity::Session(token) => token,
            Identity::Share(shared) => {
                return match resource {
                    Resource::Task(task) => task != shared,
                    Resource::Key(key) => TaskId::from_stream_key(key).as_ref() != Some(shared),
                    Resource::Run(_) => true,
                    Resource::Any | Resource::Store => false,
                };
            }
        };
        match resource {
            Resource::Task(task) => !token.tasks.matches(task.as_str()),
            Resource::Run(run) => !token.runs.matches(run.as_str()),
            Resource::Key(key) => match (TaskId::from_stream_key(key), RunId::from_stream_key(key)) {
                (Some(task), _) => !token.tasks.matches(task.as_str()),
                (None, Some(run)) => !token.runs.matches(run.as_str()),
                (None, None) => !token.covers_all(),
            },
            Resource::Any | Resource::Store => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keyring::tests::token_entry;

    #[test]
    fn scope_and_patterns_limit_a_token() {
        let (seven, other): (TaskId, TaskId) = ("build-7".parse().unwrap(), "deploy".parse().unwrap());
        let run: RunId = "nightly".parse().unwrap();
        let caller = Caller::token(token_entry(Scope::Write, &["build-*"], &["nightly*"]));
        use Decision::{Allowed, Forbidden, Hidden};
        for (scope, resource, decision) in [
            (Scope::Read, Resource::Task(&seven), Allowed),
            (Scope::Write, Resource::Task(&seven), Allowed),
            (Scope::Admin, Resource::Task(&seven), Forbidden),
            (Scope::Read, Resource::Task(&other), Hidden),
            (Scope::Admin, Resource::Task(&other), Hidden),
            (Scope::Read, Resource::Run(&run), Allowed),
            (Scope::Read, Resource::Key(b"task:logs:build-1"), Allowed),
            (Scope::Read, Resource::Key(b"task:logs:deploy"), Hidden),
            (Scope::Read, Resource::Key(b"run:events:nightly2"), Allowed),
            (Scope::Read, Resource::Key(b"run:events:build-1"), Hidden),
            (Scope::Read, Resource::Key(b"anything"), Hidden),
            (Scope::Read, Resource::Key(b"task:logs:build-1/x"), Hidden),
            (Scope::Read, Resource::Any, Allowed),
            (Scope::Write, Resource::Store, Forbidden),
        ] {
            assert_eq!(caller.may(scope, resource), decision, "{scope} {resource:?}");
        }
        let admin = Caller::token(token_entry(Scope::Admin, &["*"], &["*"]));
        assert_eq!(admin.may(Scope::Admin, Resource::Store), Allowed);
        assert_eq!(admin.may(Scope::Admin, Resource::Key(b"anything")), Allowed);
        let half = Caller::token(token_entry(Scope::Admin, &["*"], &["nightly*"]));
        assert_eq!(half.may(Scope::Admin, Resource::Store), Forbidden);
        assert_eq!(half.may(Scope::Read, Resource::Key(b"anything")), Hidden);
        assert_eq!(Caller::anonymous().may(Scope::Admin, Resource::Store), Allowed);
    }

    #[test]
    fn a_share_grants_read_access_to_one_task() {
        let (shared, other): (TaskId, TaskId) = ("build-7".parse().unwrap(), "build-8".parse().unwrap());
        let run: RunId = "build-7".parse().unwrap();
        let caller = Caller::share(shared.clone(), Timestamp::now(), CancellationToken::new());
        assert_eq!(caller.may(Scope::Read, Resource::Task(&shared)), Decision::Allowed);
        assert_eq!(caller.may(Scope::Write, Resource::Task(&shared)), Decision::Forbidden);
        assert_eq!(caller.may(Scope::Read, Resource::Task(&other)), Decision::Hidden);
        assert_eq!(caller.may(Scope::Read, Resource::Run(&run)), Decision::Hidden);
        assert_eq!(caller.may(Scope::Read, Resource::Any), Decision::Forbidden);
        assert!(caller.sees_key(b"task:logs:build-7") && !caller.sees_key(b"task:logs:build-8"));
    }
}
