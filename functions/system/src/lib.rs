//! What the API says of itself.

mod docs;
mod openapi;
mod page;

use gate::{Function, Route, Trigger};

pub use openapi::DOCUMENT;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[docs::ROUTE, openapi::ROUTE];

/// What this area has beside its routes: in the cloud the gateway knows no answer of ours, and one
/// spelling of each path.
///
/// It touches nothing: a request in another spelling it makes again, as a client of the same gateway
/// with what its own client sent.
pub const FUNCTIONS: &[Function] = &[Function::new("system.unrouted", &[Trigger::Unrouted])
    .summary("Answer what is no route, or is one in another spelling")];
