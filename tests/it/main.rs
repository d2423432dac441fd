//! Every integration test, in one binary: it links once.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod architecture;
mod browser;
mod compute;
mod feed;
mod lifecycle;
mod schemathesis;
mod stored;
mod table;
mod tidy;
