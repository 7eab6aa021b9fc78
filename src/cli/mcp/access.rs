//! The state that all calls share: the locator of the server, and limits.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};

use super::super::locate::{Locator, Purpose};
use super::super::output::Output;
use super::fields::{ToolArguments, invalid};
use crate::config::Settings;
use crate::model::TaskId;

/// Maximum number of calls at the same time; a further one is refused.
pub(super) const CALLS_MAX: usize = 16;

/// The state that all calls share.
pub(super) struct SharedAccess {
    pub(super) locator: Arc<Locator>,
    /// Whether the server was named, and cannot move.
    pub(super) explicit: bool,
    pub(super) result_bytes_max: usize,
    /// Calls that use the locator.
    uses: Mutex<usize>,
    /// Permits of calls.
    pub(super) calls: Semaphore,
}

impl SharedAccess {
    pub(super) fn new(settings: Settings, output: Output, result_bytes_max: usize) -> Self {
        let explicit = settings.url.is_some();
        let locator = Arc::new(Locator::new(settings, output, Purpose::Query));
        Self { locator, explicit, result_bytes_max, uses: Mutex::new(0), calls: Semaphore::new(CALLS_MAX) }
    }

    pub(super) async fn enter(&self) {
        *self.uses.lock().await += 1;
    }

    /// Closes the embedded server after the last call: while it is idle, others need the data folder.
    pub(super) async fn leave(&self) {
        let mut uses = self.uses.lock().await;
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.locator.close().await;
        }
    }
}

/// Returns the id in an argument.
///
/// # Errors
/// It is no id.
pub(super) fn task_id(arguments: &ToolArguments, name: &str) -> anyhow::Result<Option<TaskId>> {
    arguments.parsed(name, str::parse::<TaskId>)
}

/// Parses a label.
///
/// # Errors
/// It is no label; the message names the argument.
pub(super) fn label(name: &str, text: &str) -> anyhow::Result<(String, String)> {
    super::super::values::key_value(text).map_err(|error| invalid(name, &error))
}
