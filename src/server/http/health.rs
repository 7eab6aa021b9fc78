//! `/metrics`, `/healthz` and `/readyz`.

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
use crate::model::limits::{self, Limit};
use crate::server::stages;
use crate::server::state::State;

/// `GET /metrics`: Prometheus' text format (OpenMetrics).
pub(in crate::server) fn metrics(state: &State) -> Result<Response, ApiError> {
    let mut registry = Registry::with_prefix("tasktail");
    state.metrics.register(&mut registry);
    let durability = vec![("durability", durability(state)), ("version", env!("CARGO_PKG_VERSION").to_owned())];
    registry.register("server", "The server and its durability", Info::new(durability));
    let ready = i64::from(state.tasks.health().is_ok());
    let insecure = ConstGauge::new(i64::from(!state.insecure.is_empty()));
    registry.register("insecure", "1 if others reach it without tokens or without TLS (--insecure)", insecure);
    registry.register("ready", "1 if the store can be written", ConstGauge::new(ready));
    let limits = [("line_bytes_max", limits::LINE_BYTES_MAX), ("message_bytes_max", limits::MESSAGE_BYTES_MAX)];
    for (name, value) in limits {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        registry.register(name, "A limit of this server", ConstGauge::new(value));
    }
    register_limits(state, &mut registry);
    let failures = state.login_attempts.failures.clone();
    registry.register("auth_failures", "Requests and logins without a token that is taken", failures);
    registry.register(
        "auth_required",
        "1 if the store asks for access tokens",
        ConstGauge::new(i64::from(state.auth.auth_required())),
    );
    let stats = state.tasks.stats();
    let counters = [
        ("lines_stored", "Lines made durable in all journals", stats.lines_stored),
        ("commits", "Group commits of the journal", stats.commits),
        ("repeats_dropped", "Lines that a worker sent again and that were there already", stats.repeats_dropped),
        ("seal_failures", "Seals that failed and are tried again", stats.seal_failures),
        ("tasks_lost", "Tasks whose worker went silent", stats.tasks_lost),
        ("tasks_evicted", "Finished tasks removed to keep to disk_max", stats.evicted.tasks),
        ("archive_bytes_evicted", "Bytes of the archives of those tasks", stats.evicted.bytes),
        (
            "lines_dropped_over_task_bytes",
            "Lines dropped out of the middle of logs over their limit",
            stats.quota_lines,
        ),
        ("keeper_sweeps", "Looks at every open task", stats.maintenance_sweeps),
        ("logs_complete", "Logs that ended with all that their workers had counted", stats.logs_complete),
        ("logs_incomplete", "Logs that ended with lines missing", stats.logs_incomplete),
        ("logs_mismatch", "Logs that ended and are not what their workers sent", stats.logs_mismatch),
        ("logs_unknown", "Logs that ended without a word of how many lines there were", stats.logs_unknown),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let gauges = [
        ("journal_queued_bytes", "Bytes that wait to be written", stats.queued_bytes),
        ("journal_disk_bytes", "Bytes of the journals on disk", stats.journal_bytes),
        ("archive_disk_bytes", "Bytes of the archives on disk", stats.archive_bytes),
        ("disk_free_bytes", "Free bytes of the file system with the data folder", stats.disk_free_bytes),
        ("tasks", "All tasks", stats.tasks),
        ("tasks_open", "Tasks that are not sealed yet", stats.tasks_open),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let help = "How far the system's clock is ahead of the one that things expire by: a jump that is not believed yet";
    registry.register("clock_ahead_seconds", help, ConstGauge::new(stats.clock_ahead_s));
    stages::register(state, &mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| ApiError::new(500, "internal", "the metrics could not be written"))?;
    let mut response = Response::new(text.into());
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Each limit that can be set: its value (infinite when it is off), and how often it was reached.
fn register_limits(state: &State, registry: &mut Registry) {
    let reached = Family::<[(&str, &str); 1], Counter>::default();
    for limit in Limit::ALL {
        let value = state.options.limits.number(*limit).unwrap_or(f64::INFINITY);
        registry.register(limit.name(), limit.help(), ConstGauge::new(value));
        reached.get_or_create(&[("limit", limit.name())]).inc_by(state.hits.get(*limit));
    }
    registry.register("limit_reached", "How often a limit was reached", reached);
}

/// `GET /healthz`: the process lives.
pub(in crate::server) fn healthz() -> Response {
    let body = json!({ "status": "ok", "name": "tasktail", "version": env!("CARGO_PKG_VERSION") });
    warp::reply::json(&body).into_response()
}

/// `GET /readyz`: the store can be written.
pub(in crate::server) fn readyz(state: &State) -> Result<Response, ApiError> {
    state.tasks.health().map_err(|reason| ApiError::new(503, "not_ready", reason))?;
    let mut body = json!({ "status": "ready", "durability": durability(state) });
    if !state.insecure.is_empty() {
        body["insecure"] = json!(state.insecure);
    }
    Ok(warp::reply::json(&body).into_response())
}

fn durability(state: &State) -> String {
    format!("{:?}", state.options.durability).to_lowercase()
}
