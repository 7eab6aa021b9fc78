//! HTTP errors as RFC 9457 `application/problem+json`.

use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The code of a request that came without TLS where it is spoken.
pub const HTTPS_REQUIRED: &str = "https_required";

/// What went wrong with a request, for people (`detail`) and for programs (`code`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`: the code says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong and what would be right.
    pub detail: String,
    /// A stable word.
    pub code: String,
}

impl Problem {
    /// A problem with the title that RFC 9110 gives its status.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let title = hyper::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
        Self {
            kind: "about:blank".to_owned(),
            title: title.unwrap_or("Error").to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
        }
    }
}
