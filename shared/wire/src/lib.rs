//! Every shape that crosses a process.
//!
//! What holds here: requests refuse unknown fields and take the spellings of older clients as
//! aliases; views show what a caller may see and nothing else; the shim's protocol is versioned.
//! JSON is camelCase throughout.
//!
//! Deliberately absent: behaviour. A shape converts from what it shows and nothing more.

pub mod problem;
pub mod shim;

pub use problem::{Problem, ProblemKind};
