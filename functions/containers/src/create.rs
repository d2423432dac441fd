//! `POST /v1/containers`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::container::{ContainerView, NewContainer};
use wire::{ProblemKind, Scope};

/// Make a container for agents of any session.
pub(crate) const ROUTE: Route =
    Route::post("containers.create", "/v1/containers", handler!(create))
        .summary("Make a container for agents of any session")
        .scope(Scope::AgentsWrite)
        .grants(&[Grant::TableRead, Grant::TableWrite])
        .problems(&[ProblemKind::QuotaReached]);

async fn create(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(new): Body<NewContainer>,
) -> Result<Created<ContainerView>, Failure> {
    Ok(Created(app.containers().create(&caller, new).await?))
}
