//! Who asks, and what the answer is.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Held, Scope};
use crate::model::{RunId, TaskId, Timestamp};

/// Who asks for something.
///
/// A caller is made once, at the door, and then goes with the request or the connection. It says
/// nothing of whether its time is over meanwhile: that is a [`Lease`](super::Lease)'s.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) who: Who,
    /// Its own end, before its token's.
    pub(super) until: Option<Timestamp>,
    /// Cancelled when it is taken back by itself: signed out.
    pub(super) end: Option<CancellationToken>,
}

#[derive(Clone, Debug)]
pub(super) enum Who {
    Anonymous,
    Token(Arc<Held>),
    Session(Arc<Held>),
    Share(TaskId),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// One task and its log.
    Task(&'a TaskId),
    /// One run and its events.
    Run(&'a RunId),
    /// A key of the Redis port: a task's, a run's, or any other.
    Key(&'a [u8]),
    /// Nothing by name: a list that shows what may be seen, counts.
    Any,
    /// All there is.
    Store,
}

/// What the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// It is the caller's to see, and not to do this with.
    Forbidden,
    /// It is not the caller's to know whether it is there.
    Hidden,
}

impl Caller {
    /// Anyone, in a store without tokens.
    pub fn anonymous() -> Self {
        Self { who: Who::Anonymous, until: None, end: None }
    }

    /// Someone with a token.
    pub fn token(held: Arc<Held>) -> Self {
        Self { who: Who::Token(held), until: None, end: None }
    }

    /// A browser that signed in with a token: may what the token may, until `until`, and until `end`
    /// is cancelled.
    pub fn session(held: Arc<Held>, until: Timestamp, end: CancellationToken) -> Self {
        Self { who: Who::Session(held), until: Some(until), end: Some(end) }
    }

    /// Someone who was given a link: may read this task, until `until`, and until `end` is cancelled.
    pub fn share(task: TaskId, until: Timestamp, end: CancellationToken) -> Self {
        Self { who: Who::Share(task), until: Some(until), end: Some(end) }
    }

    /// Whether this may be done with that.
    pub fn may(&self, scope: Scope, object: Object<'_>) -> Verdict {
        if self.is_hidden(object) {
            return Verdict::Hidden;
        }
        let enough = match &self.who {
            Who::Anonymous => true,
            Who::Token(held) | Who::Session(held) => {
                scope <= held.scope && (object != Object::Store || held.is_for_all())
            }
            Who::Share(_) => scope == Scope::Read && matches!(object, Object::Task(_) | Object::Key(_)),
        };
        if enough { Verdict::Allowed } else { Verdict::Forbidden }
    }

    /// Whether a list shows it this task.
    pub fn sees_task(&self, task: &TaskId) -> bool {
        self.may(Scope::Read, Object::Task(task)) == Verdict::Allowed
    }

    /// Whether a list shows it this run.
    pub fn sees_run(&self, run: &RunId) -> bool {
        self.may(Scope::Read, Object::Run(run)) == Verdict::Allowed
    }

    /// Whether a list shows it this key.
    pub fn sees_key(&self, key: &[u8]) -> bool {
        self.may(Scope::Read, Object::Key(key)) == Verdict::Allowed
    }

    /// Whether there is nothing that is hidden from it.
    pub fn sees_all(&self) -> bool {
        match &self.who {
            Who::Anonymous => true,
            Who::Token(held) | Who::Session(held) => held.is_for_all(),
            Who::Share(_) => false,
        }
    }

    /// The token it came with, if it came with one.
    pub fn held(&self) -> Option<&Arc<Held>> {
        match &self.who {
            Who::Token(held) | Who::Session(held) => Some(held),
            Who::Anonymous | Who::Share(_) => None,
        }
    }

    /// Whether it came without a token, in a store that asks for none.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.who, Who::Anonymous)
    }

    /// Its own end, before its token's: that of a session or a share.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// What it may be called in a trace: the name of a token, never more.
    pub fn name(&self) -> &str {
        match &self.who {
            Who::Anonymous => "anonymous",
            Who::Token(held) | Who::Session(held) => held.name.as_str(),
            Who::Share(_) => "share link",
        }
    }

    fn is_hidden(&self, object: Object<'_>) -> bool {
        let held = match &self.who {
            Who::Anonymous => return false,
            Who::Token(held) | Who::Session(held) => held,
            Who::Share(shared) => {
                return match object {
                    Object::Task(task) => task != shared,
                    Object::Key(key) => TaskId::from_stream_key(key).as_ref() != Some(shared),
                    Object::Run(_) => true,
                    Object::Any | Object::Store => false,
                };
            }
        };
        match object {
            Object::Task(task) => !held.tasks.fit(task.as_str()),
            Object::Run(run) => !held.runs.fit(run.as_str()),
            Object::Key(key) => match (TaskId::from_stream_key(key), RunId::from_stream_key(key)) {
                (Some(task), _) => !held.tasks.fit(task.as_str()),
                (None, Some(run)) => !held.runs.fit(run.as_str()),
                (None, None) => !held.is_for_all(),
            },
            Object::Any | Object::Store => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keyring::tests::held;

    #[test]
    fn a_token_may_what_its_scope_and_its_patterns_say() {
        let (seven, other): (TaskId, TaskId) = ("build-7".parse().unwrap(), "deploy".parse().unwrap());
        let run: RunId = "nightly".parse().unwrap();
        let caller = Caller::token(held(Scope::Write, &["build-*"], &["nightly*"]));
        use Verdict::{Allowed, Forbidden, Hidden};
        for (scope, object, verdict) in [
            (Scope::Read, Object::Task(&seven), Allowed),
            (Scope::Write, Object::Task(&seven), Allowed),
            (Scope::Admin, Object::Task(&seven), Forbidden),
            (Scope::Read, Object::Task(&other), Hidden),
            (Scope::Admin, Object::Task(&other), Hidden),
            (Scope::Read, Object::Run(&run), Allowed),
            (Scope::Read, Object::Key(b"task:logs:build-1"), Allowed),
            (Scope::Read, Object::Key(b"task:logs:deploy"), Hidden),
            (Scope::Read, Object::Key(b"run:events:nightly2"), Allowed),
            (Scope::Read, Object::Key(b"run:events:build-1"), Hidden),
            (Scope::Read, Object::Key(b"anything"), Hidden),
            (Scope::Read, Object::Key(b"task:logs:build-1/x"), Hidden),
            (Scope::Read, Object::Any, Allowed),
            (Scope::Write, Object::Store, Forbidden),
        ] {
            assert_eq!(caller.may(scope, object), verdict, "{scope} {object:?}");
        }
        let admin = Caller::token(held(Scope::Admin, &["*"], &["*"]));
        assert_eq!(admin.may(Scope::Admin, Object::Store), Allowed);
        assert_eq!(admin.may(Scope::Admin, Object::Key(b"anything")), Allowed);
        let half = Caller::token(held(Scope::Admin, &["*"], &["nightly*"]));
        assert_eq!(half.may(Scope::Admin, Object::Store), Forbidden);
        assert_eq!(half.may(Scope::Read, Object::Key(b"anything")), Hidden);
        assert_eq!(Caller::anonymous().may(Scope::Admin, Object::Store), Allowed);
    }

    #[test]
    fn a_share_reads_one_task() {
        let (shared, other): (TaskId, TaskId) = ("build-7".parse().unwrap(), "build-8".parse().unwrap());
        let run: RunId = "build-7".parse().unwrap();
        let caller = Caller::share(shared.clone(), Timestamp::now(), CancellationToken::new());
        assert_eq!(caller.may(Scope::Read, Object::Task(&shared)), Verdict::Allowed);
        assert_eq!(caller.may(Scope::Write, Object::Task(&shared)), Verdict::Forbidden);
        assert_eq!(caller.may(Scope::Read, Object::Task(&other)), Verdict::Hidden);
        assert_eq!(caller.may(Scope::Read, Object::Run(&run)), Verdict::Hidden);
        assert_eq!(caller.may(Scope::Read, Object::Any), Verdict::Forbidden);
        assert!(caller.sees_key(b"task:logs:build-7") && !caller.sees_key(b"task:logs:build-8"));
    }
}
