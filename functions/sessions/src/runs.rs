//! `GET /v1/sessions/{sessionId}/runs`

use api::{Failure, Found, Ids, Params, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Listing, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::RunView;
use wire::{Page, Scope};

/// List the runs of a session.
pub(crate) const ROUTE: Route =
    Route::get("sessions.runs", "/v1/sessions/{sessionId}/runs", handler!(runs))
        .summary("List the runs of a session")
        .scope(Scope::SessionsRead)
        .grants(&[Grant::TableRead]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

async fn runs(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<RunView>>, Failure> {
    Ok(Found(app.runs().list(&caller, Some(session_id), listing.paging()?).await?))
}
