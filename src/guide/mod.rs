//! The guide: pages for users, as text only.

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("files.md")]
pub mod files {}

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("many_servers.md")]
pub mod many_servers {}

#[doc = include_str!("terminal.md")]
pub mod terminal {}

#[doc = include_str!("proxies.md")]
pub mod proxies {}

#[doc = include_str!("page.md")]
pub mod page {}

#[doc = include_str!("finding.md")]
pub mod finding {}

#[doc = include_str!("redis.md")]
pub mod redis {}

#[doc = include_str!("events.md")]
pub mod events {}

#[doc = include_str!("reference.md")]
pub mod reference {}
