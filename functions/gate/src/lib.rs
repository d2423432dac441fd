//! What every function has in common: how a request reaches the use cases.
//!
//! What holds here: the one place where the route machinery and the use cases meet. A handler gets
//! an [`App`] that refuses what its route did not declare, and a [`Caller`] that was authenticated
//! and authorised before the body was read.

mod function;
mod list;

use std::ops::Deref;

use api::{Access, Idempotency, Service};
use app::{App, Grant, Once};
use wire::Problem;

pub use function::{Function, Need, Trigger};
pub use list::Listing;

/// The use cases, as routes have them.
#[derive(Clone, Debug)]
pub struct Gate(App);

/// A route over the use cases.
pub type Route = api::Route<Gate>;

/// Who is asking.
pub type Caller = api::Caller<app::Caller>;

impl Gate {
    /// Opens the use cases to routes.
    pub const fn new(app: App) -> Self {
        Self(app)
    }
}

impl Deref for Gate {
    type Target = App;

    fn deref(&self) -> &App {
        &self.0
    }
}

impl Service for Gate {
    type Caller = app::Caller;
    type Grant = Grant;

    fn narrow(&self, grants: &'static [Grant]) -> Self {
        Self(self.0.narrow(grants))
    }

    fn request_id(&self) -> String {
        self.0.request_id().to_string()
    }

    async fn admit(
        &self,
        bearer: Option<&str>,
        access: Access,
        _request: &str,
    ) -> Result<app::Caller, Problem> {
        let caller = self.0.authenticate(bearer).await?;
        // For whoever logs requests: the span has a place for it, or nothing happens.
        tracing::Span::current().record("realm", tracing::field::display(caller.realm()));
        match access {
            Access::Public | Access::Key => {}
            Access::Scope(scope) => App::authorise(&caller, scope)?,
        }
        Ok(caller)
    }

    async fn replay(
        &self,
        caller: &app::Caller,
        idempotency: &Idempotency,
    ) -> Result<Option<Vec<u8>>, Problem> {
        Ok(self.0.first_answer(caller, &once(idempotency.clone())).await?)
    }

    fn remember(&self, caller: app::Caller, idempotency: Idempotency) -> app::Caller {
        caller.once(once(idempotency))
    }
}

fn once(Idempotency { key, fingerprint }: Idempotency) -> Once {
    Once { key, fingerprint }
}
