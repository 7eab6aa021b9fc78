//! Counters of the server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
    /// Counters of the Redis port.
    pub(crate) redis: RedisMetrics,
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
    }
}
