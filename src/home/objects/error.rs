//! Errors of a store: each names the object, the store and the remedy.

/// An operation on a store that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {action} {object} in {store}: {why}; {remedy}")]
pub struct ObjectError {
    kind: ObjectErrorKind,
    action: &'static str,
    object: String,
    store: String,
    why: String,
    remedy: String,
}

/// Kinds of failures, by what the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectErrorKind {
    /// There is no such object.
    NotFound,
    /// The store did not respond, or was overloaded, in every attempt. A later call may succeed. What a write
    /// has done is unknown.
    Unavailable,
    /// The credentials are missing, invalid, or lack a permission.
    Denied,
    /// A setting is wrong: the address, the endpoint, the region, a certificate.
    Settings,
    /// A local file cannot be read or written, or has changed.
    Local,
    /// The object is larger than the limit, or has other contents than promised.
    Unusable,
}

/// A failed attempt, before the context is known.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) why: String,
    pub(super) remedy: String,
}

/// The kind of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Another attempt may succeed.
    Transient,
    /// An object of this name exists, or a condition on its contents is not met.
    Exists,
    /// The store does not know this request.
    Unsupported,
    /// Another attempt fails alike.
    Final(ObjectErrorKind),
}

impl ObjectError {
    /// Returns the kind.
    pub fn kind(&self) -> ObjectErrorKind {
        self.kind
    }

    /// Reports whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.kind == ObjectErrorKind::NotFound
    }

    /// Reports whether a later call may succeed without a change of settings.
    pub fn is_transient(&self) -> bool {
        self.kind == ObjectErrorKind::Unavailable
    }

    pub(super) fn new(action: &'static str, object: impl ToString, store: impl ToString, failure: Failure) -> Self {
        let Failure { kind, why, remedy } = failure;
        let kind = match kind {
            FailureKind::Transient => ObjectErrorKind::Unavailable,
            FailureKind::Exists | FailureKind::Unsupported => ObjectErrorKind::Unusable,
            FailureKind::Final(kind) => kind,
        };
        Self { kind, action, object: object.to_string(), store: store.to_string(), why, remedy }
    }
}

impl Failure {
    pub(super) fn transient(why: impl Into<String>) -> Self {
        let remedy = "check that the store is reachable and not overloaded; a later attempt may succeed";
        Self { kind: FailureKind::Transient, why: why.into(), remedy: remedy.to_owned() }
    }

    pub(super) fn missing() -> Self {
        let remedy = "it was deleted, or never written by this store's servers; check the address and the prefix";
        Self::with(ObjectErrorKind::NotFound, "there is no such object", remedy)
    }

    /// A failure of a local file.
    pub(super) fn local(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        let why = format!("{}: {why}", path.display());
        Self::with(ObjectErrorKind::Local, why, "check the permissions and the free space of that folder")
    }

    pub(super) fn with(kind: ObjectErrorKind, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind: FailureKind::Final(kind), why: why.into(), remedy: remedy.into() }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.kind == FailureKind::Final(ObjectErrorKind::NotFound)
    }
}
