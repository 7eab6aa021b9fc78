//! The part of a URL behind `?`, and path segments: decoded and checked, faults named.

use std::fmt::Display;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::error::ApiError;
use crate::model::{Cursor, RunId, TaskId};
use crate::tasks::FollowStart;

/// Parameters of a request; one that is not asked for is ignored.
#[derive(Debug, Default)]
pub(in crate::server) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads `a=1&b=two+words`; a text that is not UTF-8 is refused.
    pub(in crate::server) fn parse(raw: &str) -> Result<Self, ApiError> {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            let decoded = percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned);
            decoded.map_err(|_| ApiError::bad_query(text, "is not UTF-8"))
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        };
        let pairs = raw.split('&').filter(|text| !text.is_empty()).map(pair).collect::<Result<_, ApiError>>()?;
        Ok(Self { pairs })
    }

    /// The text of a parameter; an empty one is as good as none.
    pub(in crate::server) fn text(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is there, in whatever case.
    pub(in crate::server) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    /// A parameter read as what it should be.
    pub(in crate::server) fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: Display,
    {
        let text = self.text(name);
        text.map(|text| text.parse().map_err(|error| ApiError::bad_query(name, error))).transpose()
    }

    /// A whole number.
    pub(in crate::server) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = |text: &str| text.parse().map_err(|_| ApiError::bad_query(name, "must be a whole number"));
        self.text(name).map(number).transpose()
    }

    /// `1` or `true`, `0` or `false`.
    pub(in crate::server) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => Err(ApiError::bad_query(name, "must be 1 or 0")),
        }
    }

    /// Where a viewer begins: `after` beats `from` beats `tail`; with none of them at the first line.
    pub(in crate::server) fn start(&self) -> Result<FollowStart, ApiError> {
        if let Some(cursor) = self.get::<Cursor>("after")? {
            return Ok(FollowStart::After(cursor));
        }
        let (from, tail) = (self.number("from")?, self.number("tail")?);
        Ok(match (from, tail) {
            (Some(from), _) => FollowStart::From(from.max(1)),
            (None, Some(tail)) => FollowStart::Tail(tail),
            (None, None) => FollowStart::From(1),
        })
    }
}

/// A task's id out of a path.
pub(in crate::server) fn task_id(segment: &str) -> Result<TaskId, ApiError> {
    let decoded = percent_decode_str(segment).decode_utf8();
    let decoded = decoded.map_err(|_| ApiError::new(400, "bad_id", "the task id in the path is not UTF-8"))?;
    decoded.parse().map_err(|error| ApiError::new(400, "bad_id", format!("the task id in the path: {error}")))
}

/// A run's id out of a path.
pub(in crate::server) fn run_id(segment: &str) -> Result<RunId, ApiError> {
    let decoded = percent_decode_str(segment).decode_utf8();
    let decoded = decoded.map_err(|_| ApiError::new(400, "bad_id", "the run id in the path is not UTF-8"))?;
    decoded.parse().map_err(|error| ApiError::new(400, "bad_id", format!("the run id in the path: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_faults_name_them() {
        let query = Query::parse("q=a%2Bb+c&limit=10&empty=&from=x").unwrap();
        assert_eq!(query.text("q"), Some("a+b c"));
        assert_eq!(query.number("limit").unwrap(), Some(10));
        assert_eq!(query.text("empty"), None);
        assert!(query.number("from").unwrap_err().problem().detail.contains("`from`"));
        assert!(Query::parse("a=%ff").is_err());
    }

    #[test]
    fn ids_in_paths_are_decoded_once() {
        assert_eq!(task_id("build%2D7").unwrap().as_str(), "build-7");
        assert_eq!(task_id("a%2Fb").unwrap_err().problem().code, "bad_id");
    }
}
