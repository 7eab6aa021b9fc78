//! Secrets that all servers share: tokens, sessions of browsers, the key of share links. They are values under `tt:auth:`.

use tokio::time::timeout;

use super::engine::Engine;
use super::error::EngineError;
use super::limits::{POLL_INTERVAL, REREAD_INTERVAL};
use super::node::LinkUse;
use super::script;
use super::signals::Registration;
use super::value::into_bytes;

/// A watch over secrets.
#[derive(Debug)]
pub struct SecretWatch {
    engine: Engine,
    keys: Vec<String>,
    registration: Registration,
}

fn secret_key(name: &str) -> String {
    format!("tt:auth:{name}")
}

impl Engine {
    /// Returns a secret; `None` if it was never set.
    pub async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, EngineError> {
        let key = secret_key(name);
        let mut command = redis::cmd("GET");
        command.arg(&key);
        Ok(into_bytes(self.router().command(&key, LinkUse::Scripts, command).await?))
    }

    /// Replaces a secret. Returns false if it is not `expected` any more.
    pub async fn set_secret(&self, name: &str, expected: Option<&[u8]>, new: &[u8]) -> Result<bool, EngineError> {
        let args = |_: &str| vec![expected.unwrap_or_default().to_vec(), new.to_vec()];
        let reply = self.router().script(&script::SECRET, &[secret_key(name)], args).await?;
        match reply.word.as_str() {
            "OK" => Ok(true),
            "STALE" => Ok(false),
            _ => Err(reply.unexpected()),
        }
    }

    /// Watches secrets from now on.
    pub fn watch_secrets(&self, names: &[&str]) -> SecretWatch {
        let keys: Vec<String> = names.iter().map(|name| secret_key(name)).collect();
        let registration = self.router().signals.register(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        registration.signal.set();
        SecretWatch { engine: self.clone(), keys, registration }
    }
}

impl SecretWatch {
    /// Waits until a secret may have changed: after a report, and at the latest after the interval at which everything
    /// is read again. The first call returns at once.
    pub async fn changed(&mut self) {
        let pause = if self.engine.durability().is_tracking { REREAD_INTERVAL } else { POLL_INTERVAL };
        drop(timeout(pause, self.registration.signal.wait()).await);
        self.registration.signal.take();
        // Reading a key on the connection that tracks asks for the report of its next change.
        for key in &self.keys {
            let mut command = redis::cmd("EXISTS");
            command.arg(key);
            if let Err(error) = self.engine.router().command(key, LinkUse::Reads, command).await {
                tracing::debug!(%error, "failed to watch the shared secrets; will retry");
            }
        }
    }
}
