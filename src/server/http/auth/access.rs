//! The access that a route requires.

use crate::auth::Scope;

/// The access required to use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredAccess {
    /// None.
    Public,
    /// Any valid token, session or share link: a page holds no data. A browser without one is redirected to
    /// the sign-in page.
    Page,
    /// The same, for the page of the task in the path, so that a share link of this task counts.
    TaskPage,
    /// This scope, for the task in the path.
    Task(Scope),
    /// This scope, for the run in the path.
    Run(Scope),
    /// This scope, for any object: the route itself shows only what the caller may see.
    Any(Scope),
    /// This scope, for the whole store.
    Store(Scope),
}
