//! Names in a `Host` header.

use std::net::IpAddr;

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(_) => host.split_inclusive(']').next().unwrap_or(host),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// Whether a host, with a port or without, is what each machine calls itself.
pub(in crate::server) fn is_loopback_host(host: &str) -> bool {
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// An address is no name that a page could have taken.
pub(in crate::server) fn is_address(host: &str) -> bool {
    name_of(host).trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}
