//! Counters of the server, `/metrics`, `/healthz` and `/readyz`.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde_json::json;
use warp::http::{HeaderValue, header};
use warp::reply::{Reply, Response};

use super::pipeline;
use crate::server::http::error::ApiError;
use super::state::State;
use crate::model::limits::{self, Limit};

/// What the server itself counts; the tasks layer counts what it stores.
#[derive(Debug, Default)]
pub(in crate::server) struct Metrics {
    /// Connections now.
    pub(in crate::server) connections: Gauge,
    /// Connections refused at the limit.
    pub(in crate::server) refused: Counter,
    /// Connections without a good TLS handshake, where it is asked for.
    pub(in crate::server) handshakes_failed: Counter,
    /// New certificates taken from their files.
    pub(in crate::server) certificates_renewed: Counter,
    /// Connections that the system did not give, on both ports.
    pub(in crate::server) accept_errors: Counter,
    /// HTTP requests.
    pub(in crate::server) requests: Counter,
    /// Worker sockets now.
    pub(in crate::server) workers: Gauge,
    /// Viewers now, WebSocket and SSE; each subscription counts.
    pub(in crate::server) viewers: Gauge,
    /// Lines that workers and appends brought.
    pub(in crate::server) lines_received: Counter,
    /// Bytes of worker messages.
    pub(in crate::server) bytes_received: Counter,
    /// Lines that were made durable.
    pub(in crate::server) lines_stored: Counter,
    /// Lines sent to viewers.
    pub(in crate::server) lines_delivered: Counter,
    /// Messages and lines that were refused.
    pub(in crate::server) errors: Counter,
    /// Error replies not sent: too many, or nobody who wants them.
    pub(in crate::server) replies_dropped: Counter,
    /// Peers given up: silent, or not taking anything.
    pub(in crate::server) peers_dropped: Counter,
    /// The Redis port.
    pub(in crate::server) redis: RedisMetrics,
}

/// What the Redis port counts.
#[derive(Debug, Default)]
pub(in crate::server) struct RedisMetrics {
    /// Clients now.
    pub(in crate::server) connections: Gauge,
    /// Clients that wait in a blocking command.
    pub(in crate::server) blocked: Gauge,
    /// Clients refused at the limit.
    pub(in crate::server) refused: Counter,
    /// Commands, those of transactions too.
    pub(in crate::server) commands: Counter,
    /// Error replies.
    pub(in crate::server) errors: Counter,
    /// Bytes that came.
    pub(in crate::server) bytes_in: Counter,
    /// Bytes sent.
    pub(in crate::server) bytes_out: Counter,
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("connections", "Connections now", &self.connections),
            ("workers", "Worker sockets now", &self.workers),
            ("viewers", "Viewers now, by WebSocket or SSE", &self.viewers),
            ("redis_connections", "Redis clients now", &self.redis.connections),
            ("redis_blocked", "Redis clients that wait in a blocking command", &self.redis.blocked),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("connections_refused", "Connections over the limit", &self.refused),
            ("tls_handshakes_failed", "Connections without a good TLS handshake", &self.handshakes_failed),
            ("tls_certificates_renewed", "New certificates taken from their files", &self.certificates_renewed),
            (
                "accept_errors",
                "Connections that the system did not give: no file descriptors, say",
                &self.accept_errors,
            ),
            ("http_requests", "HTTP requests", &self.requests),
            ("lines_received", "Lines that workers and appends brought", &self.lines_received),
            ("bytes_received", "Bytes of messages and bodies with lines", &self.bytes_received),
            ("lines_acknowledged", "Lines made durable for a worker or an append", &self.lines_stored),
            ("lines_delivered", "Lines sent to viewers", &self.lines_delivered),
            ("errors", "Messages and lines that were refused", &self.errors),
            ("replies_dropped", "Error replies that were not sent", &self.replies_dropped),
            ("peers_dropped", "Sockets given up: silent, or taking nothing", &self.peers_dropped),
            ("redis_connections_refused", "Redis clients over the limit", &self.redis.refused),
            ("redis_commands", "Commands of Redis clients", &self.redis.commands),
            ("redis_errors", "Error replies to Redis clients", &self.redis.errors),
            ("redis_bytes_received", "Bytes that Redis clients sent", &self.redis.bytes_in),
            ("redis_bytes_sent", "Bytes sent to Redis clients", &self.redis.bytes_out),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}

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
    let failures = state.throttle.failures.clone();
    registry.register("auth_failures", "Requests and logins without a token that is taken", failures);
    registry.register(
        "auth_required",
        "1 if the store asks for access tokens",
        ConstGauge::new(i64::from(state.gate.asks())),
    );
    let stats = state.tasks.stats();
    let counters = [
        ("lines_stored", "Lines made durable in all journals", stats.lines_stored),
        ("commits", "Group commits of the journal", stats.commits),
        ("repeats_dropped", "Lines that a worker sent again and that were there already", stats.repeats_dropped),
        ("seal_failures", "Seals that failed and are tried again", stats.seal_failures),
        ("tasks_lost", "Tasks whose worker went silent", stats.tasks_lost),
        ("tasks_evicted", "Finished tasks removed to keep to disk_max", stats.evicted.0),
        ("archive_bytes_evicted", "Bytes of the archives of those tasks", stats.evicted.1),
        (
            "lines_dropped_over_task_bytes",
            "Lines dropped out of the middle of logs over their limit",
            stats.quota_lines,
        ),
        ("keeper_sweeps", "Looks at every open task", stats.keeper_sweeps),
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
    pipeline::register(state, &mut registry);
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
