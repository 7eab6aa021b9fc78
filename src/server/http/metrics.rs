//! `/metrics`: counters, gauges and histograms, in the classic text format of Prometheus or as OpenMetrics.

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use warp::http::{HeaderMap, HeaderValue, header};
use warp::reply::Response;

use super::error::ApiError;
use super::health::durability;
use super::route_request::RouteRequest;
use crate::model::limits::{self, Limit};
use crate::server::process;
use crate::server::state::State;
use crate::tasks::Stats;

/// The media type of the classic format, which every version of Prometheus reads.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The media type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`: OpenMetrics for a client that prefers it, else the classic format.
pub(super) async fn metrics(request: RouteRequest) -> Result<Response, ApiError> {
    let registry = collect(&request.state);
    let mut body = String::new();
    let open_metrics = prefers_open_metrics(&request.headers);
    let encoded = match open_metrics {
        true => text::encode(&mut body, &registry),
        false => prometheus_text::encode(&mut body, &registry),
    };
    encoded.map_err(|_| ApiError::new(500, "internal", "failed to encode the metrics"))?;
    let mut response = Response::new(body.into());
    let kind = HeaderValue::from_static(if open_metrics { OPEN_METRICS } else { CLASSIC });
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Reports whether the client accepts OpenMetrics and does not prefer plain text.
fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut open_metrics, mut plain) = (0.0, 0.0);
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f64>);
        let quality = quality.unwrap_or(0.0);
        match kind.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => open_metrics = f64::max(open_metrics, quality),
            "text/plain" => plain = f64::max(plain, quality),
            _ => {}
        }
    }
    open_metrics > 0.0 && open_metrics >= plain
}

fn collect(state: &State) -> Registry {
    let mut all = Registry::default();
    process::register(&mut all);
    let registry = all.sub_registry_with_prefix("tasktail");
    state.metrics.register(registry);
    state.notices.meters().register(registry);
    let commits = state.tasks.commit_seconds();
    registry.register("commit_seconds", "Time of a group commit until it is durable", commits);
    register_server(state, registry);
    register_limits(state, registry);
    register_auth(state, registry);
    register_store(&state.tasks.stats(), registry);
    state.stages.register(&state.tasks, registry);
    all
}

/// Registers what does not change while the server runs, and its state.
fn register_server(state: &State, registry: &mut Registry) {
    let info = vec![("durability", durability(state)), ("version", env!("CARGO_PKG_VERSION").to_owned())];
    registry.register("server", "The server and its durability", Info::new(info));
    let commit = option_env!("TASKTAIL_BUILD_COMMIT").unwrap_or("unknown").to_owned();
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("commit", commit)];
    registry.register("build", "The build of the server", Info::new(build));
    let insecure = ConstGauge::new(i64::from(!state.insecure.is_empty()));
    registry.register("insecure", "1 if served to other machines without tokens or TLS (--insecure)", insecure);
    let ready = i64::from(state.tasks.health().is_ok());
    registry.register("ready", "1 if the store accepts writes", ConstGauge::new(ready));
}

/// Registers the values of all limits as one metric, and how often each was reached as another.
fn register_limits(state: &State, registry: &mut Registry) {
    let values = Family::<[(&str, &str); 2], Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    let reached = Family::<[(&str, &str); 1], Counter>::default();
    let limits = state.tasks.limits();
    for limit in Limit::ALL {
        let unit = match limit.value_name() {
            "TIME" => "seconds",
            "SIZE" => "bytes",
            _ => "number",
        };
        let value = limits.number(*limit).unwrap_or(f64::INFINITY);
        values.get_or_create(&[("limit", limit.name()), ("unit", unit)]).set(value);
        reached.get_or_create(&[("limit", limit.name())]).inc_by(state.limit_counters.get(*limit));
    }
    let fixed = [("line_bytes_max", limits::LINE_BYTES_MAX), ("message_bytes_max", limits::MESSAGE_BYTES_MAX)];
    for (name, value) in fixed {
        values.get_or_create(&[("limit", name), ("unit", "bytes")]).set(value as f64);
    }
    registry.register("limit", "The limits in force; infinite if off", values);
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
        ("journal_checkpoints", "Times that the journal's index received commits", stats.store.checkpoints),
        (
            "journal_segments_removed",
            "Segments of the journal removed after nothing in them was live",
            stats.store.removed_segments,
        ),
        ("journal_bytes_copied", "Bytes of live blocks copied out of mostly dead segments", stats.store.copied_bytes),
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
        ("journal_segments", "Segments of the journal: files with lines", stats.store.segments),
        ("journal_segment_bytes", "Bytes of these segments", stats.store.segment_bytes),
        ("journal_index_bytes", "Bytes of the journal's index", stats.store.index_bytes),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_sent_to_a_client_that_prefers_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                          q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (prometheus, true),
            ("application/openmetrics-text; version=1.0.0", true),
            ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.2", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            ("*/*", false),
            ("text/html", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(prefers_open_metrics(&headers), expected, "{accept}");
        }
        assert!(!prefers_open_metrics(&HeaderMap::new()));
    }
}
