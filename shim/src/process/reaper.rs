//! Reaping orphans: as the first process of its namespace (or as a subreaper) the shim inherits
//! every process whose parent is gone.
//!
//! `wait` for any child would take exit statuses away from tokio. So zombies are looked up in
//! `/proc` and waited for one by one, and only those nobody has claimed: one thread runs both this
//! and every spawn, so a child is claimed before it can be seen here.

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{SignalKind, signal};

use super::{Children, tree};

/// Reaps orphans for ever.
pub(crate) async fn run(children: Children) {
    let Ok(mut exits) = signal(SignalKind::child()) else {
        return;
    };
    let me = rustix::process::getpid().as_raw_nonzero().get();
    while exits.recv().await.is_some() {
        for process in tree::all().into_iter().filter(|process| process.zombie) {
            if process.parent == me
                && !children.claimed(process.pid)
                && let Some(pid) = Pid::from_raw(process.pid)
            {
                // Another than ours, or already gone: either way there is nothing left to do.
                waitpid(Some(pid), WaitOptions::NOHANG).unwrap_or_default();
            }
        }
    }
}
