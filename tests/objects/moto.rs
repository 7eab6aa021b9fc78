//! A moto server for a test: an S3 implementation on a free port of loopback.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tasktail::home::objects::{AwsEnvironment, ObjectLimits, ObjectOptions, ObjectStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Maximum time until moto listens, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A running server with one bucket, `logs`.
pub(crate) struct Moto {
    pub(crate) endpoint: String,
    _process: Child,
}

impl Moto {
    pub(crate) async fn start() -> Self {
        let moto = Self::start_with(&[]).await;
        let created = crate::proxy::request("PUT", &format!("{}/logs", moto.endpoint)).await;
        assert_eq!(created, 200, "the bucket is created");
        moto
    }

    /// Starts a server with further arguments, without a bucket.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let started = Instant::now();
        loop {
            if let Some(moto) = Self::start_once(arguments).await {
                return moto;
            }
            assert!(started.elapsed() < START_TIMEOUT, "moto does not listen");
        }
    }

    /// Returns `None` if another program got the port: moto cannot report the one that it gets for 0.
    async fn start_once(arguments: &[&str]) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("moto_server");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if process.try_wait().unwrap().is_some() || started.elapsed() > START_TIMEOUT {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self { endpoint: format!("http://127.0.0.1:{port}"), _process: process })
    }

    /// Opens the store through an endpoint, with limits for tests.
    pub(crate) fn store_at(endpoint: &str) -> ObjectStore {
        ObjectStore::open("s3://logs/some/prefix", options(endpoint)).unwrap()
    }

    pub(crate) fn store(&self) -> ObjectStore {
        Self::store_at(&self.endpoint)
    }

    /// Returns the number of uploads that were neither completed nor aborted.
    pub(crate) async fn open_uploads(&self) -> usize {
        let list = crate::proxy::get(&format!("{}/logs?uploads", self.endpoint)).await;
        list.matches("<UploadId>").count()
    }
}

pub(crate) fn options(endpoint: &str) -> ObjectOptions {
    let limits =
        ObjectLimits { retry_delay: Duration::from_millis(5), part_bytes: 5 * 1024 * 1024, ..ObjectLimits::default() };
    ObjectOptions {
        endpoint: Some(endpoint.to_owned()),
        environment: environment(&[("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "secret")]),
        limits,
        ..ObjectOptions::default()
    }
}

pub(crate) fn environment(pairs: &[(&str, &str)]) -> AwsEnvironment {
    AwsEnvironment::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// Returns moto's program, which `scripts/test` installs.
fn program() -> PathBuf {
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/moto/venv/bin/moto_server");
    assert!(installed.exists(), "{} is missing: scripts/test installs it", installed.display());
    installed
}

/// A store in a temporary folder.
pub(crate) fn folder_store() -> (TempDir, ObjectStore) {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("file://{}/store", folder.path().display());
    let store = ObjectStore::open(&address, ObjectOptions::default()).unwrap();
    (folder, store)
}
