//! Sessions: conversations with agents, and their events.

mod cancel;
mod close;
mod configure;
mod create;
mod delete;
mod events;
mod fork;
mod get;
mod list;
mod prompt;
mod runs;
mod stream;

use app::Grant;
use gate::{Function, Route, Trigger};

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[
    list::ROUTE,
    create::ROUTE,
    get::ROUTE,
    delete::ROUTE,
    cancel::ROUTE,
    close::ROUTE,
    configure::ROUTE,
    events::ROUTE,
    fork::ROUTE,
    prompt::ROUTE,
    runs::ROUTE,
];

/// What this area has beside its routes: in the cloud a stream of events has a URL of its own.
///
/// It ends after some minutes, and its client comes back: nobody tells a function that its client has
/// gone, and until then it costs.
pub const FUNCTIONS: &[Function] =
    &[Function::new("sessions.events.stream", &[Trigger::Url(events::ROUTE.id)])
        .summary("Follow the events of a session")
        .grants(&[Grant::TableRead, Grant::TableWrite, Grant::Feed])
        .timeout(300)];
