//! The path prefix of a server at a proxy: `https://example/logs`.
//!
//! The proxy may remove the prefix or keep it; the server accepts both forms at the same time. Pages refer to
//! everything relative to their own path, so they work below any prefix, even one that the server does not know.

use hyper::Uri;
use warp::http::uri::PathAndQuery;

/// Returns the address without the prefix, or `None` if its path does not begin with it. `is_served` reports whether
/// a path has a route: where only the whole path has one, the prefix is a part of it.
pub(crate) fn strip(uri: &Uri, prefix: &str, is_served: impl Fn(&str) -> bool) -> Option<Uri> {
    if prefix.is_empty() {
        return None;
    }
    let rest = uri.path().strip_prefix(prefix).filter(|rest| rest.starts_with('/'))?;
    if is_served(uri.path()) && !is_served(rest) {
        return None;
    }
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{rest}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// Returns the path of the front page, relative to `path`.
pub(crate) fn root_of(path: &str) -> String {
    match path.matches('/').count() {
        0 | 1 => "./".to_owned(),
        depth => "../".repeat(depth - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_removed_only_as_whole_segments() {
        let served = |path: &str| ["/", "/tasks/a", "/tasks/tasks"].contains(&path);
        let strip = |uri: &str, prefix: &str| {
            strip(&uri.parse().unwrap(), prefix, served).map(|uri| uri.path_and_query().unwrap().to_string())
        };
        assert_eq!(strip("/logs/tasks/a?tail=1", "/logs").as_deref(), Some("/tasks/a?tail=1"));
        assert_eq!(strip("/logs/", "/logs").as_deref(), Some("/"));
        assert_eq!(strip("/logs/nothing", "/logs").as_deref(), Some("/nothing"));
        assert_eq!(strip("/logs//evil.example", "/logs").as_deref(), Some("//evil.example"));
        for other in ["/tasks/a", "/logs", "/logsx/tasks/a", "/x/logs/"] {
            assert_eq!(strip(other, "/logs"), None, "{other}");
        }
        assert_eq!(strip("/tasks/a", "/tasks"), None, "the prefix is the name of a route");
        assert_eq!(strip("/tasks/tasks/a", "/tasks").as_deref(), Some("/tasks/a"));
    }

    #[test]
    fn roots_are_relative() {
        for (path, root) in [("/", "./"), ("/runs", "./"), ("/tasks/a", "../"), ("/tasks/a/", "../../")] {
            assert_eq!(root_of(path), root, "{path}");
        }
    }
}
