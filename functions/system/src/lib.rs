//! What the API says of itself.

mod docs;
mod openapi;
mod page;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[docs::ROUTE, openapi::ROUTE];
