//! The scripted model.
/// Its id.
pub const MODEL: &str = "scripted";
pub(crate) fn answer(_body: &[u8]) -> Result<axum::response::Response, crate::problem::Problem> {
    Err(crate::models::unavailable("not yet"))
}
