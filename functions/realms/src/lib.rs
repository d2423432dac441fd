//! Realms: tenants, made and stopped by operators.

mod audit;
mod create;
mod get;
mod list;
mod resume;
mod suspend;
mod update;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    audit::ROUTE,
    list::ROUTE,
    create::ROUTE,
    get::ROUTE,
    update::ROUTE,
    resume::ROUTE,
    suspend::ROUTE,
];
