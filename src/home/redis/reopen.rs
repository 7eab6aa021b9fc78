//! Continuing a task in the epoch of the present primary.

use super::error::EngineError;
use super::keys::LogKeys;
use super::node::LinkUse;
use super::router::{Answered, Router};
use super::script;
use super::state::{SharedTask, hex};

impl Router {
    /// Continues a task whose epoch is `found` in that of the primary. Any server may; the first one wins.
    pub(super) async fn reopen(&self, keys: &LogKeys, birth: u64, found: &str) -> Result<(), EngineError> {
        let mut attempts = self.attempts();
        loop {
            let reason = match self.link(&keys.stream, LinkUse::Scripts).await {
                Ok((node, link)) => match node.epoch(&link).await {
                    Ok(epoch) if *epoch == *link.epoch => break,
                    // A connection can outlive the epoch in which it was made: a primary was demoted and promoted
                    // again.
                    _ => {
                        link.discard();
                        "the connection is of an earlier epoch".to_owned()
                    }
                },
                Err(error) => self.retry_reason(error)?,
            };
            attempts.next(reason).await?;
        }
        let args = |epoch: &str| vec![hex(birth).into_bytes(), found.as_bytes().to_vec(), epoch.as_bytes().to_vec()];
        self.script(&script::REOPEN, &keys.stream_first(), args).await.map(drop)
    }

    /// Returns the epoch of a task, as the scripts compare it, if it is not that of the primary that answered.
    pub(super) async fn other_epoch(&self, answered: &Answered, task: &SharedTask) -> Option<String> {
        let Answered { node, link, .. } = answered;
        let epoch = hex(task.epoch);
        if *epoch == *link.epoch {
            return None;
        }
        if node.epoch(link).await.is_ok_and(|present| *present == *link.epoch) {
            return Some(epoch);
        }
        link.discard();
        None
    }

    /// Numbers the entries that other clients added to a task.
    pub(super) async fn account(&self, keys: &LogKeys, birth: u64) -> Result<(), EngineError> {
        loop {
            let reply = self.script(&script::ACCOUNT, &keys.stream_first(), |_| vec![hex(birth).into_bytes()]).await?;
            if reply.word != "MORE" {
                return Ok(());
            }
        }
    }
}
