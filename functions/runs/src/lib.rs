//! Runs: prompt turns.

mod answer;
mod cancel;
mod get;
mod list;

use gate::Route;

/// Every route of this area, by path and then by method.
pub const ROUTES: &[Route] = &[list::ROUTE, get::ROUTE, answer::ROUTE, cancel::ROUTE];
