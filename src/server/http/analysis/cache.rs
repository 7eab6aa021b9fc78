//! The outlines of the tasks that were asked for last. That of a running task grows with its log.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::analysis::Outline;
use crate::model::TaskId;

/// Maximum number of outlines in memory.
const OUTLINES_MAX: usize = 32;

/// An outline, and the first line that is not in it.
#[derive(Debug, Default)]
pub(crate) struct GrowingOutline {
    pub(super) outline: Outline,
    pub(super) next: u64,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct OutlineCache {
    /// Locked for a lookup only. The number is that of the last use.
    outlines: Mutex<(u64, CachedOutlines)>,
}

/// Outlines by task and incarnation.
type CachedOutlines = HashMap<(TaskId, u64), Cached>;

#[derive(Debug)]
struct Cached {
    used: u64,
    /// Locked while the outline grows; another request for it waits.
    outline: Arc<tokio::sync::Mutex<GrowingOutline>>,
}

impl OutlineCache {
    /// Returns the outline of a task, which is empty at first. The one that was not used for the longest time is
    /// forgotten.
    pub(super) fn outline(&self, task: &TaskId, incarnation: u64) -> Arc<tokio::sync::Mutex<GrowingOutline>> {
        let mut outlines = self.outlines.lock();
        let (uses, cached) = &mut *outlines;
        *uses += 1;
        let key = (task.clone(), incarnation);
        if !cached.contains_key(&key) && cached.len() >= OUTLINES_MAX {
            let oldest = cached.iter().min_by_key(|(_, cached)| cached.used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| cached.remove(&oldest));
        }
        let entry = cached.entry(key).or_insert_with(|| Cached { used: 0, outline: Arc::default() });
        entry.used = *uses;
        entry.outline.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outline_that_was_used_first_is_forgotten() {
        let cache = OutlineCache::default();
        let id = |n: usize| format!("t{n}").parse::<TaskId>().unwrap();
        let first = cache.outline(&id(0), 1);
        for n in 1..OUTLINES_MAX {
            cache.outline(&id(n), 1);
        }
        assert!(Arc::ptr_eq(&first, &cache.outline(&id(0), 1)));
        let second = cache.outline(&id(1), 1);
        assert!(!Arc::ptr_eq(&first, &cache.outline(&id(0), 2)), "another log of this id");
        cache.outline(&id(99), 1);
        assert!(Arc::ptr_eq(&second, &cache.outline(&id(1), 1)));
        assert_eq!(cache.outlines.lock().1.len(), OUTLINES_MAX);
    }
}
