//! API keys of the caller's realm.

mod create;
mod list;
mod me;
mod revoke;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[list::ROUTE, create::ROUTE, revoke::ROUTE, me::ROUTE];
