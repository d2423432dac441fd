//! Every integration test, in one binary: it links once.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod access;
mod architecture;
mod bad_input;
mod blobs;
mod browser;
mod bundles;
mod caps;
mod client_stream;
mod compute;
mod containers;
mod contract;
mod docker;
mod ecs;
mod end_to_end;
mod escape;
mod faults;
mod feed;
mod files;
mod functions;
mod idempotency;
mod in_process;
mod lifecycle;
mod lists;
mod machine;
mod managed;
mod models;
mod normal_run;
mod outside;
mod permissions;
mod push;
mod queue;
mod real_agents;
mod registry;
mod round_trips;
mod sam;
mod schemathesis;
mod stored;
mod stream;
mod sweep;
mod table;
mod templates;
mod tick;
mod tidy;
mod vault;
