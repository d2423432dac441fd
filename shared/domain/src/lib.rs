//! The rules of Reeve, and nothing else.
//!
//! What holds here: every function is pure. Time, ids and randomness are arguments. A lifecycle is
//! one exhaustive `next(state, event)`; a terminal state never moves again. Data that belongs to an
//! aggregate is plain, public and serialisable.
//!
//! Deliberately absent: I/O, `async`, clocks, environment, HTTP, storage keys. `domain` knows no
//! other crate of this workspace.

pub mod agent;
pub mod container;
pub mod due;
pub mod event;
pub mod id;
pub mod key;
pub mod machine;
pub mod plan;
pub mod realm;
pub mod run;
pub mod session;
pub mod template;
pub mod text;
pub mod time;
pub mod topic;

pub use id::{
    AgentId, AuditId, ContainerId, DueId, KeyId, RealmId, RequestId, RunId, SessionId,
    SubscriptionId, TemplateId, TicketId,
};
pub use machine::{Machine, Refused};
pub use time::Timestamp;
pub use topic::Topic;
