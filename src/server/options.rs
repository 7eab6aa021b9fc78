//! The options of a server, and the errors of starting and stopping one.

use std::io;
use std::path::PathBuf;

use super::http::client_addr::TrustedProxies;
use super::http::cors::Origins;
use super::http::public_url::PublicUrl;
use crate::home::HomeOptions;
use crate::model::limits::{self, Limits};
use crate::notices::NoticeRules;
use crate::tasks::Durability;
use crate::transport::{CertificateFiles, TlsError};

/// Options for [`Server::start`](super::Server::start).
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Address and port to listen on; port 0 picks a free one.
    pub listen: String,
    /// The data folder, created if missing.
    pub data: PathBuf,
    /// The durability required before a line counts as stored.
    pub durability: Durability,
    /// The limits in force.
    pub limits: Limits,
    /// The certificate for both ports, or `None` to serve without TLS.
    pub tls: Option<CertificateFiles>,
    /// Permits serving non-loopback addresses without tokens or without TLS.
    pub insecure: bool,
    /// The address that people use, if it differs from the one listened on.
    pub public_url: Option<PublicUrl>,
    /// Reverse proxies whose forwarding headers are trusted.
    pub trusted_proxy: TrustedProxies,
    /// Address and port for Redis clients, or `None` for no Redis port.
    pub resp: Option<String>,
    /// The store of tasks that several servers share, or `None` for one in the data folder.
    pub home: Option<HomeOptions>,
    /// A folder of `RUN/events.jsonl` files to import into their runs. It may be created later.
    pub runs: Option<PathBuf>,
    /// Other origins whose pages may read.
    pub allowed_origins: Origins,
    /// Other origins whose pages may show `/embed/{id}` in a frame.
    pub frame_ancestors: Origins,
    /// The key that verifies another system's share JWTs: see [`crate::auth::jwt`].
    pub share_jwt_key_file: Option<PathBuf>,
    /// The audience required in these JWTs, or `None` if they must have no audience.
    pub share_jwt_audience: Option<String>,
    /// Rules that report events of tasks to other programs.
    pub notices: NoticeRules,
    /// Serves strings, hashes and lists on the Redis port, in memory. Only for a temporary server: they are lost
    /// at its end.
    pub redis_values: bool,
    /// Set for a server inside a command. Workers of its tasks start a server themselves if there is none, so
    /// tasks whose grace is over are lost at the start.
    pub embedded: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: limits::LISTEN_DEFAULT.to_owned(),
            data: PathBuf::from("tasktail"),
            durability: Durability::Commit,
            limits: Limits::default(),
            tls: None,
            insecure: false,
            public_url: None,
            trusted_proxy: TrustedProxies::default(),
            resp: None,
            home: None,
            runs: None,
            allowed_origins: Origins::default(),
            frame_ancestors: Origins::default(),
            share_jwt_key_file: None,
            share_jwt_audience: None,
            notices: NoticeRules::from([]),
            redis_values: false,
            embedded: false,
        }
    }
}

/// An error of starting or stopping a server, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process listens on the port.
    #[error("cannot listen on {listen}: the port is in use; choose another with {flag}, or stop the other process")]
    PortInUse {
        /// The requested address.
        listen: String,
        /// The flag that set the address.
        flag: &'static str,
    },
    /// The address is invalid, not local to this machine, or not permitted.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The requested address.
        listen: String,
        /// The system's error.
        source: io::Error,
    },
    /// Other machines could reach the server without tokens or without TLS.
    #[error("refusing to {what}: {remedy}; pass --insecure to override")]
    Unprotected {
        /// The refused action, and the protection it lacks.
        what: String,
        /// The remedy.
        remedy: String,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data folder is not writable.
    #[error("cannot write to the data folder {}: {source}", data.display())]
    DataFolder {
        /// The folder.
        data: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The thread of the Redis port does not start.
    #[error("cannot start the thread of the Redis port: {source}")]
    RedisThread {
        /// The system's error.
        source: io::Error,
    },
    /// The store that several servers share cannot be used.
    #[error("cannot use the shared store: {reason}")]
    Home {
        /// The fault, with the remedy.
        reason: String,
    },
    /// The file of the JWT key cannot be read, or holds no valid key.
    #[error("cannot use the JWT key {}: {source}", path.display())]
    JwtKey {
        /// The file.
        path: PathBuf,
        /// The fault, with the expected contents.
        source: io::Error,
    },
    /// Another process has the data folder open.
    #[error("the data folder {} is in use by another process: stop that one, or choose another folder with --data", data.display())]
    InUse {
        /// The folder.
        data: PathBuf,
    },
    /// The store in the data folder does not open.
    #[error("cannot open the data folder {}: {reason}", data.display())]
    Data {
        /// The folder.
        data: PathBuf,
        /// The store's error.
        reason: String,
    },
    /// Some connections did not end in time; the store was closed regardless.
    #[error("shutdown timed out after {}s; {connections} connections dropped", limits::SHUTDOWN_TIMEOUT.as_secs())]
    ShutdownTimeout {
        /// The number of connections still open.
        connections: usize,
    },
}
