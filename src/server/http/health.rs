//! `/metrics`, `/healthz`, `/readyz`, and the counters of the stages.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde_json::json;
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use super::error::ApiError;
use super::reply::uncached_json;
use super::route_request::RouteRequest;
use crate::model::Pipeline;
use crate::model::limits::{self, Limit};
use crate::server::state::State;
use crate::tasks::Stats;

/// `GET /metrics`: OpenMetrics text for Prometheus.
pub(super) async fn metrics(request: RouteRequest) -> Result<Response, ApiError> {
    let state = &*request.state;
    let mut registry = Registry::with_prefix("tasktail");
    state.metrics.register(&mut registry);
    register_server(state, &mut registry);
    register_limits(state, &mut registry);
    register_auth(state, &mut registry);
    register_store(&state.tasks.stats(), &mut registry);
    state.stages.register(&state.tasks, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| ApiError::new(500, "internal", "failed to encode the metrics"))?;
    let mut response = Response::new(text.into());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn register_server(state: &State, registry: &mut Registry) {
    let info = vec![("durability", durability(state)), ("version", env!("CARGO_PKG_VERSION").to_owned())];
    registry.register("server", "The server and its durability", Info::new(info));
    let insecure = ConstGauge::new(i64::from(!state.insecure.is_empty()));
    registry.register("insecure", "1 if served to other machines without tokens or TLS (--insecure)", insecure);
    let ready = i64::from(state.tasks.health().is_ok());
    registry.register("ready", "1 if the store accepts writes", ConstGauge::new(ready));
    let limits = [("line_bytes_max", limits::LINE_BYTES_MAX), ("message_bytes_max", limits::MESSAGE_BYTES_MAX)];
    for (name, value) in limits {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        registry.register(name, "A limit of this server", ConstGauge::new(value));
    }
}

/// Registers each configurable limit: its value (infinite if disabled), and how often it was reached.
fn register_limits(state: &State, registry: &mut Registry) {
    let reached = Family::<[(&str, &str); 1], Counter>::default();
    for limit in Limit::ALL {
        let value = state.options.limits.number(*limit).unwrap_or(f64::INFINITY);
        registry.register(limit.name(), limit.help(), ConstGauge::new(value));
        reached.get_or_create(&[("limit", limit.name())]).inc_by(state.limit_counters.get(*limit));
    }
    registry.register("limit_reached", "How often a limit was reached", reached);
}

fn register_auth(state: &State, registry: &mut Registry) {
    let failures = state.login_attempts.failures.clone();
    registry.register("auth_failures", "Requests and sign-ins without a valid token", failures);
    let required = i64::from(state.auth.auth_required());
    registry.register("auth_required", "1 if the store requires access tokens", ConstGauge::new(required));
}

fn register_store(stats: &Stats, registry: &mut Registry) {
    let counters = [
        ("lines_stored", "Lines made durable in all journals", stats.lines_stored),
        ("commits", "Group commits of the journal", stats.commits),
        ("repeats_dropped", "Duplicate lines dropped after a worker sent them again", stats.repeats_dropped),
        ("archive_waits", "Appends that waited until older lines of their task were archived", stats.archive_waits),
        ("seal_failures", "Failed seals, which are retried", stats.seal_failures),
        ("tasks_lost", "Tasks whose worker went silent", stats.tasks_lost),
        ("tasks_evicted", "Finished tasks deleted to stay below disk_max", stats.evicted.tasks),
        ("archive_bytes_evicted", "Bytes of the archives of these tasks", stats.evicted.bytes),
        (
            "lines_dropped_over_task_bytes",
            "Lines truncated from the middle of logs over task_bytes_max",
            stats.quota_lines,
        ),
        ("keeper_sweeps", "Maintenance passes over all open tasks", stats.maintenance_sweeps),
        ("logs_complete", "Ended logs with every line that their workers counted", stats.logs_complete),
        ("logs_incomplete", "Ended logs with missing lines", stats.logs_incomplete),
        ("logs_mismatch", "Ended logs that differ from what their workers sent", stats.logs_mismatch),
        ("logs_unknown", "Ended logs whose workers reported no line count", stats.logs_unknown),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let gauges = [
        ("journal_queued_bytes", "Bytes queued for writing", stats.queued_bytes),
        ("journal_disk_bytes", "Bytes of the journals on disk", stats.journal_bytes),
        ("archive_disk_bytes", "Bytes of the archives on disk", stats.archive_bytes),
        ("disk_free_bytes", "Free bytes of the file system with the data folder", stats.disk_free_bytes),
        ("tasks", "All tasks", stats.tasks),
        ("tasks_open", "Tasks that are not sealed yet", stats.tasks_open),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let help = "Seconds by which the system clock is ahead of the trusted clock, after a jump";
    registry.register("clock_ahead_seconds", help, ConstGauge::new(stats.clock_ahead_s));
}

/// `GET /healthz`: the process is alive.
pub(super) async fn healthz(request: RouteRequest) -> Result<Response, ApiError> {
    let instance = &request.state.instance;
    let version = env!("CARGO_PKG_VERSION");
    let body = json!({ "status": "ok", "name": "tasktail", "version": version, "instance": instance });
    Ok(warp::reply::json(&body).into_response())
}

/// `GET /readyz`: the store accepts writes.
pub(super) async fn readyz(request: RouteRequest) -> Result<Response, ApiError> {
    let state = &*request.state;
    state.tasks.health().map_err(|reason| ApiError::new(503, "not_ready", reason))?;
    let mut body = json!({ "status": "ready", "durability": durability(state) });
    if !state.insecure.is_empty() {
        body["insecure"] = json!(state.insecure);
    }
    Ok(warp::reply::json(&body).into_response())
}

/// `GET /api/v1/pipeline`: the counters of every stage. A caller who may not see everything gets no error
/// messages, because they name tasks and runs.
pub(super) async fn pipeline(request: RouteRequest) -> Result<Response, ApiError> {
    let state = &*request.state;
    let runs_folder = state.options.runs.as_ref().map(|folder| folder.display().to_string());
    let mut pipeline = Pipeline { stages: state.stages.snapshot(&state.tasks), runs_folder };
    if !request.caller()?.sees_all() {
        pipeline.runs_folder = None;
        for stage in &mut pipeline.stages {
            stage.last_error = None;
        }
    }
    Ok(uncached_json(&pipeline))
}

fn durability(state: &State) -> String {
    format!("{:?}", state.options.durability).to_lowercase()
}
