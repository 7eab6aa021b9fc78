//! Query strings and path segments: decoded and validated, with errors that name the parameter.

use std::fmt::Display;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::error::ApiError;
use crate::model::{Cursor, RunId, TaskId};
use crate::tasks::FollowStart;

/// The parameters of a query string. Unknown parameters are ignored.
#[derive(Debug, Default)]
pub(crate) struct QueryParams {
    pairs: Vec<(String, String)>,
}

impl QueryParams {
    /// Parses `a=1&b=two+words`. Text that is not UTF-8 is rejected.
    pub(crate) fn parse(raw: &str) -> Result<Self, ApiError> {
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

    /// Returns the text of a parameter. An empty value counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the texts of a parameter that may be repeated.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Parses the parameters `label`, `key:value`.
    pub(crate) fn labels(&self) -> Result<Vec<(String, String)>, ApiError> {
        let label = |text: &str| match text.split_once(':') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(ApiError::bad_query("label", "must be key:value")),
        };
        self.texts("label").map(label).collect()
    }

    /// Reports whether a parameter is present, in any case and even if empty.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    /// Parses a parameter.
    pub(crate) fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError>
    where
        T::Err: Display,
    {
        let text = self.text(name);
        text.map(|text| text.parse().map_err(|error| ApiError::bad_query(name, error))).transpose()
    }

    /// Parses a whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = |text: &str| text.parse().map_err(|_| ApiError::bad_query(name, "must be a whole number"));
        self.text(name).map(number).transpose()
    }

    /// Parses the parameter `limit`, from 1 to `max`.
    pub(crate) fn limit(&self, default: u64, max: u64) -> Result<u64, ApiError> {
        let limit = self.number("limit")?.unwrap_or(default);
        if limit == 0 || limit > max {
            return Err(ApiError::bad_query("limit", format!("must be 1 to {max}")));
        }
        Ok(limit)
    }

    /// Parses `1` or `true`, `0` or `false`. An absent flag is false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => Err(ApiError::bad_query(name, "must be 1 or 0")),
        }
    }

    /// Returns the position to read from: `after` overrides `from`, which overrides `tail`. The default is
    /// the first line.
    pub(crate) fn start(&self) -> Result<FollowStart, ApiError> {
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

/// Parses a task id in a path.
pub(crate) fn parse_task_id(segment: &str) -> Result<TaskId, ApiError> {
    parse_id(segment, "task")
}

/// Parses a run id in a path.
pub(crate) fn parse_run_id(segment: &str) -> Result<RunId, ApiError> {
    parse_id(segment, "run")
}

fn parse_id<T: FromStr>(segment: &str, kind: &str) -> Result<T, ApiError>
where
    T::Err: Display,
{
    let bad_id = |reason: &str| ApiError::new(400, "bad_id", format!("the {kind} id in the path {reason}"));
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| bad_id("is not UTF-8"))?;
    decoded.parse().map_err(|error| bad_id(&format!("is invalid: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_errors_name_them() {
        let query = QueryParams::parse("q=a%2Bb+c&limit=10&empty=&from=x").unwrap();
        assert_eq!(query.text("q"), Some("a+b c"));
        assert_eq!(query.number("limit").unwrap(), Some(10));
        assert_eq!(query.text("empty"), None);
        assert!(query.number("from").unwrap_err().detail().contains("`from`"));
        assert!(QueryParams::parse("a=%ff").is_err());
    }

    #[test]
    fn ids_in_paths_are_decoded_once() {
        assert_eq!(parse_task_id("build%2D7").unwrap().as_str(), "build-7");
        assert_eq!(parse_task_id("a%2Fb").unwrap_err().code(), "bad_id");
    }
}
