//! The single table: the port to it, every key that may appear in it, and each entity's way in and
//! out.
//!
//! What holds here: [`keys`] is the only place that spells a key, and every key inside a realm takes
//! a [`Scope`], which only an authenticated caller or a worker holds: another realm's data cannot be
//! named. Every write says what it expects to find.
//!
//! Deliberately absent: scans, unconditional writes, and any implementation of [`Table`].

pub mod agent;
pub mod audit;
pub mod bundle;
pub mod connection;
pub mod container;
pub mod document;
pub mod due;
pub mod event;
pub mod idempotency;
pub mod key;
pub mod keys;
pub mod live;
pub mod log;
pub mod plan;
pub mod pool;
pub mod realm;
pub mod registry;
pub mod run;
pub mod session;
pub mod subscription;
mod table;
pub mod template;
pub mod ticket;
pub mod upload;
pub mod workspace;

pub use document::{Loaded, Malformed};
pub use keys::Scope;
pub use table::{
    Commit, Conflict, Cursor, Direction, Error, Expect, Index, Item, Key, MAX_BATCH, MAX_BODY,
    MAX_COMMIT, MAX_KEY, MAX_LIMIT, MAX_PAGE, MAX_WRITES, NotACursor, Page, Query, Range, Table,
    Write,
};
