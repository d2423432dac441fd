//! Every shape that crosses a process.
//!
//! What holds here: requests refuse unknown fields and take the spellings of older clients as
//! aliases; views show what a caller may see and nothing else; the shim's protocol is versioned.
//! JSON is camelCase throughout.
//!
//! Deliberately absent: behaviour. A shape converts from what it shows and nothing more.

pub mod agent;
pub mod audit;
pub mod bundle;
pub mod container;
pub mod event;
pub mod field;
pub mod files;
pub mod key;
pub mod page;
pub mod plan;
pub mod problem;
pub mod realm;
pub mod registry;
pub mod session;
pub mod shim;
pub mod stream;
pub mod template;

pub use domain::key::Scope;
pub use field::Field;
pub use page::{Order, Page};
pub use problem::{FieldError, Problem, ProblemKind};
