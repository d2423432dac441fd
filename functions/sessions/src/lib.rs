//! Sessions: conversations with agents, and their events.

mod cancel;
mod close;
mod create;
mod events;
mod get;
mod list;
mod prompt;
mod runs;
mod stream;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    list::ROUTE,
    create::ROUTE,
    get::ROUTE,
    cancel::ROUTE,
    close::ROUTE,
    events::ROUTE,
    prompt::ROUTE,
    runs::ROUTE,
];
