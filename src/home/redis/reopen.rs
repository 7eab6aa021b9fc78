//! Continuing a task in the epoch of the present primary.

use super::error::EngineError;
use super::keys::TaskKeys;
use super::node::LinkUse;
use super::router::Router;
use super::script;
use super::state::hex;

impl Router {
    /// Continues a task whose epoch is `found` in that of the primary. Any server may; the first one wins.
    pub(super) async fn reopen(&self, keys: &TaskKeys, birth: u64, found: &str) -> Result<(), EngineError> {
        if let Ok((node, link)) = self.link(&keys.stream, LinkUse::Scripts).await {
            // A connection can outlive the epoch in which it was made: a primary was demoted and promoted again.
            let is_stale = node.epoch(&link).await.map_or(true, |epoch| *epoch != *link.epoch);
            if is_stale {
                link.discard();
                return Ok(());
            }
        }
        let args = |epoch: &str| vec![hex(birth).into_bytes(), found.as_bytes().to_vec(), epoch.as_bytes().to_vec()];
        self.script(&script::REOPEN, &keys.stream_first(), args).await.map(drop)
    }

    /// Numbers the entries that other clients added to a task.
    pub(super) async fn account(&self, keys: &TaskKeys, birth: u64) -> Result<(), EngineError> {
        loop {
            let reply = self.script(&script::ACCOUNT, &keys.stream_first(), |_| vec![hex(birth).into_bytes()]).await?;
            if reply.word != "MORE" {
                return Ok(());
            }
        }
    }
}
