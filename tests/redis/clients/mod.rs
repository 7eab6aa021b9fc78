//! Client libraries and tools as they are installed, unchanged, against the Redis port. Every one of
//! them is first put against redis-server: what a script expects is what Redis does.
//!
//! `TASKTAIL_ORACLES_ONLY=1` runs them against redis-server alone.
mod benchmark;
mod blueprint;
mod cli;
mod fixture;
mod rust_client;
mod scripts;
mod servers;
