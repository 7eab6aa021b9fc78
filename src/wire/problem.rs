//! HTTP errors as RFC 9457 `application/problem+json`.

use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Code for a request that arrived without TLS although it is required.
pub const HTTPS_REQUIRED: &str = "https_required";

/// An HTTP error, for people (`detail`) and for programs (`code`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`; `code` identifies the problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// Reason phrase of the HTTP status.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Problem and remedy.
    pub detail: String,
    /// Stable code.
    pub code: String,
}

impl Problem {
    /// Creates a problem, titled with the reason phrase of its status (RFC 9110).
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
