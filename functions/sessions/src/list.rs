//! `GET /v1/sessions`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Listing, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::session::SessionView;
use wire::{Order, Page, ProblemKind, Scope};

/// List sessions, of one agent or of all.
pub(crate) const ROUTE: Route = Route::get("sessions.list", "/v1/sessions", handler!(list))
    .summary("List sessions, of one agent or of all")
    .scope(Scope::SessionsRead)
    .grants(&[Grant::TableRead])
    .problems(&[ProblemKind::InvalidCursor]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SessionListing {
    /// Only sessions with this agent.
    agent_id: Option<AgentId>,
    /// The most items of the page; 50 where it is left out.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[schemars(length(max = 512))]
    cursor: Option<String>,
    /// Which end comes first; newest first where it is left out.
    order: Option<Order>,
}

async fn list(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(SessionListing { agent_id, limit, cursor, order }): Params<SessionListing>,
) -> Result<Found<Page<SessionView>>, Failure> {
    let paging = Listing { limit, cursor, order }.paging()?;
    Ok(Found(app.sessions().list(&caller, agent_id, paging).await?))
}
