//! The record of a token: a row of `tokens.json`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdPatterns, TokenDigest};
use crate::model::Timestamp;

/// The operations permitted to a token. Each scope includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read tasks and runs.
    Read,
    /// Append lines and events, end tasks.
    Write,
    /// Delete tasks, and anything else that changes the server.
    Admin,
}

/// The error for a text that is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid scope `{0}`: expected read, write or admin")]
pub struct BadScope(String);

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(BadScope(text.chars().take(64).collect())),
        }
    }
}

/// The name of a token: 1 to 64 printable characters. Not secret; it appears in traces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(Box<str>);

/// The error for a text that is not a valid token name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token name consists of 1 to 64 printable ASCII characters, with no space at either end")]
pub struct BadTokenName;

impl TokenName {
    /// Maximum length of a name.
    const CHARS_MAX: usize = 64;

    /// Returns the name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = BadTokenName;

    fn from_str(text: &str) -> Result<Self, BadTokenName> {
        let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let trimmed = (1..=Self::CHARS_MAX).contains(&text.len()) && text.trim().len() == text.len();
        if printable && trimmed { Ok(Self(text.into())) } else { Err(BadTokenName) }
    }
}

string_conversions!(TokenName, BadTokenName);

/// The record of a token, without its secret. An unknown field makes the file unreadable, since it might
/// restrict the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Unique name within the store; never reused.
    pub name: TokenName,
    /// The permitted operations.
    pub scope: Scope,
    /// The accessible tasks.
    pub tasks: IdPatterns,
    /// The accessible runs.
    pub runs: IdPatterns,
    /// The time of creation.
    pub created: Timestamp,
    /// The time of expiry, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The time of revocation, if revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// The digest that identifies the secret.
    pub sha256: TokenDigest,
}

/// The state of a token at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenStatus {
    /// The token is accepted.
    Active,
    /// The token has expired.
    Expired,
    /// The token was revoked.
    Revoked,
}

impl fmt::Display for TokenStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        })
    }
}

impl Token {
    /// Returns the token's status at `now`.
    pub fn status(&self, now: Timestamp) -> TokenStatus {
        if self.revoked.is_some() {
            TokenStatus::Revoked
        } else if self.expires.is_some_and(|expires| expires <= now) {
            TokenStatus::Expired
        } else {
            TokenStatus::Active
        }
    }

    /// Returns whether the patterns match every task and run.
    pub fn covers_all(&self) -> bool {
        self.tasks.matches_all() && self.runs.matches_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_ordered_and_names_validated() {
        assert!(Scope::Read < Scope::Write && Scope::Write < Scope::Admin);
        for good in ["ci", "build farm 7", &"x".repeat(64)] {
            assert!(good.parse::<TokenName>().is_ok(), "{good}");
        }
        for bad in ["", " ci", "ci\n", "a\u{1b}[31m", "ü", &"x".repeat(65)] {
            assert!(bad.parse::<TokenName>().is_err(), "{bad}");
        }
    }
}
