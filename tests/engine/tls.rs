//! TLS and users with few rights.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tasktail::home::redis::{Engine, EngineError, EngineOptions};
use tasktail::model::EntryId;
use tempfile::TempDir;

use crate::server::{Server, batch, create, free_port, id, on_each, read_all, read_until, stored};

/// The commands and keys that the guide lists for the user of a journal.
const RIGHTS: &[&str] = &[
    "resetkeys",
    "~task:logs:*",
    "~run:events:*",
    "~{task:logs:*",
    "~{run:events:*",
    "~tt:*",
    "-@all",
    "+@connection",
    "+@scripting",
    "-@dangerous",
    "+info",
    "+config|get",
    "+@stream",
    "+@hash",
    "+@sortedset",
    "+@string",
    "+exists",
    "+del",
    "+unlink",
    "+time",
    "+wait",
    "+ping",
    "+script|load",
    "+evalsha",
    "+client|tracking",
    "+hello",
    "+auth",
];

/// Writes a certificate for 127.0.0.1 and the one of its issuer.
fn certificates(folder: &TempDir) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    for (name, text) in
        [("ca.pem", ca_certificate.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
}

on_each! {
    async fn journal_over_tls_with_an_own_authority(kind) {
        let folder = TempDir::new().unwrap();
        certificates(&folder);
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let port = free_port();
        let settings = [
            "--appendonly", "yes", "--appendfsync", "always", "--tls-port", &port.to_string(), "--tls-auth-clients", "no",
            "--tls-cert-file", &path("cert.pem"), "--tls-key-file", &path("key.pem"), "--tls-ca-cert-file", &path("ca.pem"),
        ].map(str::to_owned);
        let Some(server) = Server::try_start_with(kind, &settings.each_ref().map(String::as_str)).await else {
            // Built without TLS: only the wheel of Valkey is.
            assert_eq!(kind, crate::server::Kind::Valkey);
            return;
        };
        let url = format!("rediss://127.0.0.1:{port}").parse().unwrap();
        let options = || EngineOptions { operation_timeout: std::time::Duration::from_secs(2), ..EngineOptions::new("a") };
        let error = Engine::connect(&url, options()).await.unwrap_err();
        assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
        let options = EngineOptions { ca_file: Some(folder.path().join("ca.pem")), ..options() };
        let engine = Engine::connect(&url, options).await.unwrap();
        assert!(engine.durability().is_tracking);
        let task = create(&engine, "t").await;
        let mut tail = engine.tail(&task, 7, EntryId::MIN, 0);
        stored(&engine, &task, batch("s", 1, 2_000)).await;
        assert_eq!(read_until(&mut tail, 2_000).await.len(), 2_000);
        drop(server);
    }

    async fn user_with_the_rights_of_the_guide_can_do_everything(kind) {
        let server = Server::start(kind).await;
        server.run::<()>(&[&["ACL", "SETUSER", "tasktail", "on", ">secret"], RIGHTS].concat()).await;
        let url = format!("redis://tasktail:secret@127.0.0.1:{}", server.port).parse().unwrap();
        let options = EngineOptions { acks: Some(0), ..EngineOptions::new("a") };
        let engine = Engine::connect(&url, options).await.unwrap();
        assert!(engine.durability().warnings.is_empty(), "{:?}", engine.durability());
        let mut watch = engine.watch_index().await.unwrap();
        let task = create(&engine, "t").await;
        watch.next().await.unwrap();
        stored(&engine, &task, batch("s", 1, 10)).await;
        server.run::<String>(&["XADD", "task:logs:t", "*", "line", "foreign"]).await;
        read_all(&engine, &task, 11).await;
        engine.patch(&task, 7, &[]).await.unwrap();
        engine.attach(&task, 7, 1_000).await.unwrap();
        engine.end(&task, 7, &[], None).await.unwrap();
        engine.sealed(&task, 7, 11, &[], 1).await.unwrap();
        assert_eq!(engine.index().await.unwrap().len(), 1);
        engine.remove(&task, 7).await.unwrap();
        engine.lease(1, 1_000).await.unwrap();
        engine.register(1_000).await.unwrap();
        create(&engine, "u").await;
        server.run::<()>(&["ACL", "SETUSER", "tasktail", "-xadd"]).await;
        let error = engine.append(&id("u"), 7, batch("s", 1, 1)).await.unwrap_err();
        assert!(matches!(error, EngineError::Config(_)), "{error}");
    }
}
