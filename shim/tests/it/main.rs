//! The shim as the platform sees it: real processes, a control plane and a model of our own on a
//! Unix socket. Nothing waits for time: everything waits for an event, within a limit.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cloud;
mod container;
mod differences;
mod drivers;
mod faults;
mod given;
mod keep;
mod link;
mod live;
mod misbehaviour;
mod model;
mod plane;
mod store;
mod turns;
mod vanilla;
