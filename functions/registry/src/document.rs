//! `GET /v1/registry/registry.json`

use api::{Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::Scope;

use crate::mirrored::{IfNoneMatch, Mirrored};

/// The registry's document as it is known here, in the official form: another installation may sync
/// from it.
pub(crate) const ROUTE: Route =
    Route::get("registry.document", "/v1/registry/registry.json", handler!(document))
        .summary("The registry's document, for another installation to sync from")
        .scope(Scope::AgentsRead)
        .grants(&[Grant::TableRead]);

async fn document(
    State(app): State<Gate>,
    api::Caller(_): Caller,
    IfNoneMatch(known): IfNoneMatch,
) -> Result<Mirrored, Failure> {
    let (etag, document) = app.registry().document().await?;
    let same = known.is_some_and(|known| known.split(',').any(|one| one.trim() == etag));
    Ok(Mirrored { etag, document: (!same).then_some(document) })
}
