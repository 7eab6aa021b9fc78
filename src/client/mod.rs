//! The other end of the server's sockets.

pub mod connect;
