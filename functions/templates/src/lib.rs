//! Templates: saved ways to make agents.

mod clone;
mod create;
mod delete;
mod get;
mod list;
mod update;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] =
    &[list::ROUTE, create::ROUTE, get::ROUTE, update::ROUTE, delete::ROUTE, clone::ROUTE];
