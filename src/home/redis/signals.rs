//! Wake-ups of those who wait for a change of a key. A wake-up carries no data: register, look, wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A flag that changes of some keys set; waiting clears it.
#[derive(Debug, Default)]
pub(super) struct ChangeSignal {
    is_set: AtomicBool,
    notify: Notify,
}

impl ChangeSignal {
    /// Sets the flag and wakes the one who waits.
    pub(super) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Returns the flag.
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    fn clear(&self) {
        self.is_set.store(false, Ordering::Release);
    }

    /// Waits until the flag is set. Does not clear it; at most one task waits.
    pub(super) async fn wait(&self) {
        while !self.is_set() {
            self.notify.notified().await;
        }
    }
}

/// The signals to set when a key changes.
#[derive(Debug, Default)]
pub(super) struct ChangeSignals {
    /// Held for a few instructions. An entry is removed with its last signal.
    by_key: Mutex<HashMap<Vec<u8>, Vec<Weak<ChangeSignal>>>>,
}

/// A registration for changes of some keys; dropping it ends it.
#[derive(Debug)]
pub(super) struct Registration {
    signals: Arc<ChangeSignals>,
    keys: Vec<Vec<u8>>,
    pub(super) signal: Arc<ChangeSignal>,
}

/// A look at what a signal reported: the signal is set again unless the look is done.
#[derive(Debug)]
pub(super) struct UnreadChange {
    signal: Option<Arc<ChangeSignal>>,
}

impl Registration {
    /// Clears the signal to look at what changed. A change during the look sets it again.
    pub(super) fn unread(&self) -> UnreadChange {
        self.signal.clear();
        UnreadChange { signal: Some(self.signal.clone()) }
    }
}

impl UnreadChange {
    /// Ends the look.
    pub(super) fn done(mut self) {
        self.signal = None;
    }
}

impl Drop for UnreadChange {
    fn drop(&mut self) {
        if let Some(signal) = &self.signal {
            signal.set();
        }
    }
}

impl ChangeSignals {
    /// Registers for changes of keys.
    pub(super) fn register(self: &Arc<Self>, keys: &[&str]) -> Registration {
        let signal = Arc::new(ChangeSignal::default());
        let keys: Vec<_> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        let mut by_key = self.by_key.lock();
        for key in &keys {
            by_key.entry(key.clone()).or_default().push(Arc::downgrade(&signal));
        }
        drop(by_key);
        Registration { signals: self.clone(), keys, signal }
    }

    /// Wakes those who registered for a key.
    pub(super) fn changed(&self, key: &[u8]) {
        for signal in self.by_key.lock().get(key).into_iter().flatten().filter_map(Weak::upgrade) {
            signal.set();
        }
    }

    /// Wakes everyone: a connection broke, or every key changed.
    pub(super) fn all_changed(&self) {
        for signal in self.by_key.lock().values().flatten().filter_map(Weak::upgrade) {
            signal.set();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut by_key = self.signals.by_key.lock();
        for key in &self.keys {
            let is_last = by_key.get_mut(key).is_some_and(|signals| {
                signals.retain(|signal| !std::ptr::eq(signal.as_ptr(), Arc::as_ptr(&self.signal)));
                signals.is_empty()
            });
            if is_last {
                by_key.remove(key);
            }
        }
    }
}
