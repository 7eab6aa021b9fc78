//! The web pages and the files they load.

mod assets;
pub(in crate::server) mod pages;
