//! Files in the data folder that let commands on the same machine find the running server.
//!
//! - `server.json`: the server's addresses, `{"url","pid","redis"?,"public_url"?}`.
//! - `server.pem`: the certificate served now, if TLS is on. It identifies the server to local commands
//!   whatever names it contains. Never a key.
//!
//! Files are replaced atomically.

use std::io;
use std::path::Path;

use super::http::public_url::PublicUrl;
use crate::transport::Acceptor;

/// Name of the file with the addresses.
const SERVER_FILE: &str = "server.json";
/// Name of the file with the certificate.
const CERTIFICATE_FILE: &str = "server.pem";

/// Writes the server's addresses.
///
/// # Errors
/// The folder is not writable.
pub(crate) async fn write_addresses(
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
    replace(data, SERVER_FILE, format!("{json}\n").as_bytes()).await
}

/// Writes the certificate that is served now.
///
/// # Errors
/// The folder is not writable.
pub(crate) async fn write_certificate(data: &Path, tls: &Acceptor) -> io::Result<()> {
    replace(data, CERTIFICATE_FILE, &tls.chain()).await
}

/// Removes both files. A failure is logged.
pub(crate) async fn remove_all(data: &Path) {
    for name in [SERVER_FILE, CERTIFICATE_FILE] {
        match tokio::fs::remove_file(data.join(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "failed to remove {name}");
            }
            _ => {}
        }
    }
}

async fn replace(data: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let part = data.join(format!("{name}.part"));
    tokio::fs::write(&part, text).await?;
    tokio::fs::rename(&part, data.join(name)).await
}
