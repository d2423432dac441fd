//! What is invoked by time.

pub mod scheduler;
