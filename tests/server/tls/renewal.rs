//! A certificate replaced under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tasktail::client::connect::connect;
use tasktail::client::follow::{LogFollower, TaskFollowStart, TaskUpdate};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::common::{TestServer, within};
use crate::tls::certs::{Authority, Folder, Pair};
use crate::tls::{client, endpoint, secure};

/// The certificate that a new connection is shown.
async fn shown(server: &TestServer, ca: &str) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(server.server.addr()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_loaded_without_losing_a_request() {
    let authority = Authority::new();
    let (old, new) = (authority.sign(&["127.0.0.1"]), authority.sign(&["127.0.0.1"]));
    let folder = Folder::new(&old, &authority.pem);
    let server = secure(&folder, |_| {}).await;
    let address = endpoint(&server, &folder);
    // Two old connections: one that is followed, one that is asked again at the end.
    let asked = client(&server, &folder);
    let line = |text: &str| bytes::Bytes::from(text.to_owned());
    asked.post::<Value>("/api/v1/tasks/t/lines", &[], "text/plain", line("one")).await.unwrap();
    let mut viewer = LogFollower::new(address.clone(), "t".parse().unwrap(), TaskFollowStart::Beginning, false);
    while !matches!(within("a line", viewer.next()).await.unwrap(), Some(TaskUpdate::Lines(_))) {}
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (address, done, count) = (address.clone(), done.clone(), count.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    // A connection each, and a WebSocket too.
                    let fresh = tasktail::client::HttpClient::new(address.clone());
                    fresh.get::<Value>("/healthz", &[]).await.expect("a request under load");
                    connect(&address, "/ws/v1/worker").await.expect("a socket under load");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // First the certificate alone: it does not fit the old key, and the old pair is served on.
    folder.put("cert.pem", &new.cert);
    let mismatched = Instant::now();
    while mismatched.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(shown(&server, &authority.pem).await, der(&old), "the old pair, while the files do not fit");
    }
    folder.put("key.pem", &new.key);
    within("the new certificate", async { while shown(&server, &authority.pem).await != der(&new) {} }).await;
    let before = count.load(Ordering::Relaxed);
    server.until("some more requests", || async { count.load(Ordering::Relaxed) > before + 3 }).await;
    done.store(true, Ordering::Relaxed);
    for task in load {
        within("the load ends", task).await.expect("not one request failed");
    }
    // The old connections live on.
    asked.post::<Value>("/api/v1/tasks/t/lines", &[], "text/plain", line("two")).await.unwrap();
    match within("a line", viewer.next()).await.unwrap() {
        Some(TaskUpdate::Lines(lines)) => assert_eq!(lines[0].line, "two"),
        other => panic!("the old connection broke: {other:?}"),
    }
    let left = std::fs::read_to_string(server.folder.path().join("data/server.pem")).unwrap();
    assert_eq!(CertificateDer::from_pem_slice(left.as_bytes()).unwrap(), der(&new), "and commands here know it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_new_files_is_reported_once_per_change() {
    use tasktail::transport::{Acceptor, ReloadOutcome};
    let authority = Authority::new();
    let (old, new) = (authority.sign(&["a"]), authority.sign(&["a"]));
    let folder = Folder::new(&old, "");
    let acceptor = Acceptor::load(folder.files()).unwrap();
    let is = |reloaded: ReloadOutcome, wanted: &str| {
        let seen = format!("{reloaded:?}");
        assert!(seen.starts_with(wanted), "{seen} instead of {wanted}");
    };
    is(acceptor.reload(), "Unchanged");
    folder.put("cert.pem", &new.cert);
    is(acceptor.reload(), "Invalid(KeyMismatch");
    is(acceptor.reload(), "Unchanged");
    std::fs::remove_file(folder.path("key.pem")).unwrap();
    is(acceptor.reload(), "Invalid(Unreadable");
    is(acceptor.reload(), "Unchanged");
    folder.put("key.pem", &new.key);
    is(acceptor.reload(), "Changed");
    is(acceptor.reload(), "Unchanged");
    folder.put("cert.pem", &old.cert);
    folder.put("key.pem", &old.key);
    is(acceptor.reload(), "Changed");
}
