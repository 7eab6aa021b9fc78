//! Patterns of task and run ids: `*` matches any characters, `?` exactly one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{glob, limits};

/// One pattern, such as `build-*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdPattern(Box<str>);

/// The error for a text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid pattern `{text}`: {why}; use `*` for any characters and `?` for one, such as build-*")]
pub struct BadIdPattern {
    text: String,
    why: &'static str,
}

impl IdPattern {
    /// Returns whether `id` matches.
    pub fn matches(&self, id: &str) -> bool {
        glob::matches(self.0.as_bytes(), id.as_bytes())
    }

    /// Returns whether every possible id matches.
    pub fn matches_all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }
}

impl FromStr for IdPattern {
    type Err = BadIdPattern;

    fn from_str(text: &str) -> Result<Self, BadIdPattern> {
        let bad = |why| BadIdPattern { text: text.chars().take(64).collect(), why };
        if text.is_empty() {
            return Err(bad("empty"));
        }
        if text.len() > limits::TASK_ID_CHARS_MAX {
            return Err(bad("longer than any id"));
        }
        // The characters of an id. This excludes `[` and `\`, which are special in Redis' patterns.
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~:-*?".contains(&byte)) {
            return Err(bad("ids consist of A-Z a-z 0-9 . _ ~ : -"));
        }
        Ok(Self(text.into()))
    }
}

string_conversions!(IdPattern, BadIdPattern);

/// A set of patterns. An id must match one of them; an empty set matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdPatterns(Vec<IdPattern>);

impl IdPatterns {
    /// Returns the set of these patterns.
    pub fn new(patterns: Vec<IdPattern>) -> Self {
        Self(patterns)
    }

    /// Returns the set that matches every id: `*`.
    pub fn all() -> Self {
        Self(vec![IdPattern("*".into())])
    }

    /// Returns whether `id` matches one of the patterns.
    pub fn matches(&self, id: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(id))
    }

    /// Returns whether every possible id matches.
    pub fn matches_all(&self) -> bool {
        self.0.iter().any(IdPattern::matches_all)
    }
}

impl fmt::Display for IdPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.0.iter().enumerate() {
            write!(f, "{}{pattern}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_ids() {
        for (pattern, id, matches) in [
            ("*", "x", true),
            ("build-*", "build-7", true),
            ("build-*", "build-", true),
            ("build-*", "xbuild-7", false),
            ("build-?", "build-77", false),
            ("a*z", "a:b~z", true),
            ("build", "build-7", false),
        ] {
            assert_eq!(pattern.parse::<IdPattern>().unwrap().matches(id), matches, "{pattern} {id}");
        }
        for bad in ["", "a b", "a/b", "[ab]", r"a\*", "ü", &"x".repeat(200)] {
            assert!(bad.parse::<IdPattern>().is_err(), "{bad}");
        }
        assert!(IdPatterns::all().matches_all() && !IdPatterns::new(Vec::new()).matches("x"));
        assert!(serde_json::from_str::<IdPatterns>(r#"["a b"]"#).is_err(), "deserialization validates too");
    }
}
