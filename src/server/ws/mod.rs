//! WebSockets: the shared socket code, the worker's socket, and the viewers' sockets.

pub(in crate::server) mod attached_tasks;
pub(in crate::server) mod frames;
pub(in crate::server) mod multi_viewer;
pub(in crate::server) mod outbox;
pub(in crate::server) mod oversize;
pub(in crate::server) mod socket;
pub(in crate::server) mod viewer;
pub(in crate::server) mod worker;
