//! Nobody listens with a key that has stopped working.

use std::time::Duration;

use domain::KeyId;
use domain::key::ApiKey;
use store::{Scope, document, keys};

use super::{Errands, Outcome};
use crate::Error;

/// How long an index may take to show what was written.
const SHOWN: Duration = Duration::from_secs(5);

impl Errands<'_> {
    /// Sees that nobody listens with a key that has stopped working. Costs what listens.
    pub(super) async fn disconnect(
        &self,
        scope: Scope,
        key: KeyId,
        attempt: u32,
    ) -> Result<Outcome, Error> {
        let known = document::get::<ApiKey>(self.0.table(), &keys::api_key(key)).await?;
        if known.is_some_and(|known| known.value.is_live(self.0.now())) {
            return Ok(Outcome::Done);
        }
        self.0.stream().cut_all(scope, Some(key)).await?;
        // One that was opened just before may not be in the index yet.
        Ok(if attempt > 1 { Outcome::Done } else { Outcome::Again(SHOWN) })
    }
}
