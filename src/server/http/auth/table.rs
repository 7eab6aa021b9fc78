//! Every route of the server, and what it takes to use it. A path without a row is not served at all:
//! whoever adds a route adds its row here, and to `tests/server/authorization`, which holds each row to its word.

use warp::http::Method;

use crate::auth::Scope;

/// A route, or several methods of one path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// `GET` stands for `HEAD` too.
    pub method: &'static str,
    /// `{task}` and `{run}` are ids, `{name}` is any one segment.
    pub path: &'static str,
    /// What it takes.
    pub need: Need,
}

/// What it takes to use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Public,
    /// Any token or session that is taken, or a share link: a page holds no data. A browser without
    /// one is led to the sign-in page.
    Page,
    /// This scope, for the task in the path.
    Task(Scope),
    /// This scope, for the run in the path.
    Run(Scope),
    /// This scope, whatever it is for: the route itself shows only what is the caller's to see.
    Any(Scope),
    /// This scope, for everything there is.
    Store(Scope),
}

const fn row(method: &'static str, path: &'static str, need: Need) -> Route {
    Route { method, path, need }
}

/// All routes.
pub const ROUTES: &[Route] = &[
    row("GET", "/healthz", Need::Public),
    row("GET", "/readyz", Need::Public),
    row("GET", "/assets/{folder}/{name}", Need::Public),
    row("GET", "/login", Need::Public),
    row("POST", "/login", Need::Public),
    row("POST", "/logout", Need::Public),
    row("POST", "/share", Need::Public),
    row("GET", "/api/v1/access", Need::Public),
    row("GET", "/", Need::Page),
    row("GET", "/tasks/{task}", Need::Page),
    row("GET", "/runs", Need::Page),
    row("GET", "/runs/{run}", Need::Page),
    row("GET", "/metrics", Need::Any(Scope::Read)),
    row("GET", "/api/v1/pipeline", Need::Any(Scope::Read)),
    row("GET", "/api/v1/tasks", Need::Any(Scope::Read)),
    row("GET", "/api/v1/tasks/{task}", Need::Task(Scope::Read)),
    row("DELETE", "/api/v1/tasks/{task}", Need::Task(Scope::Admin)),
    row("GET", "/api/v1/tasks/{task}/lines", Need::Task(Scope::Read)),
    row("POST", "/api/v1/tasks/{task}/lines", Need::Task(Scope::Write)),
    row("POST", "/api/v1/tasks/{task}/end", Need::Task(Scope::Write)),
    row("GET", "/api/v1/tasks/{task}/log", Need::Task(Scope::Read)),
    row("GET", "/api/v1/tasks/{task}/stream", Need::Task(Scope::Read)),
    row("POST", "/api/v1/tasks/{task}/share", Need::Task(Scope::Admin)),
    row("GET", "/api/v1/runs", Need::Any(Scope::Read)),
    row("GET", "/api/v1/runs/{run}", Need::Run(Scope::Read)),
    row("DELETE", "/api/v1/runs/{run}", Need::Run(Scope::Admin)),
    row("GET", "/api/v1/runs/{run}/events", Need::Run(Scope::Read)),
    row("POST", "/api/v1/runs/{run}/events", Need::Run(Scope::Write)),
    row("GET", "/api/v1/runs/{run}/events/stream", Need::Run(Scope::Read)),
    row("GET", "/ws/v1/tasks/{task}", Need::Task(Scope::Read)),
    row("GET", "/ws/v1/follow", Need::Any(Scope::Read)),
    row("GET", "/ws/v1/worker", Need::Any(Scope::Write)),
];

/// Whether the id in a path is that of a task.
pub(in crate::server) fn is_of_task(path: &str) -> bool {
    ROUTES.iter().any(|route| route.path.contains("{task}") && segment(route.path, path).is_some())
}

/// What a request's path and method are.
#[derive(Debug, PartialEq)]
pub(in crate::server) enum Found<'p> {
    /// This route, and the id in its path as it stands there.
    Route(Need, &'p str),
    /// The path is there, for other methods.
    OtherMethod,
    /// There is no such path.
    Nothing,
}

/// The route of a request.
pub(in crate::server) fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut found = Found::Nothing;
    for route in ROUTES {
        match segment(route.path, path) {
            Some(id) if route.method == method => return Found::Route(route.need, id),
            Some(_) => found = Found::OtherMethod,
            None => {}
        }
    }
    found
}

/// What stands in a path for the variable segment of this shape; empty if the shape has none. The
/// filters pass over one slash at the end, and so does this.
fn segment<'p>(shape: &str, path: &'p str) -> Option<&'p str> {
    let whole = path.strip_suffix('/').filter(|rest| !rest.is_empty() && !rest.ends_with('/')).unwrap_or(path);
    let (mut wanted, mut given) = (shape.split('/'), whole.split('/'));
    let mut variable = "";
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(variable),
            (Some(word), Some(text)) if word.starts_with('{') && !text.is_empty() => variable = text,
            (Some(word), Some(text)) if word == text && !word.starts_with('{') => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_route_or_none() {
        let found = |method: Method, path| find(&method, path);
        let read = Need::Task(Scope::Read);
        assert_eq!(found(Method::GET, "/"), Found::Route(Need::Page, ""));
        assert_eq!(found(Method::HEAD, "/healthz"), Found::Route(Need::Public, ""));
        assert_eq!(found(Method::GET, "/api/v1/tasks/a%2Fb/log"), Found::Route(read, "a%2Fb"));
        assert_eq!(found(Method::GET, "/api/v1/tasks/"), Found::Route(Need::Any(Scope::Read), ""));
        assert_eq!(found(Method::DELETE, "/api/v1/tasks/t"), Found::Route(Need::Task(Scope::Admin), "t"));
        assert_eq!(found(Method::PUT, "/api/v1/tasks/t"), Found::OtherMethod);
        for nothing in [
            "",
            "*",
            "//",
            "/api",
            "/api/v1",
            "/api/v1/tasks/t/",
            "/api//v1/tasks",
            "/api/v1/tasks//log",
            "/x",
            "/TASKS/t",
        ] {
            let found = found(Method::GET, nothing);
            assert!(found == Found::Nothing || nothing == "/api/v1/tasks/t/", "{nothing}: {found:?}");
        }
        // No request has two: else the first row would decide for the second.
        for route in ROUTES {
            let same = |other: &&Route| {
                other.method == route.method && segment(other.path, &route.path.replace(['{', '}'], "")).is_some()
            };
            assert_eq!(ROUTES.iter().filter(same).count(), 1, "{} {}", route.method, route.path);
        }
    }
}
