//! Certificates made for a test, by rcgen: dates, names and issuers as the test wants them, in the
//! test's own process.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tasktail::transport::CertificateFiles;

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tasktail test authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// For these names and addresses.
    pub(crate) fn sign(&self, names: &[&str]) -> Pair {
        self.sign_with(names, |_| {})
    }

    pub(crate) fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = params(names);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }

    pub(crate) fn sign_expired(&self, names: &[&str]) -> Pair {
        self.sign_with(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 2, 3);
        })
    }
}

/// Signed by itself; `as_authority` as `openssl req -x509` makes it unless told otherwise.
pub(crate) fn self_signed(names: &[&str], as_authority: bool) -> Pair {
    let mut params = params(names);
    if as_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// A folder with `cert.pem`, `key.pem` and `ca.pem`.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(pair: &Pair, ca: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.put("cert.pem", &pair.cert);
        folder.put("key.pem", &pair.key);
        folder.put("ca.pem", ca);
        folder
    }

    /// An authority, and a certificate of it for this machine.
    pub(crate) fn usual() -> Self {
        let authority = Authority::new();
        Self::new(&authority.sign(&["localhost", "127.0.0.1"]), &authority.pem)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As certificate managers do it: written beside, then renamed.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let part = self.path(".part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, self.path(name)).unwrap();
    }

    pub(crate) fn files(&self) -> CertificateFiles {
        files(self.0.path())
    }

    /// As arguments, `--tls-cert`, `--tls-key`.
    pub(crate) fn args(&self) -> [String; 4] {
        let text = |name: &str| self.path(name).to_str().unwrap().to_owned();
        ["--tls-cert".to_owned(), text("cert.pem"), "--tls-key".to_owned(), text("key.pem")]
    }
}

fn files(folder: &Path) -> CertificateFiles {
    CertificateFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") }
}
