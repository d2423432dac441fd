//! Events as a stream of server-sent events.
//!
//! What holds here: each durable event is sent once, in order, with its number as the event's id; a
//! client that comes back with `Last-Event-ID` goes on where it was. A quiet stream is kept awake by
//! comments. A stream ends when its key or its realm stops working.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use api::{Failure, Input, Operation, Output};
use app::Error;
use app::events::Told;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::SessionId;
use futures::stream::{BoxStream, StreamExt};
use gate::Gate;
use wire::event::EventView;
use wire::{Page, Problem, ProblemKind};

/// Seconds after which a quiet stream gets a comment.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often a stream looks whether its caller still may.
const RECHECK: Duration = Duration::from_secs(1);

/// The number a client of a stream saw last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastEventId(pub(crate) Option<u64>);

impl Input for LastEventId {
    fn describe(operation: &mut Operation<'_>) {
        operation.header(
            "Last-Event-ID",
            "The id of the last event that was seen: the stream goes on behind it.",
            &serde_json::json!({ "type": "string", "pattern": "^[0-9]{1,19}$" }),
        );
    }
}

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let Some(value) = parts.headers.get("last-event-id") else { return Ok(Self(None)) };
        match value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
            Some(seq) => Ok(Self(Some(seq))),
            None => Err(Failure(
                Problem::new(ProblemKind::InvalidParameter, "Last-Event-ID must be a number")
                    .at("Last-Event-ID", "must be the id of an event"),
            )),
        }
    }
}

/// The events, in the form that was asked for.
pub(crate) enum Reply {
    /// A page.
    Page(Page<EventView>),
    /// A stream.
    Stream(BoxStream<'static, Result<Event, Infallible>>),
    /// A stream, at another address.
    Elsewhere(String),
}

impl Reply {
    /// The past behind `after` and then the present, for as long as `caller` may.
    pub(crate) async fn stream(
        app: &Gate,
        caller: app::Caller,
        session: SessionId,
        after: u64,
    ) -> Result<Self, Error> {
        let told = app.events().follow(&caller, session, after).await?;
        let allowed = app.events().while_allowed(caller, RECHECK);
        let events = told.take_until(allowed).scan((), |(), told| {
            // An error ends the stream: the client comes back with the id it saw last.
            let told = told.inspect_err(|error| tracing::warn!(%error, "a stream was cut off"));
            ready(told.ok().map(|told| Ok(event(&told))))
        });
        Ok(Self::Stream(events.boxed()))
    }
}

fn event(told: &Told) -> Event {
    match told {
        Told::Event(event) => Event::default()
            .id(event.seq.to_string())
            .event(&event.kind)
            .data(serde_json::to_string(&**event).unwrap_or_default()),
        Told::Live(live) => {
            let view = serde_json::to_string(&live.view()).unwrap_or_default();
            Event::default().event(&live.kind).data(view)
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Page(page) => api::Found(page).into_response(),
            Self::Stream(events) => {
                Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
            }
            // The address works once: nobody is to keep it.
            Self::Elsewhere(url) => (
                StatusCode::TEMPORARY_REDIRECT,
                [(LOCATION, url), (CACHE_CONTROL, "no-store".to_owned())],
            )
                .into_response(),
        }
    }
}

impl Output for Reply {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        operation.reply::<Page<EventView>>(200);
        let description = "Server-sent events: durable ones with their number as id, what is said right now without.";
        let schema = serde_json::json!({ "type": "string", "description": description });
        operation.reply_as(200, "text/event-stream", &schema);
        // Where a stream has another address than the rest.
        operation.empty_reply(307);
    }
}
