//! Every route as a warp filter, one boxed filter an area: a long chain in one type compiles
//! slowly and can overflow the stack in a debug build. Paths come before methods, so that a wrong
//! method is told from an unknown path.

use std::convert::Infallible;

use hyper::upgrade::OnUpgrade;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::reply::Response;
use warp::{Filter, path};

use super::append;
use super::body::{self, Body};
use super::browser;
use super::client_addr::ClientAddr;
use super::download;
use super::error::{self, ApiError, answer};
use super::health;
use super::lines;
use super::pipeline;
use super::query::{self, Query};
use super::runs;
use super::sse;
use super::tasks;
use crate::auth::{Caller, Lease};
use crate::server::net::connection_limit::ConnectionPermit;
use crate::server::state::SharedState;
use crate::server::web::pages;
use crate::server::ws::multi_viewer;
use crate::server::ws::socket::Upgrade;
use crate::server::ws::viewer;
use crate::server::ws::worker;

/// All routes, and an answer to everything else.
pub(in crate::server) fn all(state: &SharedState) -> BoxedFilter<(Response,)> {
    let areas = sockets(state).or(tasks(state)).unify().or(log_routes(state)).unify();
    let areas = areas.boxed().or(run_routes(state)).unify().or(health(state)).unify().or(page_routes()).unify();
    let areas = areas.boxed().or(browser_routes(state)).unify();
    areas.recover(error::recover).unify().boxed()
}

fn tasks(state: &SharedState) -> BoxedFilter<(Response,)> {
    let list = path!("api" / "v1" / "tasks").and(warp::get()).and(with(state)).and(caller()).and(raw_query()).then(
        |state: SharedState, caller: Caller, raw: String| async move {
            let listed = async { tasks::list(state, caller, Query::parse(&raw)?).await };
            answer(listed.await)
        },
    );
    let show = path!("api" / "v1" / "tasks" / String).and(warp::get()).and(with(state)).then(
        |id: String, state: SharedState| async move {
            let shown = async { tasks::show(state, query::task_id(&id)?).await };
            answer(shown.await)
        },
    );
    let remove = path!("api" / "v1" / "tasks" / String).and(warp::delete()).and(with(state)).then(
        |id: String, state: SharedState| async move {
            let removed = async { tasks::remove(state, query::task_id(&id)?).await };
            answer(removed.await)
        },
    );
    let end = path!("api" / "v1" / "tasks" / String / "end")
        .and(warp::post())
        .and(with(state))
        .and(warp::header::headers_cloned())
        .and(body(state))
        .then(|id: String, state: SharedState, headers: HeaderMap, body: Body| async move {
            let ended = async { append::end(state, query::task_id(&id)?, headers, body).await };
            answer(ended.await)
        });
    list.or(show).unify().or(remove).unify().or(end).unify().boxed()
}

fn log_routes(state: &SharedState) -> BoxedFilter<(Response,)> {
    let append = path!("api" / "v1" / "tasks" / String / "lines")
        .and(warp::post())
        .and(with(state))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(body(state))
        .then(|id: String, state: SharedState, raw: String, headers: HeaderMap, body: Body| async move {
            let appended =
                async { append::lines(state, query::task_id(&id)?, Query::parse(&raw)?, headers, body).await };
            answer(appended.await)
        });
    let lines =
        path!("api" / "v1" / "tasks" / String / "lines").and(warp::get()).and(with(state)).and(raw_query()).then(
            |id: String, state: SharedState, raw: String| async move {
                let read = async { lines::page(state, query::task_id(&id)?, Query::parse(&raw)?).await };
                answer(read.await)
            },
        );
    let log = path!("api" / "v1" / "tasks" / String / "log").and(warp::get()).and(leased(state)).and(raw_query()).then(
        |id: String, (state, lease): (SharedState, Lease), raw: String| async move {
            let read = async { download::download(state, query::task_id(&id)?, Query::parse(&raw)?, lease).await };
            answer(read.await)
        },
    );
    let stream = path!("api" / "v1" / "tasks" / String / "stream")
        .and(warp::get())
        .and(leased(state))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|id: String, (state, lease): (SharedState, Lease), raw: String, headers: HeaderMap| async move {
            let streamed =
                async { sse::stream(state, query::task_id(&id)?, Query::parse(&raw)?, headers, lease).await };
            answer(streamed.await)
        });
    append.or(lines).unify().or(log).unify().or(stream).unify().boxed()
}

fn sockets(state: &SharedState) -> BoxedFilter<(Response,)> {
    let worker = path!("ws" / "v1" / "worker").and(warp::get()).and(with(state)).and(upgrade(state)).map(
        |state: SharedState, upgrade: Result<Upgrade, ApiError>| {
            answer(upgrade.and_then(|upgrade| worker::ingest(&state, upgrade)))
        },
    );
    let many = path!("ws" / "v1" / "follow").and(warp::get()).and(with(state)).and(upgrade(state)).map(
        |state: SharedState, upgrade: Result<Upgrade, ApiError>| {
            answer(upgrade.and_then(|upgrade| multi_viewer::follow(&state, upgrade)))
        },
    );
    let one = path!("ws" / "v1" / "tasks" / String)
        .and(warp::get())
        .and(with(state))
        .and(raw_query())
        .and(upgrade(state))
        .map(|id: String, state: SharedState, raw: String, upgrade: Result<Upgrade, ApiError>| {
            let viewed = || viewer::view(&state, query::task_id(&id)?, &Query::parse(&raw)?, upgrade?);
            answer(viewed())
        });
    worker.or(many).unify().or(one).unify().boxed()
}

fn health(state: &SharedState) -> BoxedFilter<(Response,)> {
    let healthz = path!("healthz").and(get()).map(health::healthz);
    let readyz = path!("readyz").and(get()).and(with(state));
    let readyz = readyz.map(|state: SharedState| answer(health::readyz(&state)));
    let counters = path!("metrics").and(get()).and(with(state));
    let counters = counters.map(|state: SharedState| answer(health::metrics(&state)));
    let hops = path!("api" / "v1" / "pipeline").and(warp::get()).and(with(state)).and(caller());
    let hops = hops.map(|state: SharedState, caller: Caller| pipeline::pipeline(&state, &caller));
    healthz.or(readyz).unify().or(counters).unify().or(hops).unify().boxed()
}

fn run_routes(state: &SharedState) -> BoxedFilter<(Response,)> {
    let list = path!("api" / "v1" / "runs").and(warp::get()).and(with(state)).and(caller()).and(raw_query()).then(
        |state: SharedState, caller: Caller, raw: String| async move {
            let listed = async { runs::list(state, caller, Query::parse(&raw)?).await };
            answer(listed.await)
        },
    );
    let show = path!("api" / "v1" / "runs" / String).and(warp::get()).and(with(state)).then(
        |id: String, state: SharedState| async move {
            let shown = async { runs::show(state, query::run_id(&id)?).await };
            answer(shown.await)
        },
    );
    let remove = path!("api" / "v1" / "runs" / String).and(warp::delete()).and(with(state)).then(
        |id: String, state: SharedState| async move {
            let removed = async { runs::remove(state, query::run_id(&id)?).await };
            answer(removed.await)
        },
    );
    list.or(show).unify().or(remove).unify().or(event_routes(state)).unify().boxed()
}

fn event_routes(state: &SharedState) -> BoxedFilter<(Response,)> {
    let append = path!("api" / "v1" / "runs" / String / "events")
        .and(warp::post())
        .and(with(state))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(body(state))
        .then(|id: String, state: SharedState, raw: String, headers: HeaderMap, body: Body| async move {
            let appended =
                async { runs::append::events(state, query::run_id(&id)?, Query::parse(&raw)?, headers, body).await };
            answer(appended.await)
        });
    let events =
        path!("api" / "v1" / "runs" / String / "events").and(warp::get()).and(with(state)).and(raw_query()).then(
            |id: String, state: SharedState, raw: String| async move {
                let read = async { runs::events::page(state, query::run_id(&id)?, Query::parse(&raw)?).await };
                answer(read.await)
            },
        );
    let stream = path!("api" / "v1" / "runs" / String / "events" / "stream")
        .and(warp::get())
        .and(leased(state))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|id: String, (state, lease): (SharedState, Lease), raw: String, headers: HeaderMap| async move {
            let streamed =
                async { runs::stream::stream(state, query::run_id(&id)?, Query::parse(&raw)?, headers, lease).await };
            answer(streamed.await)
        });
    append.or(events).unify().or(stream).unify().boxed()
}

fn browser_routes(state: &SharedState) -> BoxedFilter<(Response,)> {
    let login = path!("login").and(get()).and(with(state)).and(raw_query()).map(|state: SharedState, raw: String| {
        answer(Query::parse(&raw).map(|query| browser::login_page(&state, &query)))
    });
    let sign_in = path!("login").and(warp::post()).and(visit(state)).and(body(state)).then(
        |(state, client, headers): Visit, body: Body| async move {
            answer(browser::sign_in(state, client, headers, body).await)
        },
    );
    let sign_out = path!("logout")
        .and(warp::post())
        .and(visit(state))
        .then(|(state, client, headers): Visit| async move { answer(browser::sign_out(state, client, headers).await) });
    let exchange = path!("share").and(warp::post()).and(visit(state)).and(body(state)).then(
        |(state, client, headers): Visit, body: Body| async move {
            answer(browser::exchange(state, client, headers, body).await)
        },
    );
    let share =
        path!("api" / "v1" / "tasks" / String / "share").and(warp::post()).and(visit(state)).and(body(state)).then(
            |id: String, (state, client, headers): Visit, body: Body| async move {
                let made = async { browser::make(state, query::task_id(&id)?, client, headers, body).await };
                answer(made.await)
            },
        );
    let access = path!("api" / "v1" / "access").and(warp::get()).and(visit(state)).and(raw_query()).then(
        |(state, client, headers): Visit, raw: String| async move {
            let told = async { browser::access(state, client, headers, Query::parse(&raw)?).await };
            answer(told.await)
        },
    );
    let first = login.or(sign_in).unify().or(sign_out).unify().boxed();
    first.or(exchange).unify().or(share).unify().or(access).unify().boxed()
}

/// What a route for browsers needs of a request.
type Visit = (SharedState, ClientAddr, HeaderMap);

fn visit(state: &SharedState) -> impl Filter<Extract = (Visit,), Error = warp::Rejection> + Clone + use<> {
    with(state)
        .and(warp::ext::get::<ClientAddr>())
        .and(warp::header::headers_cloned())
        .map(|state: SharedState, client: ClientAddr, headers: HeaderMap| (state, client, headers))
}

fn page_routes() -> BoxedFilter<(Response,)> {
    let headers = warp::header::headers_cloned;
    let list = warp::path::end().and(get()).and(headers()).map(|headers: HeaderMap| pages::list(&headers));
    let task = path!("tasks" / String)
        .and(get())
        .and(headers())
        .map(|id: String, headers: HeaderMap| answer(query::task_id(&id).map(|_| pages::task(&headers))));
    let runs = path!("runs").and(get()).and(headers()).map(|headers: HeaderMap| pages::runs(&headers));
    let run = path!("runs" / String)
        .and(get())
        .and(headers())
        .map(|id: String, headers: HeaderMap| answer(query::run_id(&id).map(|_| pages::run(&headers))));
    let asset = path!("assets" / String / String).and(get()).and(headers()).map(
        |folder: String, name: String, headers: HeaderMap| answer(pages::asset(&format!("{folder}/{name}"), &headers)),
    );
    list.or(task).unify().or(runs).unify().or(run).unify().or(asset).unify().boxed()
}

/// GET, and HEAD as health checks ask; hyper leaves out the body.
fn get() -> impl Filter<Extract = (), Error = warp::Rejection> + Copy {
    warp::get().or(warp::head()).unify()
}

fn with(state: &SharedState) -> impl Filter<Extract = (SharedState,), Error = Infallible> + Clone + use<> {
    let state = state.clone();
    warp::any().map(move || state.clone())
}

/// The query as it came; empty if there is none.
fn raw_query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

fn body(state: &SharedState) -> impl Filter<Extract = (Body,), Error = warp::Rejection> + Clone + use<> {
    let (time, hits) = (state.options.limits.body_timeout, state.hits.clone());
    warp::body::stream().map(move |body| body::timed(body, time, hits.clone()))
}

/// Who was let in by `access`. A public route has none: asked for there it is a fault of ours.
fn caller() -> impl Filter<Extract = (Caller,), Error = warp::Rejection> + Copy {
    warp::ext::get::<Caller>()
}

/// The state, and the lease of whoever was let in: for what goes on.
fn leased(
    state: &SharedState,
) -> impl Filter<Extract = ((SharedState, Lease),), Error = warp::Rejection> + Clone + use<> {
    let state = state.clone();
    caller().map(move |caller| (state.clone(), state.auth.lease(caller)))
}

/// The handshake of a WebSocket, checked.
fn upgrade(
    state: &SharedState,
) -> impl Filter<Extract = (Result<Upgrade, ApiError>,), Error = warp::Rejection> + Clone + use<> {
    leased(state)
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::optional::<ConnectionPermit>())
        .map(
            |(_, lease): (SharedState, Lease),
             headers: HeaderMap,
             on: Option<OnUpgrade>,
             place: Option<ConnectionPermit>| { Upgrade::check(&headers, on, place, lease) },
        )
}
