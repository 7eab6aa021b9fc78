//! What a lane knows of the sessions that write to its task.

use std::collections::HashMap;

use super::batch::{SharedBatch, StoreReply};
use super::calls::EndCall;
use super::limits::LANE_SESSIONS_MAX;
use super::state::OWN_SESSION;

/// The sessions of a lane, by name. A server's own is not among them.
#[derive(Debug, Default)]
pub(super) struct LaneSessions(HashMap<String, LaneSession>);

#[derive(Debug, Default)]
struct LaneSession {
    /// Last number that was confirmed.
    acked: u64,
    failed: Option<FailedBatch>,
}

/// The first batch of a session that failed. Later ones are refused until it is sent again: stored without it, its
/// lines would be marked as lost.
#[derive(Clone, Copy, Debug)]
struct FailedBatch {
    /// Number of the request.
    request: u64,
    /// Number of its first line.
    first_seq: u64,
}

impl LaneSessions {
    /// Returns the last confirmed number of a session, or 0.
    pub(super) fn acked(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |session| session.acked)
    }

    /// Returns the last stored number of the session, if known, for a batch that follows a failed one. Requests must be
    /// asked about in their order.
    pub(super) fn refusal(&mut self, batch: &SharedBatch, request: u64) -> Option<Option<u64>> {
        let (name, first) = batch.session.as_ref()?;
        let session = self.0.get_mut(name)?;
        let failed = session.failed.filter(|failed| failed.request < request)?;
        if batch.resumes || *first <= failed.first_seq {
            session.failed = None;
            return None;
        }
        Some(session.stored())
    }

    /// Returns the last stored number of the session that an end names, if known, in case a batch of it failed.
    pub(super) fn end_refusal(&self, end: &EndCall) -> Option<Option<u64>> {
        let session = self.0.get(&end.session.as_ref()?.0)?;
        session.failed.map(|_| session.stored())
    }

    /// Raises the confirmed number of a session.
    pub(super) fn confirm(&mut self, name: &str, acked: u64) {
        if self.0.len() >= LANE_SESSIONS_MAX && !self.0.contains_key(name) {
            // Forgetting only means that a loss in a failover is marked instead of sent again.
            self.0.retain(|_, session| session.failed.is_some());
        }
        let session = self.0.entry(name.to_owned()).or_default();
        session.acked = session.acked.max(acked);
    }

    /// Makes later batches of a session wait until a refused one is sent again.
    pub(super) fn refused(&mut self, batch: &SharedBatch, reply: &StoreReply, request: u64) {
        match reply {
            StoreReply::Full { .. } => self.failed(batch, request),
            StoreReply::Behind { acked_seq } => {
                let Some(session) = self.numbered(batch) else { return };
                session.acked = acked_seq.unwrap_or(0);
                session.failed = Some(FailedBatch { request, first_seq: session.acked + 1 });
            }
            _ => {}
        }
    }

    /// Makes later batches of a session wait until a failed one is sent again.
    pub(super) fn failed(&mut self, batch: &SharedBatch, request: u64) {
        let first_seq = batch.session.as_ref().map_or(0, |(_, first)| *first);
        if let Some(session) = self.numbered(batch) {
            session.failed.get_or_insert(FailedBatch { request, first_seq });
        }
    }

    /// Returns the session of a batch, unless it is the server's own.
    fn numbered(&mut self, batch: &SharedBatch) -> Option<&mut LaneSession> {
        let (name, _) = batch.session.as_ref().filter(|(name, _)| !name.starts_with(OWN_SESSION))?;
        Some(self.0.entry(name.clone()).or_default())
    }
}

impl LaneSession {
    /// Returns the last stored number, unless it is not known.
    fn stored(&self) -> Option<u64> {
        let failed_first = self.failed.map_or(u64::MAX, |failed| failed.first_seq);
        Some(self.acked).filter(|acked| *acked < failed_first)
    }
}
