//! The client's stream: the ticket that opens it. What is said on it is in `sockets`.

mod tickets;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[tickets::ROUTE];
