//! `GET /v1/sessions/{sessionId}/events`

use api::{Failure, Ids, Params, Wants, handler};
use app::Grant;
use axum::extract::State;
use domain::SessionId;
use gate::{Caller, Gate, Route};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{Problem, ProblemKind, Scope};

use crate::stream::{LastEventId, Reply};

const PATH: &str = "/v1/sessions/{sessionId}/events";

/// Read or follow the events of a session.
pub(crate) const ROUTE: Route = Route::get("sessions.events", PATH, handler!(events))
    .summary("Read or follow the events of a session")
    .scope(Scope::SessionsRead)
    .grants(&[Grant::TableRead, Grant::Feed])
    .problems(&[ProblemKind::InvalidCursor]);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Path {
    session_id: SessionId,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listing {
    /// Only events behind this number; on a stream, `Last-Event-ID` counts for more.
    after: Option<u64>,
    /// The `nextCursor` of the page before; counts for more than `after`. Not for streams.
    #[schemars(length(max = 512))]
    cursor: Option<String>,
    /// The most events of the page; 100 where it is left out. Not for streams.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
}

async fn events(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Ids(Path { session_id }): Ids<Path>,
    wants: Wants,
    last: LastEventId,
    Params(Listing { after, cursor, limit }): Params<Listing>,
) -> Result<Reply, Failure> {
    let after = after.unwrap_or_default();
    if wants == Wants::Stream {
        let after = last.0.unwrap_or(after);
        if let Some(url) =
            app.elsewhere(&caller, &PATH.replace("{sessionId}", &session_id.to_string()), after)
        {
            return Ok(Reply::Elsewhere(url));
        }
        return Ok(Reply::stream(&app, caller, session_id, after).await?);
    }
    let limit = limit.map_or(100, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if !(1..=1000).contains(&limit) {
        let detail = "limit must be 1 to 1000";
        return Err(Problem::new(ProblemKind::InvalidParameter, detail).at("limit", detail).into());
    }
    let page = app.events().list(&caller, session_id, after, cursor.as_deref(), limit).await?;
    Ok(Reply::Page(page))
}
