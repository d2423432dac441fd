//! `GET /v1/agents`

use api::{Failure, Found, Params, handler};
use app::Grant;
use app::agents::AgentFilter;
use axum::extract::State;
use domain::agent::AgentState;
use domain::text::{LabelKey, LabelValue};
use gate::{Caller, Gate, Listing, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::agent::AgentView;
use wire::{Order, Page, Problem, ProblemKind, Scope};

/// List agents, by state or label.
pub(crate) const ROUTE: Route = Route::get("agents.list", "/v1/agents", handler!(list))
    .summary("List agents, by state or label")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead])
    .problems(&[ProblemKind::InvalidCursor]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AgentListing {
    /// Only agents in this state.
    state: Option<AgentState>,
    /// Only agents with this label, as `key=value`.
    #[schemars(regex(
        pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,62}=[^\x00-\x1F\x7F-\x9F]{0,120}$"
    ))]
    label: Option<String>,
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
    Params(AgentListing { state, label, limit, cursor, order }): Params<AgentListing>,
) -> Result<Found<Page<AgentView>>, Failure> {
    let label = label.as_deref().map(parse_label).transpose()?;
    let paging = Listing { limit, cursor, order }.paging()?;
    Ok(Found(app.agents().list(&caller, AgentFilter { state, label }, paging).await?))
}

fn parse_label(text: &str) -> Result<(LabelKey, LabelValue), Problem> {
    let parsed = text
        .split_once('=')
        .and_then(|(key, value)| Some((LabelKey::new(key).ok()?, LabelValue::new(value).ok()?)));
    parsed.ok_or_else(|| {
        Problem::new(ProblemKind::InvalidParameter, "label must be key=value")
            .at("label", "must be key=value")
    })
}
