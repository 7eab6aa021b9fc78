//! Tests of `home::objects`: a store in a folder and on a real S3 implementation (moto), also through a proxy that
//! injects faults.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod credentials;
mod faults;
mod moto;
mod proxy;
mod store;
