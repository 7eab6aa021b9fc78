//! Settings and limits of a store.

use std::path::PathBuf;
use std::time::Duration;

use super::AwsEnvironment;

/// Settings of a store. Those of S3 have no effect on a folder.
#[derive(Clone, Debug, Default)]
pub struct ObjectOptions {
    /// Address of the service, such as `http://127.0.0.1:9000`; without it `AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL`, and then AWS.
    pub endpoint: Option<String>,
    /// Region of the bucket; without it `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, and then `us-east-1`.
    pub region: Option<String>,
    /// Further certificates to trust, as in [`crate::transport::connect_tls`].
    pub ca_file: Option<PathBuf>,
    /// Where credentials are found.
    pub environment: AwsEnvironment,
    /// Limits.
    pub limits: ObjectLimits,
}

/// Limits of a store.
#[derive(Clone, Debug)]
pub struct ObjectLimits {
    /// Maximum number of attempts of a request.
    pub attempts_max: u32,
    /// Pause before the second attempt; it doubles with each further one, with jitter.
    pub retry_delay: Duration,
    /// Maximum pause between two attempts.
    pub retry_delay_max: Duration,
    /// Maximum time to open a connection, with its TLS handshake.
    pub connect_timeout: Duration,
    /// Maximum time from the start of a request to the start of its response, and between two pieces of the response.
    pub response_timeout: Duration,
    /// Maximum time of an attempt, from the request to the end of the response.
    pub attempt_timeout: Duration,
    /// Size of the parts in which a file is sent and received, in bytes. S3 accepts no part under 5 MiB but
    /// the last.
    pub part_bytes: u64,
    /// Maximum number of parts of one file under way at once.
    pub parts_at_once_max: usize,
    /// Maximum number of requests of the store under way at once; more wait.
    pub requests_at_once_max: usize,
    /// Maximum size of an object that is read into memory, in bytes.
    pub get_bytes_max: u64,
}

impl Default for ObjectLimits {
    fn default() -> Self {
        Self {
            attempts_max: 6,
            retry_delay: Duration::from_millis(100),
            retry_delay_max: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(60),
            part_bytes: 8 * 1024 * 1024,
            parts_at_once_max: 3,
            requests_at_once_max: 32,
            get_bytes_max: 64 * 1024 * 1024,
        }
    }
}
