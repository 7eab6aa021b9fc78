//! Secrets that all servers share: digests of tokens, sessions, the key of share links.

use tokio::time::timeout;

use super::engine::Engine;
use super::error::EngineError;
use super::limits::{POLL_INTERVAL, REREAD_INTERVAL};
use super::node::LinkUse;
use super::script;
use super::signals::Registration;
use super::value::{into_bytes, into_number, into_values};

/// A secret as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// Its contents.
    pub value: Vec<u8>,
    /// Its version; a later one is greater.
    pub version: u64,
}

impl std::fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredSecret(version {})", self.version)
    }
}

/// A watch over one secret.
#[derive(Debug)]
pub struct SecretWatch {
    engine: Engine,
    key: String,
    registration: Registration,
    /// Version that was returned last; `None` before the first.
    returned: Option<u64>,
}

fn key_of(name: &str) -> String {
    format!("tt:auth:{name}")
}

impl Engine {
    /// Returns a secret, if it exists.
    pub async fn secret(&self, name: &str) -> Result<Option<StoredSecret>, EngineError> {
        self.read_secret(&key_of(name), LinkUse::Scripts).await
    }

    /// Replaces or deletes (`None`) a secret that has a version, 0 if it does not exist. Returns the new version, or
    /// `None` if the secret has another version: read it again. After an error, the change may have been made.
    pub async fn set_secret(
        &self,
        name: &str,
        version: u64,
        value: Option<&[u8]>,
        ttl_ms: Option<u64>,
    ) -> Result<Option<u64>, EngineError> {
        let args = |_: &str| {
            let action = if value.is_some() { "set" } else { "delete" };
            let [version, action, ttl] = [version.to_string(), action.to_owned(), ttl_ms.unwrap_or(0).to_string()];
            vec![version.into_bytes(), action.into(), value.unwrap_or_default().to_vec(), ttl.into_bytes()]
        };
        let mut reply = self.router().script(&script::SECRET, &[key_of(name)], args).await?;
        match reply.word.as_str() {
            "OK" => reply.number().map(Some),
            "CHANGED" => Ok(None),
            _ => Err(reply.unexpected()),
        }
    }

    /// Watches a secret.
    pub fn watch_secret(&self, name: &str) -> SecretWatch {
        let key = key_of(name);
        let registration = self.router().signals.register(&[&key]);
        registration.signal.set();
        SecretWatch { engine: self.clone(), key, registration, returned: None }
    }

    async fn read_secret(&self, key: &str, purpose: LinkUse) -> Result<Option<StoredSecret>, EngineError> {
        let mut command = redis::cmd("HMGET");
        command.arg(key).arg("v").arg("d");
        let mut parts = into_values(self.router().command(key, purpose, command).await?)?.into_iter();
        let version = parts.next().and_then(into_number);
        Ok(version.zip(parts.next().and_then(into_bytes)).map(|(version, value)| StoredSecret { value, version }))
    }
}

impl SecretWatch {
    /// Waits for another version and returns it; the first call returns the present one. `None` if the secret does not
    /// exist. Can be dropped and called again without losing a change.
    pub async fn next(&mut self) -> Result<Option<StoredSecret>, EngineError> {
        loop {
            let pause = if self.engine.durability().is_tracking { REREAD_INTERVAL } else { POLL_INTERVAL };
            drop(timeout(pause, self.registration.signal.wait()).await);
            // Cleared first: a change during the read is seen as one after it.
            let unread = self.registration.unread();
            let secret = self.engine.read_secret(&self.key, LinkUse::Reads).await?;
            unread.done();
            let version = secret.as_ref().map_or(0, |secret| secret.version);
            if self.returned != Some(version) {
                self.returned = Some(version);
                return Ok(secret);
            }
        }
    }
}
