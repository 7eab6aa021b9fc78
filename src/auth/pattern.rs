//! Patterns of task and run ids: `*` stands for any characters, `?` for one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{glob, limits};

/// One pattern, such as `build-*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Box<str>);

/// A text that is no pattern, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pattern: {why}; write an id with `*` for any characters and `?` for one, such as build-*")]
pub struct BadPattern {
    text: String,
    why: &'static str,
}

impl Pattern {
    /// Whether this id fits.
    pub fn fits(&self, id: &str) -> bool {
        glob::matches(self.0.as_bytes(), id.as_bytes())
    }

    /// Whether every id fits, whatever it is.
    pub fn is_all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let bad = |why| BadPattern { text: text.chars().take(64).collect(), why };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.len() > limits::TASK_ID_CHARS_MAX {
            return Err(bad("it is longer than any id"));
        }
        // The characters of an id: so `[` and `\`, which mean something in Redis' patterns, are none.
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~:-*?".contains(&byte)) {
            return Err(bad("an id is made of A-Z a-z 0-9 . _ ~ : -"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0.into()
    }
}

/// Several patterns; an id has to fit one of them. None at all fits nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// These.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    /// `*`: every id.
    pub fn all() -> Self {
        Self(vec![Pattern("*".into())])
    }

    /// Whether this id fits one of them.
    pub fn fit(&self, id: &str) -> bool {
        self.0.iter().any(|pattern| pattern.fits(id))
    }

    /// Whether every id fits.
    pub fn are_all(&self) -> bool {
        self.0.iter().any(Pattern::is_all)
    }
}

impl fmt::Display for Patterns {
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
    fn ids_fit_or_do_not() {
        for (pattern, id, fits) in [
            ("*", "x", true),
            ("build-*", "build-7", true),
            ("build-*", "build-", true),
            ("build-*", "xbuild-7", false),
            ("build-?", "build-77", false),
            ("a*z", "a:b~z", true),
            ("build", "build-7", false),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().fits(id), fits, "{pattern} {id}");
        }
        for bad in ["", "a b", "a/b", "[ab]", r"a\*", "ü", &"x".repeat(200)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
        assert!(Patterns::all().are_all() && !Patterns::new(Vec::new()).fit("x"));
        assert!(serde_json::from_str::<Patterns>(r#"["a b"]"#).is_err(), "a file is checked as a flag is");
    }
}
