//! The way out of a container: the model endpoints and, where the control plane is elsewhere, the way
//! to it.
//!
//! [`router`] is what a container sees at the other end of its socket: `GET /v1/models` and
//! `GET /v1/models/{id}`, `POST /v1/messages` as Anthropic has it, `POST /v1/chat/completions` as
//! `OpenAI` has it. [`serve`] offers the same on a TCP address to any number of containers, and
//! passes the WebSocket of `GET /v1/shim` on to the control plane: that is the service `egress`.
//! `POST /v1/forward` asks an endpoint outside that answers prompts, where the operator has listed it.
//!
//! What holds here
//! - Denied unless it is one of these routes. A request that names another host, as one to a proxy
//!   does, is denied whatever its path.
//! - Credentials are the operator's and stay on this side. What the client sends as credentials is
//!   dropped; a credential that an upstream echoes is cut out of the answer.
//! - A request holds at most [`MAX_REQUEST`] bytes. An answer is not held at all: it is passed on
//!   piece by piece, as fast as the client reads.
//! - An answer cut short upstream is cut short for the client too, never ended as if whole.
//! - Redirects are not followed and proxies of the environment are not used: what is sent goes to
//!   the configured host or nowhere.
//!
//! With no provider set up, the [scripted model](scripted) can stand in for one.
//!
//! Deliberately absent, to come with the real egress: run tokens (who asks), verdicts, budgets and
//! usage, placeholders for secrets, the forward proxy, translation between the two shapes; TLS toward
//! containers, which share a private network with the service and nobody else.

mod config;
mod control;
mod forward;
mod models;
mod outside;
mod problem;
mod relay;
mod routes;
pub mod scripted;
mod scrub;
mod service;
mod socket;

pub use config::{Api, ApiKey, Config, Provider};
pub use control::{Control, MAX_FRAGMENT, MAX_MESSAGE, NotControl};
pub use forward::BuildError;
pub use routes::{MAX_REQUEST, router};
pub use service::{Limits, Service, check, serve};
