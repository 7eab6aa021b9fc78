//! Establishing a connection to one Redis server.

use std::sync::Arc;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use redis::{RedisConnectionInfo, RedisError, Value};
use tokio::time::timeout;

use super::limits::CONNECT_TIMEOUT;
use super::url::NodeAddress;

/// How to log in to the servers.
#[derive(Clone, Debug)]
pub(super) struct NodeSettings {
    pub(super) tls: bool,
    pub(super) login: Option<NodeLogin>,
    pub(super) database: i64,
    /// Certificates of the authority, PEM.
    pub(super) ca_pem: Option<Vec<u8>>,
}

/// A user and its password, which is never printed.
#[derive(Clone)]
pub(super) struct NodeLogin {
    pub(super) username: Option<String>,
    pub(super) password: String,
}

impl std::fmt::Debug for NodeLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeLogin({:?})", self.username)
    }
}

/// Connects to a server. `pushes` receives what it sends unasked, which needs RESP3.
pub(super) async fn connect(
    address: &NodeAddress,
    settings: &NodeSettings,
    pushes: Option<Arc<dyn AsyncPushSender>>,
) -> Result<MultiplexedConnection, RedisError> {
    let NodeAddress { host, port } = address.clone();
    let addr = match settings.tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    };
    let protocol = if pushes.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
    let mut login = RedisConnectionInfo::default().set_db(settings.database).set_protocol(protocol);
    login = login.set_lib_name("tasktail", env!("CARGO_PKG_VERSION"));
    if let Some(NodeLogin { username, password }) = &settings.login {
        login = login.set_password(password);
        if let Some(username) = username {
            login = login.set_username(username);
        }
    }
    let info = addr.into_connection_info()?.set_redis_settings(login);
    let client = client_of(info, settings)?;
    let mut config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    if let Some(pushes) = pushes {
        config = config.set_push_sender(pushes);
    }
    client.get_multiplexed_async_connection_with_config(&config).await
}

#[cfg(feature = "tls")]
fn client_of(info: ConnectionInfo, settings: &NodeSettings) -> Result<Client, RedisError> {
    match &settings.ca_pem {
        Some(pem) => {
            let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
            Client::build_with_tls(info, certificates)
        }
        None => Client::open(info),
    }
}

#[cfg(not(feature = "tls"))]
fn client_of(info: ConnectionInfo, settings: &NodeSettings) -> Result<Client, RedisError> {
    if settings.tls || settings.ca_pem.is_some() {
        let text = "this program is built without TLS: use redis://, or a build with the feature tls";
        return Err((redis::ErrorKind::InvalidClientConfig, text).into());
    }
    Client::open(info)
}

/// Sends one command on a connection of its own.
pub(super) async fn ask(address: &NodeAddress, settings: &NodeSettings, command: &Cmd) -> Result<Value, RedisError> {
    let answer = async {
        let mut connection = connect(address, settings, None).await?;
        connection.send_packed_command(command).await?.extract_error()
    };
    let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
    timeout(CONNECT_TIMEOUT, Box::pin(answer)).await.unwrap_or_else(late)
}
