//! Counters of the server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::limits::LATENCY_BUCKETS;
use crate::model::{Line, Timestamp};

/// Counters of the server itself. The tasks layer has its own.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Connections refused at the limit.
    pub(crate) refused: Counter,
    /// TLS handshakes that failed.
    pub(crate) handshakes_failed: Counter,
    /// Certificates reloaded from their files.
    pub(crate) certificates_renewed: Counter,
    /// Failed `accept` calls, on both ports.
    pub(crate) accept_errors: Counter,
    /// HTTP requests.
    pub(crate) requests: Counter,
    /// Open worker sockets.
    pub(crate) workers: Gauge,
    /// Viewers over WebSocket and SSE; each subscription counts.
    pub(crate) viewers: Gauge,
    /// Lines received from workers and appends.
    pub(crate) lines_received: Counter,
    /// Bytes of worker messages.
    pub(crate) bytes_received: Counter,
    /// Lines made durable.
    pub(crate) lines_stored: Counter,
    /// Lines sent to viewers.
    pub(crate) lines_delivered: Counter,
    /// Rejected messages and lines.
    pub(crate) errors: Counter,
    /// Error replies not sent: too many, or the peer does not read them.
    pub(crate) replies_dropped: Counter,
    /// Peers dropped: silent, or accepting no data.
    pub(crate) peers_dropped: Counter,
    /// Times until the head of a response, by the class of its status.
    pub(crate) request_seconds: RequestTimes,
    /// Times between storing a line and sending it to a connected viewer.
    pub(crate) line_to_viewer: DeliveryTimes,
    /// Counters of the Redis port.
    pub(crate) redis: RedisMetrics,
}

/// A histogram of requests for each class of status.
#[derive(Clone, Debug)]
pub(crate) struct RequestTimes(Family<StatusLabel, Histogram, fn() -> Histogram>);

/// The label of a histogram: its name and its value.
type StatusLabel = [(&'static str, &'static str); 1];

impl Default for RequestTimes {
    fn default() -> Self {
        Self(Family::new_with_constructor(latencies))
    }
}

impl RequestTimes {
    /// Records the time until the head of a response with this status.
    pub(crate) fn observe(&self, status: u16, seconds: f64) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.0.get_or_create(&[("status", class)]).observe(seconds);
    }
}

/// A histogram of deliveries.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryTimes(Histogram);

impl Default for DeliveryTimes {
    fn default() -> Self {
        Self(latencies())
    }
}

impl DeliveryTimes {
    /// Records the delivery of a page whose last line is `last`, to a viewer that is connected since `since`. Lines
    /// stored before that are history, and their age says nothing about the server.
    pub(crate) fn observe(&self, last: Option<&Line<'_>>, since: Timestamp) {
        let Some(stored_ms) = last.map(|line| line.id.ms).filter(|ms| *ms >= since.as_millis()) else { return };
        let elapsed_ms = Timestamp::now().as_millis().saturating_sub(stored_ms);
        self.0.observe(elapsed_ms as f64 / 1000.0);
    }
}

/// Returns a histogram of latencies.
fn latencies() -> Histogram {
    Histogram::new(LATENCY_BUCKETS)
}

/// Counters of the Redis port.
#[derive(Debug, Default)]
pub(crate) struct RedisMetrics {
    /// Connected clients.
    pub(crate) connections: Gauge,
    /// Clients waiting in a blocking command.
    pub(crate) blocked: Gauge,
    /// Clients refused at the limit.
    pub(crate) refused: Counter,
    /// Commands, including those in transactions.
    pub(crate) commands: Counter,
    /// Error replies.
    pub(crate) errors: Counter,
    /// Bytes received.
    pub(crate) bytes_in: Counter,
    /// Bytes sent.
    pub(crate) bytes_out: Counter,
}

impl Metrics {
    /// Registers all of them with `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("connections", "Open connections", &self.connections),
            ("workers", "Open worker sockets", &self.workers),
            ("viewers", "Viewers over WebSocket and SSE", &self.viewers),
            ("redis_connections", "Connected Redis clients", &self.redis.connections),
            ("redis_blocked", "Redis clients waiting in a blocking command", &self.redis.blocked),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("connections_refused", "Connections refused at the limit", &self.refused),
            ("tls_handshakes_failed", "Failed TLS handshakes", &self.handshakes_failed),
            ("tls_certificates_renewed", "Certificates reloaded from their files", &self.certificates_renewed),
            ("accept_errors", "Failed accept calls, such as without file descriptors", &self.accept_errors),
            ("http_requests", "HTTP requests", &self.requests),
            ("lines_received", "Lines received from workers and appends", &self.lines_received),
            ("bytes_received", "Bytes of worker messages and append bodies", &self.bytes_received),
            ("lines_acknowledged", "Lines made durable for a worker or an append", &self.lines_stored),
            ("lines_delivered", "Lines sent to viewers", &self.lines_delivered),
            ("errors", "Rejected messages and lines", &self.errors),
            ("replies_dropped", "Error replies not sent", &self.replies_dropped),
            ("peers_dropped", "Peers dropped: silent, or accepting no data", &self.peers_dropped),
            ("redis_connections_refused", "Redis clients refused at the limit", &self.redis.refused),
            ("redis_commands", "Commands from Redis clients", &self.redis.commands),
            ("redis_errors", "Error replies to Redis clients", &self.redis.errors),
            ("redis_bytes_received", "Bytes received from Redis clients", &self.redis.bytes_in),
            ("redis_bytes_sent", "Bytes sent to Redis clients", &self.redis.bytes_out),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let help = "Time until the head of a response, by the class of its status";
        registry.register("http_request_seconds", help, self.request_seconds.0.clone());
        let help = "Time between storing a line and sending it to a connected viewer";
        registry.register("line_to_viewer_seconds", help, self.line_to_viewer.0.clone());
    }
}
