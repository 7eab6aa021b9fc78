//! The table of routes: method, path, required access and handler in one row.
//!
//! A path without a row is not served. `tests/authorization` checks the access of every row.

use std::ops::Range;

use hyper::upgrade::OnUpgrade;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::http::{HeaderMap, Method};
use warp::reply::Response;

use super::auth::RequiredAccess::{self, Any, Page, Public, Run, Task, TaskPage};
use super::body::{self, BodyTimeout};
use super::client_addr::ClientAddr;
use super::error::{self, RouteError};
use super::route_request::{Handler, RouteRequest};
use super::{
    analysis, append, backup, browser, delegates, download, health, lines, metrics, prefix, reference, runs, search,
    sse, tasks,
};
use crate::auth::Caller;
use crate::auth::Scope::{Admin, Read, Write};
use crate::model::limits::Limits;
use crate::server::net::connection_limit::ConnectionPermit;
use crate::server::state::SharedState;

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method, followed by `HEAD` where it is served as well.
    pub methods: &'static [&'static str],
    /// The path. `{task}` and `{run}` are ids, `{folder}` and `{name}` are any single segment.
    pub path: &'static str,
    /// The access that the route requires.
    pub access: RequiredAccess,
    handler: Handler,
}

macro_rules! routes {
    ($($method:ident $($head:ident)? $path:literal, $access:expr => $handler:path;)*) => {
        &[$(Route {
            methods: &[stringify!($method) $(, stringify!($head))?],
            path: $path,
            access: $access,
            handler: |request| Box::pin($handler(request)),
        }),*]
    };
}

/// All routes.
pub const ROUTES: &[Route] = routes! {
    GET HEAD "/healthz", Public => health::healthz;
    GET HEAD "/readyz", Public => health::readyz;
    GET HEAD "/metrics", Any(Read) => metrics::metrics;
    GET HEAD "/api/v1/pipeline", Any(Read) => health::pipeline;
    GET HEAD "/api/v1/openapi.json", Public => reference::openapi;
    GET HEAD "/api/v1/schemas/{name}", Public => reference::schema;
    POST "/api/v1/backup", Any(Admin) => backup::begin;

    GET HEAD "/", Page => delegates::task_list_page;
    GET HEAD "/tasks/{task}", TaskPage => delegates::task_page;
    GET HEAD "/tasks/{task}/diff", TaskPage => delegates::diff_page;
    GET HEAD "/search", Page => delegates::search_page;
    GET HEAD "/runs", Page => delegates::run_list_page;
    GET HEAD "/runs/{run}", Page => delegates::run_page;
    GET HEAD "/assets/{folder}/{name}", Public => delegates::asset;
    GET HEAD "/assets/embed.js", Public => delegates::embed_script;
    GET HEAD "/embed/{task}", Public => delegates::embed_page;

    GET HEAD "/login", Public => browser::login_page;
    POST "/login", Public => browser::sign_in;
    POST "/logout", Public => browser::sign_out;
    POST "/share", Public => browser::open_share;
    GET HEAD "/api/v1/access", Public => browser::access;

    GET HEAD "/api/v1/tasks", Any(Read) => tasks::list;
    GET HEAD "/api/v1/tasks/{task}", Task(Read) => tasks::show;
    DELETE "/api/v1/tasks/{task}", Task(Admin) => tasks::remove;
    POST "/api/v1/tasks/{task}/end", Task(Write) => tasks::end;
    GET HEAD "/api/v1/tasks/{task}/lines", Task(Read) => lines::page;
    POST "/api/v1/tasks/{task}/lines", Task(Write) => append::lines;
    PUT "/api/v1/tasks/{task}/lines", Task(Write) => append::lines;
    GET HEAD "/api/v1/tasks/{task}/log", Task(Read) => download::download;
    GET HEAD "/api/v1/tasks/{task}/stream", Task(Read) => sse::stream;
    GET HEAD "/api/v1/tasks/{task}/events", Task(Read) => tasks::events;
    GET HEAD "/api/v1/tasks/{task}/outline", Task(Read) => analysis::outline;
    GET HEAD "/api/v1/tasks/{task}/diff", Task(Read) => analysis::diff;
    GET HEAD "/api/v1/tasks/{task}/explain", Task(Read) => analysis::explain;
    POST "/api/v1/tasks/{task}/share", Task(Admin) => browser::create_share;

    GET HEAD "/api/v1/search", Any(Read) => search::search;

    GET HEAD "/api/v1/runs", Any(Read) => runs::list;
    GET HEAD "/api/v1/runs/{run}", Run(Read) => runs::show;
    DELETE "/api/v1/runs/{run}", Run(Admin) => runs::remove;
    GET HEAD "/api/v1/runs/{run}/events", Run(Read) => runs::events::page;
    POST "/api/v1/runs/{run}/events", Run(Write) => runs::append::events;
    PUT "/api/v1/runs/{run}/events", Run(Write) => runs::append::events;
    GET HEAD "/api/v1/runs/{run}/events/stream", Run(Read) => runs::stream::stream;
    GET HEAD "/api/v1/runs/{run}/pipeline", Run(Read) => runs::pipeline;

    GET "/ws/v1/tasks/{task}", Task(Read) => delegates::view_socket;
    GET "/ws/v1/follow", Any(Read) => delegates::follow_socket;
    GET "/ws/v1/worker", Any(Write) => delegates::worker_socket;
};

impl Route {
    /// Returns the time that a request's body may take. The body of an append is written by a job.
    fn body_timeout(&self, limits: &Limits) -> BodyTimeout {
        let writes = self.methods.iter().any(|method| ["POST", "PUT"].contains(method));
        if writes && (self.path.ends_with("/lines") || self.path.ends_with("/events")) {
            BodyTimeout::Idle(limits.append_idle_timeout)
        } else {
            BodyTimeout::Total(limits.body_timeout)
        }
    }
}

/// The route of a request: an extension of the request.
#[derive(Clone, Debug)]
pub(crate) struct RouteMatch {
    route: &'static Route,
    /// The variable segments of the path, still percent-encoded; empty if the route has none.
    id: String,
}

impl RouteMatch {
    /// Returns the access that the request requires, and the id in its path.
    pub(crate) fn access(&self) -> (RequiredAccess, &str) {
        (self.route.access, &self.id)
    }
}

/// Returns the route of a method and a path.
pub(crate) fn find(method: &Method, path: &str) -> Result<RouteMatch, RouteError> {
    let mut error = RouteError::NotFound;
    for route in ROUTES {
        match match_path(route.path, path) {
            Some(id) if route.methods.contains(&method.as_str()) => return Ok(RouteMatch { route, id: id.to_owned() }),
            Some(_) => error = RouteError::MethodNotAllowed,
            None => {}
        }
    }
    Err(error)
}

/// Returns the methods that are served at a path, for the header `Allow`.
pub(crate) fn allowed(path: &str) -> String {
    let here = ROUTES.iter().filter(|route| match_path(route.path, path).is_some());
    let mut methods: Vec<&str> = here.flat_map(|route| route.methods.iter().copied()).collect();
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

/// Matches a path against a pattern. Returns the part of the path with the variable segments, or an empty
/// string if the pattern has none. One slash at the end of the path is ignored.
fn match_path<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let path = path.strip_suffix('/').filter(|rest| !rest.is_empty() && !rest.ends_with('/')).unwrap_or(path);
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let (mut variables, mut offset) = (None, 0);
    loop {
        let length = match (wanted.next(), given.next()) {
            (None, None) => return Some(variables.map_or("", |variables: Range<usize>| &path[variables])),
            (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {
                variables.get_or_insert(offset..offset).end = offset + segment.len();
                segment.len()
            }
            (Some(name), Some(segment)) if name == segment && !name.starts_with('{') => segment.len(),
            _ => return None,
        };
        offset += length + 1;
    }
}

/// Returns the filter that calls the handler of a request's [`RouteMatch`].
pub(crate) fn filter(state: &SharedState) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    let raw_query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::ext::get::<RouteMatch>()
        .and(warp::ext::get::<ClientAddr>())
        .and(warp::ext::optional::<Caller>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::optional::<ConnectionPermit>())
        .and(warp::header::headers_cloned())
        .and(warp::method())
        .and(warp::path::full())
        .and(raw_query)
        .and(warp::body::stream())
        .then(
            move |matched: RouteMatch,
                  client: ClientAddr,
                  caller: Option<Caller>,
                  on_upgrade: Option<OnUpgrade>,
                  connection_permit: Option<ConnectionPermit>,
                  headers: HeaderMap,
                  method: Method,
                  path: FullPath,
                  raw_query: String,
                  stream| {
                let timeout = matched.route.body_timeout(&state.options.limits);
                let body = body::with_timeout(stream, timeout, state.limit_counters.clone());
                let RouteMatch { route, id: path_id } = matched;
                let state = state.clone();
                let request = RouteRequest {
                    state,
                    client,
                    headers,
                    method,
                    root: prefix::root_of(path.as_str()),
                    body,
                    path_id,
                    raw_query,
                    caller,
                    on_upgrade,
                    connection_permit,
                };
                let response = (route.handler)(request);
                async move { response.await.unwrap_or_else(error::ApiError::into_response) }
            },
        )
        .recover(error::recover)
        .unify()
        .boxed()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;
    use crate::server::http::auth;
    use crate::server::{ServeOptions, Server};

    #[test]
    fn each_request_has_at_most_one_route() {
        let found = |method: Method, path: &str| find(&method, path).map(|found| (found.route.access, found.id));
        assert_eq!(found(Method::GET, "/"), Ok((Page, String::new())));
        assert_eq!(found(Method::HEAD, "/healthz"), Ok((Public, String::new())));
        assert_eq!(found(Method::GET, "/api/v1/tasks/a%2Fb/log"), Ok((Task(Read), "a%2Fb".to_owned())));
        assert_eq!(found(Method::GET, "/api/v1/tasks/"), Ok((Any(Read), String::new())));
        assert_eq!(found(Method::DELETE, "/api/v1/tasks/t"), Ok((Task(Admin), "t".to_owned())));
        assert_eq!(found(Method::GET, "/api/v1/tasks/t/"), Ok((Task(Read), "t".to_owned())));
        assert_eq!(found(Method::PUT, "/api/v1/tasks/t"), Err(RouteError::MethodNotAllowed));
        assert_eq!(found(Method::HEAD, "/api/v1/tasks/t"), Ok((Task(Read), "t".to_owned())));
        assert_eq!(found(Method::HEAD, "/ws/v1/follow"), Err(RouteError::MethodNotAllowed), "nothing to upgrade");
        assert_eq!(allowed("/api/v1/tasks/t"), "DELETE, GET, HEAD");
        for path in ["", "*", "//", "/api", "/api/v1", "/api//v1/tasks", "/api/v1/tasks//log", "/x", "/TASKS/t"] {
            assert_eq!(found(Method::GET, path), Err(RouteError::NotFound), "{path}");
        }
        // If two rows matched, the first would decide for the second.
        for route in ROUTES {
            let same = |other: &&Route| {
                other.methods[0] == route.methods[0]
                    && match_path(other.path, &route.path.replace(['{', '}'], "")).is_some()
            };
            assert_eq!(ROUTES.iter().filter(same).count(), 1, "{:?} {}", route.methods, route.path);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_without_a_route_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        let options = ServeOptions { listen: "127.0.0.1:0".to_owned(), data, ..ServeOptions::default() };
        // A store without tokens: every route that exists is permitted.
        let server = Server::start(options).await.unwrap();
        let peer = "127.0.0.1:1".parse().unwrap();
        for (method, path, status) in [
            (Method::GET, "/api/v1/tasks", None),
            (Method::GET, "/healthz", None),
            (Method::GET, "/nowhere", Some(404)),
            (Method::GET, "/healthz/deep", Some(404)),
            (Method::GET, "/api/v1/tasks/a/secrets", Some(404)),
            (Method::PATCH, "/api/v1/tasks/a", Some(405)),
            (Method::POST, "/metrics", Some(405)),
        ] {
            let mut request = Request::builder().method(&method).uri(path).body(()).unwrap();
            let client = ClientAddr::new(peer, false, request.headers(), &Default::default());
            let found = find(&method, path);
            let access = found.as_ref().map(RouteMatch::access).map_err(|error| *error);
            let admitted = auth::admit(&server.state, &client, &mut request, access).await;
            assert_eq!(admitted.err().map(|response| response.status().as_u16()), status, "{method} {path}");
        }
        server.shutdown().await.unwrap();
    }
}
