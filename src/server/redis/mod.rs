//! Redis clients: their commands over [`crate::tasks`].

#[allow(unused, reason = "called once there is a connection")]
mod commands;
