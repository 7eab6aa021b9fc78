//! The protocol of the Redis port, RESP2 and RESP3: bytes to requests, replies to bytes. No I/O.
//!
//! ```text
//! socket -> Parser::buffer -> Parser::next -> Request    what a client asks (`parse`, `inline`)
//! socket <- Reply::take <- Reply::bulk, ::array, ..      what it is answered (`reply`)
//! ```
//!
//! What each byte means was asked of redis-server 7.0.15 and valkey-server 9.1.2. Where the two
//! differ the stricter one is followed, since a client out of step must not have its data run as
//! commands: a length line or an argument that does not end in CR LF is an error (Valkey), and so
//! is anything but a blank after a closing quote of an inline request (Redis). A NUL in an inline
//! request, for which both would wait for ever, is a byte like any other.

mod error;
mod inline;
mod parse;
mod reply;
mod request;

pub use error::ProtocolError;
pub use parse::{Parser, READ_BYTES, RequestLimits};
pub use reply::{Protocol, Reply};
pub use request::Request;
