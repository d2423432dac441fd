//! Agents.

mod archive;
mod create;
mod delete;
mod get;
mod list;
mod pause;
mod recover;
mod restore;
mod resume;
mod update;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    list::ROUTE,
    create::ROUTE,
    get::ROUTE,
    update::ROUTE,
    delete::ROUTE,
    archive::ROUTE,
    pause::ROUTE,
    recover::ROUTE,
    restore::ROUTE,
    resume::ROUTE,
];
