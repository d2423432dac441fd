//! What runs in Lambda: the sibling of the process on one machine.
//!
//! What holds here
//! - One artifact for each area; `_HANDLER` says which function of it a process is, by its id. An id
//!   that is not there ends the process at its start, and says so.
//! - A process builds the clients that its function's grants name, and no other; the rest of the
//!   ports refuse. Its function authenticates by itself.
//! - Each invocation is one line in the log beside what it says, with the request's id, its trace and
//!   its realm; its figures are flushed before it ends, because nothing runs after that.
//! - A stage's name is part of the path: behind the stage `v1`, a request for `/agents` is one for
//!   `/v1/agents`. A domain of one's own maps to the stage with no key or with `v1`.
//!
//! - What an invocation asks of other services is told to X-Ray, below the segment that Lambda makes
//!   for the invocation; the trace's id is in every line of the log.
//!
//! Deliberately absent: an exporter for OTLP. It would hold up each answer until it has sent, or need
//! a collector beside the function, at every cold start; CloudWatch shows X-Ray's traces as they are.

mod http;
mod invocation;
mod outside;
mod ports;
mod process;
mod socket_events;
mod stream;
mod telemetry;
mod unrouted;
mod worker_events;
mod xray;

use std::process::ExitCode;

use gate::{Function, Route, Trigger};

use process::Process;

/// Whatever keeps a process from starting or an invocation from being done.
pub(crate) type Error = lambda_runtime::Error;

/// Serves the route or the function of an area that `_HANDLER` names.
pub fn area(routes: &'static [Route], functions: &'static [Function]) -> ExitCode {
    process::run(async |process: Process| {
        if let Some(route) = routes.iter().find(|route| route.id == process.handler()) {
            return http::serve(process, *route).await;
        }
        let function = process.pick(functions)?;
        let of = |id: &str| {
            let known = routes.iter().find(|route| route.id == id).copied();
            known.ok_or_else(|| Error::from(format!("{} has no route {id}", function.id)))
        };
        for trigger in function.triggers {
            return match trigger {
                Trigger::Url(id) => stream::serve(process, function, of(id)?).await,
                Trigger::Webhook(id) => http::serve(process, of(id)?).await,
                Trigger::Unrouted
                | Trigger::Socket(_)
                | Trigger::Nudges
                | Trigger::Every(_)
                | Trigger::Changes
                | Trigger::TaskStopped
                | Trigger::Installation => continue,
            };
        }
        Err(format!("{} has no handler", function.id).into())
    })
}

/// Serves what the API says of itself, or what is no route of it, as `_HANDLER` says.
pub fn system() -> ExitCode {
    process::run(async |process: Process| {
        if let Some(route) = ::system::ROUTES.iter().find(|route| route.id == process.handler()) {
            return http::serve(process, *route).await;
        }
        let function = process.pick(::system::FUNCTIONS)?;
        unrouted::serve(process, function).await
    })
}

/// Serves the route of the WebSocket API that `_HANDLER` names.
pub fn sockets() -> ExitCode {
    process::run(async |process: Process| {
        let function = process.pick(::sockets::FUNCTIONS)?;
        socket_events::serve(process, function).await
    })
}

/// Serves the worker that `_HANDLER` names.
pub fn workers() -> ExitCode {
    process::run(async |process: Process| {
        let function = process.pick(::workers::FUNCTIONS)?;
        worker_events::serve(process, function).await
    })
}
