//! The rules of Reeve, and nothing else.
//!
//! What holds here: every function is pure. Time, ids and randomness are arguments. A lifecycle is
//! one exhaustive `next(state, event)`; a terminal state never moves again. Data that belongs to an
//! aggregate is plain, public and serialisable.
//!
//! Deliberately absent: I/O, `async`, clocks, environment, HTTP, storage keys. `domain` knows no
//! other crate of this workspace.

pub mod admission;
pub mod agent;
pub mod bundle;
pub mod container;
pub mod conversation;
pub mod digest;
pub mod due;
pub mod elicitation;
pub mod event;
pub mod id;
pub mod instance;
pub mod key;
pub mod limits;
pub mod machine;
pub mod object;
pub mod output;
pub mod permission;
pub mod plan;
pub mod realm;
pub mod reconcile;
pub mod registry;
pub mod run;
pub mod session;
pub mod template;
pub mod text;
pub mod time;
pub mod topic;
pub mod upload;
pub mod walls;
pub mod workspace;

pub use digest::Digest;
pub use id::{
    AgentId, AuditId, ContainerId, DueId, InstanceId, KeyId, RealmId, RequestId, RunId, SessionId,
    SnapshotId, SubscriptionId, TemplateId, TicketId, UploadId,
};
pub use machine::{Machine, Refused};
pub use time::Timestamp;
pub use topic::Topic;
