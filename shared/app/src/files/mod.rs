//! The files of an agent and the history of its workspace: one operation, one file.
//!
//! What holds here
//! - There is one workspace for each agent. What it holds *now* is its directory, where this process
//!   can reach it ([`crate::ports::Workspaces`]), and otherwise its latest snapshot: every operation
//!   works on either, and none of them wakes an agent.
//! - A snapshot is a row, a manifest and packs. The manifest is the whole tree without its bytes;
//!   packs are blobs of up to 4 MiB in which the bytes of many files lie one behind the other. A file
//!   that looks as it did (size, times, inode) is not read again, so ten changed files of ten thousand
//!   cost ten reads, one pack, one manifest and one commit.
//! - Blobs lie on their agent's shelf, and packs and manifests begin with its id, so no two agents share
//!   one, and what a deleted agent had can be removed without asking who else needs it.
//! - Old snapshots go, as the realm says, and with them what no other names (`collect`).
//! - Blobs come first, rows last: killed at any line, a history is what it was, or has one snapshot
//!   more.
//! - A snapshot is made of what a run has left before its end is told, as its shim asks for it
//!   (`remote`), and by an errand where no shim lived to ask; for who asks; and before a rollback or an
//!   import. Those add a snapshot to the history, too, and remove none; they are decided at once and
//!   carried out, whatever is killed, before any prompt reaches the agent (`renew`).
//! - Who changes a directory has its turn, one after the other.
//! - Where an agent's directories lie in a container that keeps none, its shim sends what became of them
//!   when a run ends and when it stops, and fetches it at the next start (`remote`).
//! - A reclaimed agent has no workspace: every operation says so.
//! - Where the workspace is only its latest snapshot, putting and removing add a snapshot, too, and all
//!   three are refused while a container may have the workspace: it would not see them.
//! - A run sees all of a rollback or an import, or nothing (`renew`): they are refused while one is in
//!   flight, and while they go on prompts wait. A file that is put or removed is so at once, and may be
//!   beside a run.
//!
//! Deliberately absent: a git repository of ours. History, diffs and rollback need none, work with no
//! `git` on the machine, and never read an agent's own `.git`, which is files like any other.

mod archive;
mod collect;
mod diff;
mod edit;
mod export;
mod history;
mod import;
mod incoming;
mod list;
mod pack;
mod purge;
mod put;
mod read;
mod record;
mod remote;
mod remove;
mod renew;
mod rollback;
mod snapshot;
mod source;
mod survey;
mod tar;

use wire::files::{FileKind, FileView};

use crate::App;
use crate::ports::{Found, Kind};

pub use diff::Against;
pub use export::{Export, Exported};
pub use incoming::Incoming;
pub use list::Listing;
pub use read::Readable;

/// The use cases about files and their history.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a>(&'a App);

impl App {
    /// The use cases about files and their history.
    pub const fn files(&self) -> Files<'_> {
        Files(self)
    }
}

fn view(found: Found) -> FileView {
    let (kind, size, executable, modified_at, target) = match found.kind {
        Kind::File { size, executable, modified } => {
            (FileKind::File, size, executable, Some(modified), None)
        }
        Kind::Directory => (FileKind::Directory, 0, false, None, None),
        Kind::Link(target) => (FileKind::Link, 0, false, None, Some(target)),
    };
    let is_dir = kind == FileKind::Directory;
    FileView { path: found.path, kind, size, is_dir, executable, modified_at, target }
}
