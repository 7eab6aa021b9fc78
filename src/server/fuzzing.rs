//! Entry points into the server for the fuzz targets in `fuzz/`, and for the tests that run their corpus.

use super::http::query::{QueryParams, parse_run_id, parse_task_id};

/// Parses a text as a query string and as an id in a path. Any input may only cause an error.
pub fn query(text: &str) {
    if let Ok(query) = QueryParams::parse(text) {
        let parsed = (query.start(), query.flag("wait"), query.number("limit"), query.text("q"));
        assert!(parsed.2.is_err() || query.text("limit").is_none() || parsed.2.is_ok_and(|limit| limit.is_some()));
    }
    if let (Ok(task), Ok(run)) = (parse_task_id(text), parse_run_id(text)) {
        assert_eq!(task.as_str(), run.as_str());
    }
}
