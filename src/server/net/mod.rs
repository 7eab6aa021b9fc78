//! Connections below HTTP and RESP: binding, TLS, and limits on connections, rates and logins.

pub(in crate::server) mod bind;
pub(in crate::server) mod connection_limit;
pub(in crate::server) mod login_attempts;
pub(in crate::server) mod rate_limit;
pub(in crate::server) mod tcp;
pub(in crate::server) mod tls;
