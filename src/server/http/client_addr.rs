//! Who sends a request, and how it came: the one place that believes, or does not believe, what a
//! reverse proxy says of it.
//!
//! A trusted proxy (`trusted_proxy`) adds the address it was asked from at the right end of
//! `X-Forwarded-For` or `Forwarded` (RFC 7239). Read from the right, over every hop that is trusted
//! itself, the first other one is the client; what stands to the left of it the client wrote. From
//! anyone else these headers are nothing. Where both headers are there and do not agree, the proxy
//! sets only one of them and the client may have written the other: then neither counts.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use warp::http::{HeaderMap, HeaderName, header};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The addresses whose word about a request is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether a connection from there is one of a trusted proxy.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

impl std::str::FromStr for TrustedProxies {
    type Err = String;

    /// Addresses and networks, with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            |part: &str| format!("`{part}` is no address: write such as 127.0.0.1 or 10.0.0.0/8, several with commas");
        let read = |part: &str| {
            let ip = part.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
            ip.or_else(|_| part.parse::<IpNet>()).map_err(|_| bad(part))
        };
        text.split(',').map(|part| read(part.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// Where a request comes from, and what for: in every request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct ClientAddr {
    /// The client's address: the peer's, or that which a trusted proxy names. Never an IPv4 address
    /// inside an IPv6 one.
    pub(in crate::server) ip: IpAddr,
    /// Nobody between the client and the first proxy can read it: a cookie may be `Secure`.
    pub(in crate::server) https: bool,
    /// The host that the client asked for, with its port if it said one.
    pub(in crate::server) host: Option<String>,
}

/// One hop as a proxy tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    ip: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

impl ClientAddr {
    /// Reads it off a request that came from `peer`, under TLS or not.
    pub(in crate::server) fn of(peer: SocketAddr, tls: bool, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
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
            // It names no client; that it came by https it may say all the same.
            (None, None) => {
                Hop { ip: None, proto: last(headers, &FORWARDED_PROTO), host: last(headers, &FORWARDED_HOST) }
            }
        };
        Self {
            ip: hop.ip.unwrap_or(direct.ip),
            https: hop.proto.map_or(tls, |proto| proto.eq_ignore_ascii_case("https")),
            host: hop.host.or(direct.host),
        }
    }

    /// The origin of a page that was asked for in this way: `https://logs.example`.
    pub(in crate::server) fn origin(&self) -> Option<String> {
        let scheme = if self.https { "https" } else { "http" };
        self.host.as_deref().map(|host| normal_origin(&format!("{scheme}://{host}")))
    }
}

/// An origin in one spelling: small letters, no port where it is the scheme's own.
pub(in crate::server) fn normal_origin(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let own_port = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(own_port).map_or(origin.clone(), str::to_owned)
}

/// A host in one spelling: small letters, and no port where it is that of http or https.
pub(in crate::server) fn bare_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let bare = host.strip_suffix(":443").or_else(|| host.strip_suffix(":80"));
    bare.map_or(host.clone(), str::to_owned)
}

/// The first hop from the right that is not trusted; if all are, the leftmost. One that is no
/// address ends the way: who is behind it is not known, so it is the proxy before it.
fn client_hop(hops: Vec<Hop>, trusted: &TrustedProxies) -> Option<Hop> {
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

/// The hops of `X-Forwarded-For`. The other two headers have a value for each hop, or one for all.
fn x_hops(headers: &HeaderMap) -> Vec<Hop> {
    let addresses = list(headers, &FORWARDED_FOR);
    let (protos, hosts) = (list(headers, &FORWARDED_PROTO), list(headers, &FORWARDED_HOST));
    // Both are counted from the right: what stands too far to the left no proxy of ours wrote.
    let at = |values: &[String], from_right: usize| {
        let index = values.len().saturating_sub(from_right + 1);
        values.get(index).cloned()
    };
    let count = addresses.len();
    let hop = |(index, address): (usize, &String)| {
        let from_right = count - 1 - index;
        Hop { ip: node_ip(address), proto: at(&protos, from_right), host: at(&hosts, from_right) }
    };
    addresses.iter().enumerate().map(hop).collect()
}

/// The hops of `Forwarded`: `for=192.0.2.60;proto=https;host=logs.example, for="[2001:db8::1]:80"`.
fn forwarded_hops(headers: &HeaderMap) -> Vec<Hop> {
    let hop = |element: &String| {
        let mut hop = Hop::default();
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

/// The values of a header that may come several times, each with commas.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).map(|part| part.trim().to_owned()).collect()
}

fn last(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    list(headers, name).pop()
}

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
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

    fn seen(peer: &str, tls: bool, pairs: &[(&'static str, &str)]) -> (String, bool, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "own:1".parse().unwrap());
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = "127.0.0.1, 10.0.0.0/8, ::1".parse().unwrap();
        let ClientAddr { ip, https, host } = ClientAddr::of(peer.parse().unwrap(), tls, &headers, &trusted);
        (ip.to_string(), https, host)
    }

    fn ip(peer: &str, pairs: &[(&'static str, &str)]) -> String {
        seen(peer, false, pairs).0
    }

    #[test]
    fn headers_of_a_stranger_are_nothing() {
        let all = [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1;proto=https;host=evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
        ];
        let own = || Some("own:1".to_owned());
        assert_eq!(seen("192.0.2.9:5", false, &all), ("192.0.2.9".to_owned(), false, own()));
        assert_eq!(seen("127.0.0.2:5", true, &all), ("127.0.0.2".to_owned(), true, own()));
        let nobody = ClientAddr::of(
            "127.0.0.1:1".parse().unwrap(),
            false,
            &all.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect(),
            &TrustedProxies::default(),
        );
        assert_eq!((nobody.ip.to_string(), nobody.https), ("127.0.0.1".to_owned(), false), "without the setting");
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
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
    fn scheme_and_host_are_those_of_the_clients_hop() {
        let say = |pairs: &[(&'static str, &str)]| {
            let (_, https, host) = seen("127.0.0.1:9", false, pairs);
            (https, host.unwrap_or_default())
        };
        let pairs =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "logs.example")];
        assert_eq!(say(&pairs), (true, "logs.example".to_owned()));
        assert_eq!(say(&pairs[1..]), (true, "logs.example".to_owned()), "without an address");
        // The edge speaks https, the proxy behind it http.
        let nested = [("x-forwarded-for", "1.1.1.1, 10.0.0.1"), ("x-forwarded-proto", "https, http")];
        assert_eq!(say(&nested), (true, "own:1".to_owned()));
        // What the client wrote before it stands further to the left.
        let spoofed = [("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("x-forwarded-proto", "https, http")];
        assert_eq!(say(&spoofed), (false, "own:1".to_owned()));
        let standard = [("forwarded", "for=6.6.6.6;proto=http, for=1.1.1.1;proto=https;host=logs.example")];
        assert_eq!(say(&standard), (true, "logs.example".to_owned()));
    }

    #[test]
    fn two_headers_that_do_not_agree_are_not_believed() {
        let pairs = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=6.6.6.6;proto=https")];
        assert_eq!(seen("127.0.0.1:9", false, &pairs), ("127.0.0.1".to_owned(), false, Some("own:1".to_owned())));
        let pairs = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1;proto=https")];
        assert_eq!(ip("127.0.0.1:9", &pairs), "1.1.1.1");
    }

    #[test]
    fn the_setting_says_what_is_wrong_with_it() {
        let error = |text: &str| text.parse::<TrustedProxies>().unwrap_err();
        assert!(error("127.0.0.1,proxy").contains("`proxy`") && error("").contains("10.0.0.0/8"));
        assert!(error("10.0.0.0/33").contains("`10.0.0.0/33`"));
    }

    #[test]
    fn an_origin_has_one_spelling() {
        let origin =
            |https, host: &str| ClientAddr { ip: [1, 1, 1, 1].into(), https, host: Some(host.into()) }.origin();
        assert_eq!(origin(true, "Logs.example:443").as_deref(), Some("https://logs.example"));
        assert_eq!(origin(false, "logs.example:80").as_deref(), Some("http://logs.example"));
        assert_eq!(origin(true, "logs.example:80").as_deref(), Some("https://logs.example:80"));
    }
}
