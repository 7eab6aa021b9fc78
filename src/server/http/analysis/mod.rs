//! Routes that analyse a task's log: its outline, its difference from another log, its most telling lines.

pub(in crate::server) mod cache;
pub(in crate::server) mod counter;
mod diff;
mod explain;
mod good_run;
mod outline;
mod reader;

pub(super) use diff::diff;
pub(super) use explain::explain;
pub(super) use outline::outline;
