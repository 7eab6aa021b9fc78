//! An access token held by a client: sent in one header, never printed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hyper::header::HeaderValue;

/// A token that is sent as `Authorization: Bearer TOKEN`. It has no `Display`, and its `Debug` hides the value.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(Arc<str>);

/// An error for a text that no header can carry. It omits the text, which may be most of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an access token; use one as printed by `tasktail token create`, without spaces")]
pub struct BadToken;

impl BearerToken {
    /// Returns the secret text. Use it only to send it in a header.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the value of the header, marked as sensitive so that it is not logged.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl FromStr for BearerToken {
    type Err = BadToken;

    /// Parses a token; surrounding whitespace is ignored.
    fn from_str(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_word { Ok(Self(text.into())) } else { Err(BadToken) }
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}
