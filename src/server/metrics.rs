//! Counters of the server.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
    pub(in crate::server) fn register(&self, registry: &mut Registry) {
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
