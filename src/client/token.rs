//! An access token as a client holds it: sent in one header, shown to nobody.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hyper::header::HeaderValue;

/// A token, to be sent as `Authorization: Bearer TOKEN`. It has no `Display`, and its `Debug` keeps it to itself.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(Arc<str>);

/// A text that no header can carry. It is not said again: it may be most of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an access token is one word of letters, digits and signs, as `tasktail token create` prints it")]
pub struct BadToken;

impl BearerToken {
    /// The text. Only for a header that is sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of the header, marked so that nobody prints it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl FromStr for BearerToken {
    type Err = BadToken;

    /// White space around it is no part of it.
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
