//! Access control: tokens with their scopes and patterns, and the permission check that every entry point uses.
//!
//! ```text
//! DATA/tokens.json   the tokens of a store: names, scopes, patterns, SHA-256; never a token itself
//! Tokens             creates, lists and revokes them, from any process
//! Authenticator      the server's view: follows the file, resolves a token to a Caller
//! Caller             the identity of a request; may(scope, resource) is Allowed, Forbidden or Hidden
//! Lease              notifies a live connection when its caller loses access
//! session            signed-in browsers
//! share, jwt         links that grant read access to one task, issued here or by another system
//! ```
//! A store without any token is open: every caller is [`Caller::anonymous`] and may do everything. The
//! first token closes it. It stays closed when the last token is revoked, because rows are never removed
//! from the file. A file that cannot be read or parsed closes it too.
//!
//! This module knows neither HTTP nor Redis. The protocols decide how an error is reported.

/// Implements `Display` and serde's `try_from` and `into` of `String` for a newtype of `Box<str>` with `FromStr`.
macro_rules! string_conversions {
    ($type:ident, $error:ident) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0.into()
            }
        }
    };
}

mod authenticator;
mod caller;
mod file;
pub mod jwt;
mod keyring;
mod lease;
mod pattern;
mod secret;
pub mod session;
pub mod share;
mod token;
mod used;

pub use authenticator::Authenticator;
pub use caller::{Caller, Decision, Resource};
pub use file::{FILE as TOKENS_FILE, NewToken, Tokens, TokensError, replace_private};
pub use keyring::{AuthError, Keyring, TokenEntry};
pub use lease::{Lease, LeaseEnd};
pub use pattern::{BadIdPattern, IdPattern, IdPatterns};
pub use secret::{Secret, TokenDigest};
pub use token::{BadScope, BadTokenName, Scope, Token, TokenName, TokenStatus};
