//! What the control plane does with what a shim says.
//!
//! A shim is believed about its own start of its own container and nothing else: its token names
//! both and is signed. What it reports is numbered, and counts once.

mod asked;
mod commands;
mod connection;
mod process;
mod report;

use domain::container::Container;
use domain::id::Ulid;
use domain::{ContainerId, RealmId};
use store::Scope;
use store::document::Loaded;
use subtle::ConstantTimeEq;
use wire::shim::Live;

pub use self::connection::Dismissed;
pub use self::report::Receipt;
use crate::ports::LiveEvent;
use crate::{App, Error};

/// A shim that has proved which start of which container it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShimCaller {
    scope: Scope,
    container: ContainerId,
    generation: u32,
}

impl ShimCaller {
    /// Who was found out before, when the connection was opened.
    pub(crate) const fn known(scope: Scope, container: ContainerId, generation: u32) -> Self {
        Self { scope, container, generation }
    }

    /// The realm of the container.
    pub(crate) const fn scope(&self) -> Scope {
        self.scope
    }

    /// Which start of the container it is in.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// The realm it works for.
    pub const fn realm(&self) -> RealmId {
        self.scope.realm()
    }

    /// The container it is in.
    pub const fn container(&self) -> ContainerId {
        self.container
    }
}

impl App {
    /// Finds out which shim presents `bearer`. No read: the token is signed.
    pub fn authenticate_shim(&self, bearer: Option<&str>) -> Result<ShimCaller, Error> {
        let refused = || Error::Unauthenticated("the shim's token is missing or not ours");
        let token = bearer.ok_or_else(refused)?;
        let (claim, signature) = token.rsplit_once('_').ok_or_else(refused)?;
        let genuine = self.sign(claim)?.as_bytes().ct_eq(signature.as_bytes());
        if !bool::from(genuine) {
            return Err(refused());
        }
        let mut parts = claim.strip_prefix("st_").ok_or_else(refused)?.splitn(3, '_');
        let mut ulid = || parts.next().and_then(|part| Ulid::from_string(part).ok());
        let (realm, container) = (ulid().ok_or_else(refused)?, ulid().ok_or_else(refused)?);
        let generation = parts.next().and_then(|part| part.parse().ok()).ok_or_else(refused)?;
        #[expect(clippy::disallowed_methods, reason = "this is authentication")]
        let scope = Scope::grant(RealmId::new(realm));
        Ok(ShimCaller { scope, container: ContainerId::new(container), generation })
    }

    /// Passes on what is being said right now. Reads who follows it, unless nobody can.
    pub async fn shim_said(&self, shim: ShimCaller, live: Live) {
        let Live { agent, session, run, kind, offset, data } = live;
        let event = LiveEvent { kind, run, time: self.now(), offset, data };
        if let Err(error) = self.stream().say(shim.scope, agent, session, &event).await {
            tracing::warn!(%shim, %error, "what is being said reaches no stream");
        }
        self.ports.feed.publish_live(shim.scope.realm(), session, event);
    }

    /// The container, if the shim's start is the present one.
    async fn start_of(&self, shim: ShimCaller) -> Result<Option<Loaded<Container>>, Error> {
        let container = self.containers().load(shim.scope, shim.container).await?;
        Ok(container.filter(|c| c.value.generation == shim.generation && c.value.state.may_run()))
    }
}

impl std::fmt::Display for ShimCaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} generation {}", self.container, self.generation)
    }
}
