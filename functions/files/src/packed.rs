//! What is taken along of a workspace, as an answer: the archive, or what it would hold.

use api::{Found, Operation, Output, attachment};
use app::files::Exported;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use wire::files::ExportManifest;

/// What is taken along, and the name of the file that it makes.
pub(crate) struct Packed(pub(crate) String, pub(crate) Exported);

impl Output for Packed {
    const STATUS: u16 = 200;

    fn describe(operation: &mut Operation<'_>) {
        operation.reply::<ExportManifest>(200);
        let bytes = json!({ "type": "string", "format": "binary" });
        operation.reply_as(200, "application/x-tar", &bytes);
        operation.elsewhere();
    }
}

impl IntoResponse for Packed {
    fn into_response(self) -> Response {
        match self {
            Self(_, Exported::Manifest(manifest)) => Found(manifest).into_response(),
            Self(name, Exported::Tar(content)) => attachment("application/x-tar", &name, content),
        }
    }
}
