//! What is there for browsers alone: signing in and out, and links that share one task.
//!
//! ```text
//! GET  /login?next=PATH    the sign-in page; every page leads there who is not signed in
//! POST /login              a token, out of a form's body -> a session, its id in a cookie
//! POST /logout             the end of the session, and of everything live that stands on it
//! POST /api/v1/tasks/ID/share {"expires_in":"7d"} -> {"url","expires"}   makes a link
//! POST /share {"task","share"}   what a link's fragment holds -> a cookie for that task
//! GET  /api/v1/access      who this browser is
//! ```
//! Cookies are one more way to show who one is: [`identify`] turns them into a
//! [`Caller`], which goes the way of every other.

mod cookies;
mod login;
mod next;
mod origins;
mod share;
mod who;

pub(in crate::server) use login::{login_page, sign_in, sign_out};
pub use origins::Origins;
pub(in crate::server) use origins::{cors, is_foreign_request, preflight};
pub(in crate::server) use share::{exchange, make};
pub(in crate::server) use who::{Browsers, access, identify};
