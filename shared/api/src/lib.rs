//! The route machinery, without a business noun.
//!
//! What holds here: a [`Route`] is a `const`, and the single source of what it says. Parameters,
//! body, reply and status come from the handler's signature; the router, the OpenAPI document and
//! the access rules are readings of the table. Every failure, axum's own included, leaves as problem
//! details. A request is authenticated and authorised before its body is read.
//!
//! Deliberately absent: what a caller is, what a grant allows, where anything is stored. The
//! [`Service`] behind the routes knows.

mod download;
mod input;
mod openapi;
mod output;
mod paths;
mod pipeline;
mod route;
mod upload;

pub use download::{Asked, Download, Pieces, attachment};
pub use input::{Body, Caller, Ids, IfMatch, Input, OptionalBody, Params, Wants};
pub use openapi::{Operation, openapi};
pub use output::{Accepted, Created, Failure, Found, NoContent, Output, problem_response};
pub use paths::canonical;
pub use pipeline::{Idempotency, Service, refusing, router};
pub use route::{Access, Described, Handler, Route, Verb, described};
pub use upload::Upload;
