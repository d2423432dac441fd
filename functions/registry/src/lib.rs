//! The catalog of agents, the bundles they come as, and the plans they are run by.

mod add;
mod agent;
mod agents;
mod bundle;
mod bundles;
mod document;
mod get;
mod mirrored;
mod plan;
mod remove;
mod resolve;
mod sync;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    bundles::ROUTE,
    resolve::ROUTE,
    bundle::ROUTE,
    plan::ROUTE,
    get::ROUTE,
    agents::ROUTE,
    add::ROUTE,
    agent::ROUTE,
    remove::ROUTE,
    document::ROUTE,
    sync::ROUTE,
];
