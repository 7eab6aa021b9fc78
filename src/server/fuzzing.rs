//! What the fuzz targets in `fuzz/`, and the tests that run their corpus, reach of the server.

use crate::server::http::query::{Query, run_id, task_id};

/// Reads a text as the part of a URL behind `?`, and as an id in a path: whatever it is, only an
/// error may come of it.
pub fn query(text: &str) {
    if let Ok(query) = Query::parse(text) {
        let asked = (query.start(), query.flag("wait"), query.number("limit"), query.text("q"));
        assert!(asked.2.is_err() || query.text("limit").is_none() || asked.2.is_ok_and(|limit| limit.is_some()));
    }
    if let (Ok(task), Ok(run)) = (task_id(text), run_id(text)) {
        assert_eq!(task.as_str(), run.as_str());
    }
}
