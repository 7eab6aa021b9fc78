//! Host names in a `Host` header.

use std::net::IpAddr;

/// Returns the host without its port.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(_) => host.split_inclusive(']').next().unwrap_or(host),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Reports whether a host, with or without a port, is a loopback name.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let name = without_port(host);
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// Reports whether a host, with or without a port, is an IP address. No DNS name can impersonate one.
pub(crate) fn is_address(host: &str) -> bool {
    without_port(host).trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}
