//! Periodic maintenance: deleting expired keys, compacting small blocks, freeing space.

use tokio::sync::oneshot;

use super::{Database, Journal, JournalError, KeyReader as _};

impl Journal {
    /// Deletes every expired key. Returns their number. Readers do not see expired keys anyway; this
    /// frees their space.
    pub async fn expire_due(&self) -> Result<u64, JournalError> {
        let now = self.inner.options.clock.now();
        let mut due = Vec::new();
        for row in self.inner.store.streams() {
            let (name, record) = row?;
            // The owner of an archived stream deletes it.
            let expired = record.expires_ms.is_some_and(|at| at <= now.as_millis());
            if expired && !self.inner.streams.is_archived(&name) {
                due.push(name);
            }
        }
        if due.is_empty() {
            return Ok(0);
        }
        let permit = self.reserve(due.iter().map(|name| name.len()).sum()).await?;
        let (reply, receiver) = oneshot::channel();
        self.submit(permit, move |keys| {
            // Checked again in the transaction, where no other command can change the expiration time.
            // Reading an expired key deletes it.
            let mut is_deleted = |name: &[u8]| {
                let (database, key) = Database::of_stored(name);
                keys.select(database);
                matches!(keys.metadata(key), Ok(None))
            };
            let deleted = due.iter().filter(|name| is_deleted(name)).count() as u64;
            Box::new(move |failed| {
                reply.send(failed.map_or(Ok(deleted), |error| Err(error.clone()))).ok();
            })
        });
        self.with_timeout(receiver).await
    }

    /// Frees the space of removed blocks: if much was removed, or all of it.
    pub async fn reclaim(&self, all: bool) -> Result<(), JournalError> {
        let store = self.inner.store.clone();
        let done = tokio::task::spawn_blocking(move || if all { store.reclaim(true) } else { store.reclaim_if_due() });
        Ok(done.await.map_err(|_| JournalError::Closed)??)
    }

    /// Compacts all loaded streams that are not archived. Returns the number of removed blocks.
    pub async fn compact_all(&self) -> Result<u64, JournalError> {
        let mut removed = 0;
        for stream in self.inner.streams.loaded() {
            if !stream.archived && stream.tip().exists {
                removed += self.compact(&stream).await?;
            }
        }
        Ok(removed)
    }
}
