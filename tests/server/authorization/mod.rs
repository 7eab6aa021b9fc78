//! Who may do what, at every door of a real server: each route and each Redis command with every kind of
//! caller, what is hidden inside of lists and sockets, and what becomes of a live connection whose token
//! is taken back.

mod commands;
mod databases;
mod doors;
mod hidden;
mod live;
mod redis;
mod routes;
mod secrecy;
mod store;
mod support;
