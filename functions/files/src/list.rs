//! `GET /v1/agents/{agentId}/files`

use api::{Failure, Found, Ids, Params, handler};
use app::Grant;
use app::files::Listing;
use axum::extract::State;
use domain::AgentId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::files::FileView;
use wire::{Page, Problem, ProblemKind, Scope};

/// List what is in a workspace.
pub(crate) const ROUTE: Route =
    Route::get("files.list", "/v1/agents/{agentId}/files", handler!(list))
        .summary("List the files of an agent")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead, Grant::BlobRead, Grant::WorkspaceRead])
        .problems(&[ProblemKind::AgentReclaimed, ProblemKind::InvalidCursor]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    agent_id: AgentId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// Only paths that begin so.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    prefix: Option<String>,
    /// The most items of the page; 100 where it is left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The `nextCursor` of the page before.
    #[serde(default)]
    #[schemars(length(max = 2048))]
    cursor: Option<String>,
}

async fn list(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { agent_id }): Ids<Path>,
    Params(Wanted { prefix, limit, cursor }): Params<Wanted>,
) -> Result<Found<Page<FileView>>, Failure> {
    let limit = limit.map_or(100, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if prefix.as_ref().is_some_and(|prefix| prefix.chars().count() > 1024) {
        let problem = Problem::new(ProblemKind::InvalidParameter, "prefix is too long");
        return Err(problem.at("prefix", "must have at most 1024 characters").into());
    }
    if !(1..=Listing::MAX).contains(&limit) {
        let detail = format!("limit must be 1 to {}", Listing::MAX);
        let problem = Problem::new(ProblemKind::InvalidParameter, detail.clone());
        return Err(problem.at("limit", detail).into());
    }
    let listing = Listing { prefix: prefix.unwrap_or_default(), cursor, limit };
    Ok(Found(app.files().list(&caller, agent_id, listing).await?))
}
