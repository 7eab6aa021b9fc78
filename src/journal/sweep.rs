//! What is looked at now and then: keys whose time is over, blocks that are small.

use tokio::sync::oneshot;

use super::{Journal, JournalError, KeyReader as _};

impl Journal {
    /// Removes every key whose time has run out; answers how many. Readers miss them at once; this
    /// frees what they take.
    pub async fn expire_due(&self) -> Result<u64, JournalError> {
        let now = self.inner.options.clock.now();
        let mut due = Vec::new();
        for row in self.inner.store.streams() {
            let (name, record) = row?;
            // A kept stream is looked after by whoever keeps its lines.
            let over = record.expires_ms.is_some_and(|at| at <= now.as_millis());
            if over && !self.inner.streams.is_kept(&name) {
                due.push(name);
            }
        }
        if due.is_empty() {
            return Ok(0);
        }
        let room = self.reserve(due.iter().map(|name| name.len()).sum()).await?;
        let (reply, answer) = oneshot::channel();
        self.submit(room, move |keys| {
            // Looked at where it cannot be taken back in between: a look removes what is over.
            let gone = due.iter().filter(|name| matches!(keys.metadata(name), Ok(None))).count() as u64;
            Box::new(move |failed| {
                reply.send(failed.map_or(Ok(gone), |error| Err(error.clone()))).ok();
            })
        });
        self.in_time(answer).await
    }

    /// Packs small neighbouring blocks of all streams in use that nobody keeps elsewhere; answers how
    /// many blocks went.
    pub async fn compact_all(&self) -> Result<u64, JournalError> {
        let mut gone = 0;
        for stream in self.inner.streams.in_use() {
            if !stream.kept && stream.tip().exists {
                gone += self.compact(&stream).await?;
            }
        }
        Ok(gone)
    }
}
