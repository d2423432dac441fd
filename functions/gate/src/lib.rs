//! What every function has in common: how a request reaches the use cases.
//!
//! What holds here: the one place where the route machinery and the use cases meet. A handler gets
//! an [`App`] that refuses what its route did not declare, and a [`Caller`] that was authenticated
//! and authorised before the body was read.

mod function;
mod list;

use std::ops::Deref;

use api::{Access, Idempotency, Service, Upload};
use app::files::Incoming;
use app::{App, Grant, Once};
use wire::Problem;

pub use function::{Function, Need, Trigger};
pub use list::Listing;

/// The use cases, as routes have them.
#[derive(Clone, Debug)]
pub struct Gate {
    app: App,
    tickets: bool,
}

/// A route over the use cases.
pub type Route = api::Route<Gate>;

/// Who is asking.
pub type Caller = api::Caller<app::Caller>;

impl Gate {
    /// Opens the use cases to routes.
    pub const fn new(app: App) -> Self {
        Self { app, tickets: false }
    }

    /// Opens the use cases also to whoever presents a ticket in place of a key: see
    /// [`App::elsewhere`].
    pub const fn with_tickets(app: App) -> Self {
        Self { app, tickets: true }
    }
}

impl Deref for Gate {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl Service for Gate {
    type Caller = app::Caller;
    type Grant = Grant;

    fn narrow(&self, grants: &'static [Grant]) -> Self {
        Self { app: self.app.narrow(grants), tickets: self.tickets }
    }

    fn request_id(&self) -> String {
        self.app.request_id().to_string()
    }

    async fn admit(
        &self,
        bearer: Option<&str>,
        access: Access,
        _request: &str,
    ) -> Result<app::Caller, Problem> {
        let ticket = bearer.filter(|bearer| self.tickets && App::is_ticket(bearer));
        let caller = match ticket {
            Some(ticket) => self.app.redeem(ticket).await?,
            None => self.app.authenticate(bearer).await?,
        };
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
        Ok(self.app.first_answer(caller, &once(idempotency.clone())).await?)
    }

    fn remember(&self, caller: app::Caller, idempotency: Idempotency) -> app::Caller {
        caller.once(once(idempotency))
    }
}

fn once(Idempotency { key, fingerprint }: Idempotency) -> Once {
    Once { key, fingerprint }
}

/// Bytes that a caller has sent, for the use cases.
pub fn incoming(upload: Upload) -> Incoming {
    match upload {
        Upload::Memory(bytes) => Incoming::Memory(bytes),
        Upload::Spooled(file, size) => Incoming::Spooled(file, size),
    }
}
