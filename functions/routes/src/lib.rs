//! Every route there is: what the gateway of one machine mounts, what is generated from, and what
//! every sweep goes through.

use gate::Route;

/// Every route, by area.
pub fn routes() -> Vec<Route> {
    [
        agents::ROUTES,
        keys::ROUTES,
        realms::ROUTES,
        runs::ROUTES,
        sessions::ROUTES,
        system::ROUTES,
        templates::ROUTES,
    ]
    .concat()
}
