//! `GET /v1/templates`

use api::{Failure, Found, Params, handler};
use app::Grant;
use axum::extract::State;
use gate::{Caller, Gate, Listing, Route};
use wire::template::TemplateView;
use wire::{Page, Scope};

/// List templates, built-in ones last.
pub(crate) const ROUTE: Route = Route::get("templates.list", "/v1/templates", handler!(list))
    .summary("List templates, built-in ones last")
    .scope(Scope::AgentsRead)
    .grants(&[Grant::TableRead]);

async fn list(
    State(app): State<Gate>,
    api::Caller(caller): Caller,
    Params(listing): Params<Listing>,
) -> Result<Found<Page<TemplateView>>, Failure> {
    Ok(Found(app.templates().list(&caller, listing.paging()?).await?))
}
