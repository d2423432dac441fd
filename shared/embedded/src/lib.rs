//! The ports on one machine. No account, nothing to install, and no daemon but where one is asked for.
//!
//! What holds here: each module implements one port and passes that port's conformance suite in
//! `tests`. All state is in one directory, which one process owns ([`lock`]).
//!
//! Deliberately absent: rules, routes, key shapes.

pub mod blobs;
pub mod bundles;
mod ceiling;
pub mod docker;
mod durable;
pub mod faults;
pub mod feed;
pub mod lock;
pub mod push;
pub mod sandbox;
pub mod sqlite;
pub mod uploads;
pub mod vault;
pub mod workspaces;
