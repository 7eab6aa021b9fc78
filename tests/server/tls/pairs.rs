//! Files that are no good, and what is said of them.

use tasktail::server::Server;
use tasktail::transport::{Acceptor, CertificateFiles};

use crate::common::options;
use crate::tls::certs::{Authority, Folder, self_signed};

const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let (one, other) = (self_signed(&["a"], false), self_signed(&["a"], false));
    let cut = &one.cert[..one.cert.len() / 2];
    let garbled = one.cert.replace("MII", "***");
    let no_certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    for (cert, key, file, why) in [
        (one.cert.as_str(), other.key.as_str(), "key.pem", "does not match the certificate"),
        (one.key.as_str(), one.key.as_str(), "cert.pem", "contains no certificate"),
        ("", one.key.as_str(), "cert.pem", "contains no certificate"),
        (one.cert.as_str(), one.cert.as_str(), "key.pem", "contains no private key"),
        (one.cert.as_str(), ENCRYPTED, "key.pem", "encrypted"),
        (cut, one.key.as_str(), "cert.pem", "not PEM: a block has no end"),
        (garbled.as_str(), one.key.as_str(), "cert.pem", "not PEM: a block is not valid base64"),
        (no_certificate, one.key.as_str(), "cert.pem", "cannot use the certificate"),
    ] {
        let folder = Folder::new(&one, "");
        folder.put("cert.pem", cert);
        folder.put("key.pem", key);
        let error = Acceptor::load(folder.files()).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(why) && !error.contains('\n'), "{why}: {error}");
    }
    let folder = Folder::new(&one, "");
    let files = CertificateFiles { key: folder.path("none.pem"), ..folder.files() };
    let error = Acceptor::load(files).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("none.pem"), "{error}");
}

#[tokio::test]
async fn a_server_does_not_start_with_a_pair_that_does_not_fit() {
    let (one, other) = (self_signed(&["a"], false), self_signed(&["a"], false));
    let certs = Folder::new(&one, "");
    certs.put("key.pem", &other.key);
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(&folder);
    options.tls = Some(certs.files());
    let error = Server::start(options).await.expect_err("it should not start").to_string();
    assert!(error.contains("does not match"), "{error}");
}

#[test]
fn expired_certificates_and_readable_keys_are_reported() {
    use std::os::unix::fs::PermissionsExt as _;
    let authority = Authority::new();
    let folder = Folder::new(&authority.sign_expired(&["a"]), "");
    let mode = |mode| std::fs::set_permissions(folder.path("key.pem"), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    let acceptor = Acceptor::load(folder.files()).unwrap();
    assert!(acceptor.is_expired() && !acceptor.key_is_world_readable());
    mode(0o644);
    assert!(acceptor.key_is_world_readable());
    let folder = Folder::new(&authority.sign(&["a"]), "");
    assert!(!Acceptor::load(folder.files()).unwrap().is_expired());
}

#[test]
fn the_published_chain_has_no_key() {
    let pair = self_signed(&["a"], false);
    let folder = Folder::new(&pair, "");
    folder.put("cert.pem", &format!("{}# words\n{}{}", pair.key, pair.cert, Authority::new().pem));
    let acceptor = Acceptor::load(folder.files()).unwrap();
    let left = String::from_utf8(acceptor.chain().to_vec()).unwrap();
    assert_eq!((left.matches("BEGIN CERTIFICATE").count(), left.contains("KEY")), (2, false), "{left}");
    assert!(!format!("{acceptor:?}").contains("PRIVATE"));
}
