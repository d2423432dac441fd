//! The files of agents, and the history of their workspaces.

mod archive;
mod diff;
mod export;
mod get;
mod history;
mod import;
mod list;
mod packed;
mod put;
mod remove;
mod rollback;
mod show;
mod snapshot;
mod upload;

use app::Grant;
use gate::Route;

/// What it takes to bring bytes into a workspace.
const BRINGS: &[Grant] = &[
    Grant::TableRead,
    Grant::TableWrite,
    Grant::BlobRead,
    Grant::BlobWrite,
    Grant::WorkspaceRead,
    Grant::WorkspaceWrite,
    Grant::UploadTake,
];

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    list::ROUTE,
    archive::ROUTE,
    export::ROUTE,
    import::ROUTE,
    get::ROUTE,
    put::ROUTE,
    remove::ROUTE,
    history::ROUTE,
    snapshot::ROUTE,
    show::ROUTE,
    diff::ROUTE,
    rollback::ROUTE,
    upload::ROUTE,
];
