//! A request as its route's handler receives it.

use futures::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use warp::http::{HeaderMap, Method};
use warp::reply::Response;

use super::body::RequestBody;
use super::client_addr::ClientAddr;
use super::error::ApiError;
use super::query::{self, QueryParams};
use crate::auth::{Caller, Lease};
use crate::model::{RunId, TaskId};
use crate::server::net::connection_limit::ConnectionPermit;
use crate::server::state::SharedState;
use crate::server::ws::socket::Upgrade;

/// The function that answers a route's requests.
pub(crate) type Handler = fn(RouteRequest) -> BoxFuture<'static, Result<Response, ApiError>>;

/// An authorized request.
pub(crate) struct RouteRequest {
    /// The state of the server.
    pub(crate) state: SharedState,
    /// The client's address.
    pub(crate) client: ClientAddr,
    /// The request's headers.
    pub(crate) headers: HeaderMap,
    /// The request's method; a route that is served for `GET` is also called for `HEAD`.
    pub(crate) method: Method,
    /// The front page, relative to the request's path: `./`, `../`, ...
    pub(crate) root: String,
    /// The request's body.
    pub(crate) body: RequestBody,
    /// The variable segments of the path, still percent-encoded; empty if the route has none.
    pub(super) path_id: String,
    /// The query string, still percent-encoded.
    pub(super) raw_query: String,
    /// The caller; `None` on a public route.
    pub(super) caller: Option<Caller>,
    pub(super) on_upgrade: Option<OnUpgrade>,
    pub(super) connection_permit: Option<ConnectionPermit>,
}

impl RouteRequest {
    /// Parses the query string.
    pub(crate) fn query(&self) -> Result<QueryParams, ApiError> {
        QueryParams::parse(&self.raw_query)
    }

    /// Returns the task id in the path.
    pub(crate) fn task_id(&self) -> Result<TaskId, ApiError> {
        query::parse_task_id(&self.path_id)
    }

    /// Returns the run id in the path.
    pub(crate) fn run_id(&self) -> Result<RunId, ApiError> {
        query::parse_run_id(&self.path_id)
    }

    /// Returns the caller. A public route has none, and must not ask for one.
    pub(crate) fn caller(&self) -> Result<Caller, ApiError> {
        self.caller.clone().ok_or_else(|| ApiError::new(500, "internal", "the route has no caller"))
    }

    /// Returns the caller's lease, which ends when its credentials do.
    pub(crate) fn lease(&self) -> Result<Lease, ApiError> {
        Ok(self.state.auth.lease(self.caller()?))
    }

    /// Checks the handshake of a WebSocket.
    pub(crate) fn upgrade(&mut self) -> Result<Upgrade, ApiError> {
        let lease = self.lease()?;
        Upgrade::check(&self.headers, self.on_upgrade.take(), self.connection_permit.take(), lease)
    }
}
