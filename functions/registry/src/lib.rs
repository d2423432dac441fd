//! The catalog of agents, the bundles they come as, and the plans they are run by.

mod add;
mod agent;
mod agents;
mod bundle;
mod bundles;
mod document;
mod plan;
mod remove;
mod resolve;
mod state;
mod sync;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    bundles::ROUTE,
    resolve::ROUTE,
    bundle::ROUTE,
    plan::ROUTE,
    state::ROUTE,
    agents::ROUTE,
    add::ROUTE,
    agent::ROUTE,
    remove::ROUTE,
    document::ROUTE,
    sync::ROUTE,
];
