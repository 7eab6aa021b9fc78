//! The leases of this server: each is for one bucket of tasks. Servers share the buckets evenly.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::home::redis::{Fence, bucket_of, limits::BUCKETS};
use crate::home::{Engine, EngineError};
use crate::model::TaskId;

/// Renewals in the time for which a lease is valid.
const RENEWALS: u32 = 3;

/// The leased buckets.
pub(super) struct Leases {
    engine: Engine,
    /// Time for which a lease is valid.
    ttl: Duration,
    held: HashMap<u8, Fence>,
    renewed: Option<Instant>,
}

impl Leases {
    pub(super) fn new(engine: Engine, ttl: Duration) -> Self {
        Self { engine, ttl, held: HashMap::new(), renewed: None }
    }

    /// Returns the fence of a task whose bucket is leased.
    pub(super) fn fence_of(&self, id: &TaskId) -> Option<Fence> {
        self.held.get(&bucket_of(id)).copied()
    }

    /// Reports whether a bucket is leased.
    pub(super) fn holds(&self, bucket: u8) -> bool {
        self.held.contains_key(&bucket)
    }

    /// Renews the leases if it is time, takes free ones up to the share of this server, and releases those beyond it.
    ///
    /// # Errors
    /// Redis is not available. The leases that were not renewed are dropped.
    pub(super) async fn renew(&mut self) -> Result<(), EngineError> {
        if self.renewed.is_some_and(|at| at.elapsed() < self.ttl / RENEWALS) {
            return Ok(());
        }
        let before = std::mem::take(&mut self.held);
        self.renewed = None;
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let servers = self.engine.register(ttl).await?.len().max(1);
        let share = usize::from(BUCKETS).div_ceil(servers);
        let own = before.keys().copied();
        // Those held before first, then the others from a place of their own, so that servers rarely meet.
        let start = self.engine.server().bytes().fold(0, u8::wrapping_add) % BUCKETS;
        let others = (start..BUCKETS).chain(0..start);
        for bucket in own.chain(others.filter(|bucket| !before.contains_key(bucket))) {
            if self.held.len() < share {
                if let Some(fence) = self.engine.lease(bucket, ttl).await? {
                    self.held.insert(bucket, fence);
                }
            } else if before.contains_key(&bucket) {
                self.engine.release(bucket).await?;
            }
        }
        self.renewed = Some(Instant::now());
        Ok(())
    }

    /// Releases all leases, so that another server need not wait for their end.
    pub(super) async fn release(self) {
        for bucket in self.held.into_keys() {
            if let Err(error) = self.engine.release(bucket).await {
                tracing::debug!(%error, "failed to release the leases of tasks; they end by themselves");
                return;
            }
        }
    }
}
