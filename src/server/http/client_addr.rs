//! The client's address, scheme and host of a request: the one place that evaluates the headers of reverse
//! proxies.
//!
//! A trusted proxy (setting `trusted_proxy`) appends the address of its peer to the right end of
//! `X-Forwarded-For` or `Forwarded` (RFC 7239). Read from the right, the first hop that is not trusted is the
//! client; everything to its left was written by the client. From untrusted peers these headers are
//! ignored. If both headers are present and disagree, the proxy sets only one of them and the client may have
//! written the other, so both are ignored.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use warp::http::{HeaderMap, HeaderName, header};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The addresses of proxies whose forwarding headers are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reports whether an address is that of a trusted proxy.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

impl std::str::FromStr for TrustedProxies {
    type Err = String;

    /// Parses addresses and networks, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |part: &str| {
            format!("`{part}` is not an address: use for example 127.0.0.1 or 10.0.0.0/8, separated by commas")
        };
        let read = |part: &str| {
            let ip = part.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
            ip.or_else(|_| part.parse::<IpNet>()).map_err(|_| bad(part))
        };
        text.split(',').map(|part| read(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// The origin and target of a request: an extension of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddr {
    /// The client's address: the peer's, or the one that a trusted proxy reports. Never an IPv4-mapped IPv6
    /// address.
    pub(crate) ip: IpAddr,
    /// Set if the client uses https, so that a cookie may be `Secure`.
    pub(crate) https: bool,
    /// The requested host, with its port if present.
    pub(crate) host: Option<String>,
}

/// One hop of a forwarding header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ForwardedHop {
    ip: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl ClientAddr {
    /// Evaluates the headers of a request from `peer`, with or without TLS.
    pub(crate) fn new(peer: SocketAddr, tls: bool, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let direct = Self { ip: peer.ip().to_canonical(), https: tls, host };
        if !trusted.contains(peer.ip()) {
            return direct;
        }
        let x_forwarded = client_hop(x_hops(headers), trusted);
        let forwarded = client_hop(forwarded_hops(headers), trusted);
        let hop = match (x_forwarded, forwarded) {
            (Some(x), Some(standard)) if x.ip != standard.ip => return direct,
            (Some(hop), _) | (None, Some(hop)) => hop,
            // The scheme and host may be reported without a client address.
            (None, None) => {
                ForwardedHop { ip: None, proto: last(headers, &FORWARDED_PROTO), host: last(headers, &FORWARDED_HOST) }
            }
        };
        Self {
            ip: hop.ip.unwrap_or(direct.ip),
            https: hop.proto.map_or(tls, |proto| proto.eq_ignore_ascii_case("https")),
            host: hop.host.or(direct.host),
        }
    }

    /// Returns the origin of a page requested like this: `https://logs.example`.
    pub(crate) fn origin(&self) -> Option<String> {
        let scheme = if self.https { "https" } else { "http" };
        self.host.as_deref().map(|host| normal_origin(&format!("{scheme}://{host}")))
    }
}

/// Normalizes an origin: lower case, without the default port of its scheme.
pub(crate) fn normal_origin(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let default_port = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(default_port).map_or(origin.clone(), str::to_owned)
}

/// Normalizes a host: lower case, without the default port of http or https.
pub(crate) fn normal_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let bare = host.strip_suffix(":443").or_else(|| host.strip_suffix(":80"));
    bare.map_or(host.clone(), str::to_owned)
}

/// Returns the first hop from the right that is not trusted, or the leftmost if all are trusted. A hop without
/// an address ends the search: the clients beyond it are unknown, so the last proxy counts as the client.
fn client_hop(hops: Vec<ForwardedHop>, trusted: &TrustedProxies) -> Option<ForwardedHop> {
    let mut client = None;
    for hop in hops.into_iter().rev() {
        let Some(ip) = hop.ip else { break };
        let done = !trusted.contains(ip);
        client = Some(hop);
        if done {
            break;
        }
    }
    client
}

/// Parses the hops of `X-Forwarded-For`. The other two headers have a value per hop, or one in total.
fn x_hops(headers: &HeaderMap) -> Vec<ForwardedHop> {
    let addresses = list(headers, &FORWARDED_FOR);
    let (protos, hosts) = (list(headers, &FORWARDED_PROTO), list(headers, &FORWARDED_HOST));
    // Counted from the right: values further to the left come from no trusted proxy.
    let at = |values: &[String], from_right: usize| {
        let index = values.len().saturating_sub(from_right + 1);
        values.get(index).cloned()
    };
    let count = addresses.len();
    let hop = |(index, address): (usize, &String)| {
        let from_right = count - 1 - index;
        ForwardedHop { ip: node_ip(address), proto: at(&protos, from_right), host: at(&hosts, from_right) }
    };
    addresses.iter().enumerate().map(hop).collect()
}

/// Parses the hops of `Forwarded`: `for=192.0.2.60;proto=https;host=logs.example, for="[2001:db8::1]:80"`.
fn forwarded_hops(headers: &HeaderMap) -> Vec<ForwardedHop> {
    let hop = |element: &String| {
        let mut hop = ForwardedHop::default();
        for pair in element.split(';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => hop.ip = node_ip(value),
                "proto" => hop.proto = Some(value.to_owned()),
                "host" => hop.host = Some(value.to_owned()),
                _ => {}
            }
        }
        hop
    };
    list(headers, &header::FORWARDED).iter().map(hop).collect()
}

/// Returns the values of a header that may be repeated and contain commas.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).map(|part| part.trim().to_owned()).collect()
}

fn last(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    list(headers, name).pop()
}

/// Parses an address in any form that proxies use: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node_ip(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text.parse::<IpAddr>().ok();
    let bracketed = || text.strip_prefix('[')?.split_once(']')?.0.parse::<IpAddr>().ok();
    let ip = bare.or_else(|| text.parse::<SocketAddr>().ok().map(|addr| addr.ip())).or_else(bracketed);
    ip.map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(peer: &str, tls: bool, pairs: &[(&'static str, &str)]) -> (String, bool, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "own:1".parse().unwrap());
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = "127.0.0.1, 10.0.0.0/8, ::1".parse().unwrap();
        let ClientAddr { ip, https, host } = ClientAddr::new(peer.parse().unwrap(), tls, &headers, &trusted);
        (ip.to_string(), https, host)
    }

    fn ip(peer: &str, pairs: &[(&'static str, &str)]) -> String {
        evaluate(peer, false, pairs).0
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        let all = [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1;proto=https;host=evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
        ];
        let own = || Some("own:1".to_owned());
        assert_eq!(evaluate("192.0.2.9:5", false, &all), ("192.0.2.9".to_owned(), false, own()));
        assert_eq!(evaluate("127.0.0.2:5", true, &all), ("127.0.0.2".to_owned(), true, own()));
        let client = ClientAddr::new(
            "127.0.0.1:1".parse().unwrap(),
            false,
            &all.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect(),
            &TrustedProxies::default(),
        );
        assert_eq!((client.ip.to_string(), client.https), ("127.0.0.1".to_owned(), false), "without the setting");
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_hop() {
        for (value, client) in [
            ("1.1.1.1", "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1, 10.0.0.7", "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1, 10.0.0.7, 10.9.9.9", "1.1.1.1"),
            ("10.0.0.7", "10.0.0.7"),
            ("1.1.1.1:4711", "1.1.1.1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("1.1.1.1, unknown", "127.0.0.1"),
            ("1.1.1.1, unknown, 10.0.0.7", "10.0.0.7"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(ip("127.0.0.1:9", &[("x-forwarded-for", value)]), client, "{value}");
        }
        let twice = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1, 10.0.0.1")];
        assert_eq!(ip("[::ffff:10.0.0.2]:9", &twice), "1.1.1.1");
        let standard = r#"for=6.6.6.6, for="[2001:db8::17]:4711";proto=https;by=10.0.0.1, For=10.0.0.1"#;
        assert_eq!(ip("[::1]:9", &[("forwarded", standard)]), "2001:db8::17");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_client_connection() {
        let scheme_and_host = |pairs: &[(&'static str, &str)]| {
            let (_, https, host) = evaluate("127.0.0.1:9", false, pairs);
            (https, host.unwrap_or_default())
        };
        let pairs =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "logs.example")];
        assert_eq!(scheme_and_host(&pairs), (true, "logs.example".to_owned()));
        assert_eq!(scheme_and_host(&pairs[1..]), (true, "logs.example".to_owned()), "without an address");
        // The edge uses https, the inner proxy http.
        let nested = [("x-forwarded-for", "1.1.1.1, 10.0.0.1"), ("x-forwarded-proto", "https, http")];
        assert_eq!(scheme_and_host(&nested), (true, "own:1".to_owned()));
        // Values written by the client are further to the left.
        let spoofed = [("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("x-forwarded-proto", "https, http")];
        assert_eq!(scheme_and_host(&spoofed), (false, "own:1".to_owned()));
        let standard = [("forwarded", "for=6.6.6.6;proto=http, for=1.1.1.1;proto=https;host=logs.example")];
        assert_eq!(scheme_and_host(&standard), (true, "logs.example".to_owned()));
    }

    #[test]
    fn contradictory_headers_are_ignored() {
        let pairs = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=6.6.6.6;proto=https")];
        assert_eq!(evaluate("127.0.0.1:9", false, &pairs), ("127.0.0.1".to_owned(), false, Some("own:1".to_owned())));
        let pairs = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1;proto=https")];
        assert_eq!(ip("127.0.0.1:9", &pairs), "1.1.1.1");
    }

    #[test]
    fn invalid_settings_are_named_in_the_error() {
        let error = |text: &str| text.parse::<TrustedProxies>().unwrap_err();
        assert!(error("127.0.0.1,proxy").contains("`proxy`") && error("").contains("10.0.0.0/8"));
        assert!(error("10.0.0.0/33").contains("`10.0.0.0/33`"));
    }

    #[test]
    fn origins_are_normalized() {
        let origin =
            |https, host: &str| ClientAddr { ip: [1, 1, 1, 1].into(), https, host: Some(host.into()) }.origin();
        assert_eq!(origin(true, "Logs.example:443").as_deref(), Some("https://logs.example"));
        assert_eq!(origin(false, "logs.example:80").as_deref(), Some("http://logs.example"));
        assert_eq!(origin(true, "logs.example:80").as_deref(), Some("https://logs.example:80"));
    }
}
