//! The Redis protocol, RESP2 and RESP3: bytes to requests, replies to bytes. No I/O.
//!
//! ```text
//! socket -> Parser::buffer -> Parser::next -> Request    a client's command (`parse`, `inline`)
//! socket <- Reply::drain <- Reply::bulk, ::array, ..     the replies (`reply`)
//! ```
//!
//! The handling of each byte was compared with redis-server 7.0.15 and valkey-server 9.1.2. Where the
//! two differ this parser follows the stricter one, because the data of a client that is out of sync must
//! never run as commands. A length line or an argument that does not end in CR LF is an error (Valkey),
//! and so is anything but a blank after a closing quote of an inline request (Redis). A NUL in an inline
//! request, for which both would wait forever, is an ordinary byte.

mod error;
mod inline;
mod parse;
mod reply;
mod request;

pub use error::ProtocolError;
pub use parse::{Parser, READ_BYTES, RequestLimits};
pub use reply::{Protocol, Reply};
pub use request::Request;
