//! Who may do what: access tokens, their scopes and patterns, and the one question that every door asks.
//!
//! ```text
//! DATA/tokens.json   the tokens of a store: names, scopes, patterns, SHA-256; never a token itself
//! Tokens             makes, lists and revokes them, from any process
//! Gate               what a server holds: follows the file, turns a token into a Caller
//! Caller             who asks; may(scope, object) answers allowed, forbidden or hidden
//! Lease              tells a live connection that its caller's time is over
//! session            browsers that are signed in with one of them
//! share, jwt         links to read one task, ours and those of another system
//! ```
//! A store without any token is open: everyone is [`Caller::anonymous`] and may do everything. The first
//! token closes it, and it stays closed when the last one is revoked: rows are never taken out of
//! the file. A file that cannot be read or understood closes it too.
//!
//! Nothing here knows HTTP or Redis; how a refusal looks is the doors' business.

mod caller;
mod file;
mod gate;
pub mod jwt;
mod keyring;
mod lease;
mod pattern;
mod secret;
pub mod session;
pub mod share;
mod token;
mod used;

pub use caller::{Caller, Object, Verdict};
pub use file::{NewToken, Tokens, TokensError};
pub use gate::Gate;
pub use keyring::{Denied, Held, Keyring};
pub use lease::{Ended, Lease};
pub use pattern::{BadPattern, Pattern, Patterns};
pub use secret::{Digest, Secret};
pub use token::{BadScope, BadTokenName, Scope, Token, TokenName, TokenStatus};
