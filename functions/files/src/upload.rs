//! `POST /v1/uploads`

use api::{Body, Created, Failure, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Route};
use wire::files::{NewUpload, UploadView};
use wire::{ProblemKind, Scope};

/// Announce bytes that are more than a request brings.
pub(crate) const ROUTE: Route = Route::post("files.upload", "/v1/uploads", handler!(upload))
    .summary("Announce bytes that are more than a request brings, and learn where to put them")
    .scope(Scope::AgentsWrite)
    .grants(&[Grant::TableWrite, Grant::UploadOpen])
    .problems(&[ProblemKind::TransferTooLarge]);

async fn upload(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Body(NewUpload { size }): Body<NewUpload>,
) -> Result<Created<UploadView>, Failure> {
    Ok(Created(app.uploads().open(&caller, size).await?))
}
