//! Leases of buckets, and the servers that are live; both by Redis' clock.

use super::engine::Engine;
use super::error::EngineError;
use super::keys::{SERVERS_KEY, bucket_key};
use super::script::{self, LuaScript};
use super::value::{ScriptReply, into_text, into_values};

/// The number of a lease: greater than that of every earlier holder of the bucket.
pub type Fence = u64;

impl Engine {
    /// Takes or renews the lease of a bucket. Returns `None` if another server holds it.
    pub async fn lease(&self, bucket: u8, ttl_ms: u64) -> Result<Option<Fence>, EngineError> {
        let mut reply = self.call_lease(bucket, ttl_ms).await?;
        match reply.word.as_str() {
            "OK" => reply.number().map(Some),
            "TAKEN" => Ok(None),
            _ => Err(reply.unexpected()),
        }
    }

    /// Gives up the lease of a bucket, if this server holds it.
    pub async fn release(&self, bucket: u8) -> Result<(), EngineError> {
        self.call_lease(bucket, 0).await.map(drop)
    }

    async fn call_lease(&self, bucket: u8, ttl_ms: u64) -> Result<ScriptReply, EngineError> {
        let args = |_: &str| [self.server().to_owned(), ttl_ms.to_string()].map(String::into_bytes).into();
        self.router().script(&script::LEASE, &[bucket_key(bucket, "lease")], args).await
    }

    /// Registers this server as live for `ttl_ms`. Returns all live servers.
    pub async fn register(&self, ttl_ms: u64) -> Result<Vec<String>, EngineError> {
        self.present(&script::PRESENT, ttl_ms).await
    }

    /// Returns the live servers.
    pub async fn live_servers(&self) -> Result<Vec<String>, EngineError> {
        self.present(&script::PRESENT, 0).await
    }

    async fn present(&self, script: &LuaScript, ttl_ms: u64) -> Result<Vec<String>, EngineError> {
        let args = |_: &str| [self.server().to_owned(), ttl_ms.to_string()].map(String::into_bytes).into();
        let answer = self.router().script_value(script, &[SERVERS_KEY.to_owned()], args).await?;
        Ok(into_values(answer)?.into_iter().filter_map(into_text).collect())
    }
}
