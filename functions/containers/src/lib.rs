//! Containers, and the agents' processes in them.

mod create;
mod delete;
mod get;
mod hibernate;
mod install;
mod instance;
mod instances;
mod list;
mod recover;
mod restart;
mod start;
mod stop;
mod wake;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    list::ROUTE,
    create::ROUTE,
    get::ROUTE,
    delete::ROUTE,
    instances::ROUTE,
    install::ROUTE,
    instance::ROUTE,
    restart::ROUTE,
    start::ROUTE,
    stop::ROUTE,
    hibernate::ROUTE,
    recover::ROUTE,
    wake::ROUTE,
];
