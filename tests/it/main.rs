//! Every integration test, in one binary: it links once.

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod architecture;
mod browser;
mod compute;
mod feed;
mod schemathesis;
mod table;
mod tidy;
