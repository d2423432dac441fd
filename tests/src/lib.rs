//! What runs across crates. Here is what several tests share: one suite per port, which every
//! implementation of that port passes; the tests themselves are in `it`.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

pub mod account;
pub mod asyncapi;
pub mod blobs;
pub mod clock;
pub mod compute;
pub mod emulator;
pub mod fault_proxy;
pub mod given;
pub mod http;
pub mod models;
pub mod nowhere;
pub mod platform;
pub mod reeve;
pub mod sample;
pub mod stream;
pub mod table;
pub mod vault;
pub mod write_units;
