//! Where uploads are put on this machine: an address that opens one of them to whoever has it.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use embedded::uploads::{FileUploads, NotPut};
use wire::{Problem, ProblemKind};

/// What the path of an address begins with.
pub(crate) const PATH: &str = "/v1/uploads/";

/// Takes what is put at any address.
pub(crate) fn routes(uploads: FileUploads) -> Router {
    Router::new().route("/v1/uploads/{ticket}", put(receive)).with_state(uploads)
}

async fn receive(
    State(uploads): State<FileUploads>,
    Path(ticket): Path<String>,
    body: Body,
) -> Response {
    let refused = match uploads.put(&ticket, body.into_data_stream()).await {
        Ok(()) => return StatusCode::OK.into_response(),
        Err(refused) => refused,
    };
    let (kind, detail) = match refused {
        NotPut::Unknown => (ProblemKind::NoSuchUpload, refused.to_string()),
        NotPut::OtherSize(_) | NotPut::CutOff => (ProblemKind::InvalidBody, refused.to_string()),
        NotPut::NoPlace(error) => {
            tracing::error!(%error, "there is no place for an upload");
            let detail = "there is no place for the bytes; try again";
            (ProblemKind::Unavailable, detail.to_owned())
        }
    };
    api::problem_response(&Problem::new(kind, detail))
}
