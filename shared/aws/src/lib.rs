//! The ports on AWS: the only crate that names an AWS SDK.
//!
//! What holds here: [`Environment`] is read once, [`Sdk`] is made of it, and each port is built of
//! both by whoever needs it. A process has the clients of the ports it builds and no other.

pub mod blobs;
pub mod compute;
mod config;
mod fault;
mod feed;
mod nudges;
pub mod outgoing;
pub mod push;
mod secret;
pub mod table;
pub mod uploads;
pub mod vault;

pub use config::{Capacity, Environment, EnvironmentError, Sdk};
pub use feed::PolledFeed;
pub use nudges::{FARTHEST, Nudges};
pub use secret::{Secret, SecretError};
pub use table::DynamoTable;
