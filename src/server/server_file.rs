//! What a running server leaves in its data folder, so that commands on this machine find it.
//!
//! - `server.json`: where it is, `{"url","pid","redis"?,"public_url"?}`.
//! - `server.pem`: the certificate it serves now, if it does: what proves it to them, whatever names
//!   it bears. Never a key.
//!
//! A reader sees all of a file or nothing.

use std::io;
use std::path::Path;

use crate::server::PublicUrl;
use crate::transport::Acceptor;

/// Where the server is.
const SERVER_FILE: &str = "server.json";
/// What proves it.
const CERTIFICATE_FILE: &str = "server.pem";

/// Says where the server is.
///
/// # Errors
/// The folder cannot be written.
pub(in crate::server) async fn server(
    data: &Path,
    url: &str,
    redis: Option<&str>,
    public_url: Option<&PublicUrl>,
) -> io::Result<()> {
    let mut json = serde_json::json!({ "url": url, "pid": std::process::id() });
    if let Some(url) = redis {
        json["redis"] = url.into();
    }
    if let Some(url) = public_url {
        json["public_url"] = url.to_string().into();
    }
    put(data, SERVER_FILE, format!("{json}\n").as_bytes()).await
}

/// Leaves the certificate that is served now.
///
/// # Errors
/// The folder cannot be written.
pub(in crate::server) async fn certificate(data: &Path, tls: &Acceptor) -> io::Result<()> {
    put(data, CERTIFICATE_FILE, &tls.chain()).await
}

/// Takes both away.
pub(in crate::server) async fn withdraw(data: &Path) {
    for name in [SERVER_FILE, CERTIFICATE_FILE] {
        match tokio::fs::remove_file(data.join(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "{name} could not be removed");
            }
            _ => {}
        }
    }
}

async fn put(data: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let part = data.join(format!("{name}.part"));
    tokio::fs::write(&part, text).await?;
    tokio::fs::rename(&part, data.join(name)).await
}
