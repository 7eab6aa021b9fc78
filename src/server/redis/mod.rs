//! The Redis port: Redis' own commands on the journals, for any client that speaks RESP.

mod commands;
