//! Routes for browsers: sign-in and sign-out, and links that share one task.
//!
//! ```text
//! GET  /login?next=PATH    the sign-in page; pages redirect to it without a session
//! POST /login              a token in a form's body -> a session, its id in a cookie
//! POST /logout             ends the session, with its live streams and sockets
//! POST /api/v1/tasks/ID/share {"expires_in":"7d"} -> {"url","expires"}   creates a link
//! POST /share {"task","share"}   the fragment of a link -> a cookie for that task
//! GET  /api/v1/access      the identity of this browser
//! ```
//! Cookies are another kind of credentials: [`authenticate`] maps them to a [`Caller`](crate::auth::Caller),
//! which is authorized like any other.

mod cookies;
mod identity;
mod login;
mod next;
mod share;

pub(super) use identity::{access, authenticate};
pub(super) use login::{login_page, sign_in, sign_out};
pub(super) use share::{create as create_share, open as open_share};
