//! `POST /v1/stream/tickets`

use api::{Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::Scope;
use wire::stream::TicketView;

/// Make a ticket, which opens one stream.
pub(crate) const ROUTE: Route =
    Route::post("stream.tickets", "/v1/stream/tickets", handler!(tickets))
        .summary("Make a ticket, which opens one stream")
        .scope(Scope::SessionsRead)
        .grants(&[Grant::TableWrite]);

async fn tickets(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
) -> Result<Created<TicketView>, Failure> {
    Ok(Created(app.stream().ticket(&caller).await?))
}
