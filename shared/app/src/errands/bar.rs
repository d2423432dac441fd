//! A run of an agent that its realm's policy refuses ends before it reaches the agent: one that waited
//! while the policy changed. Those that come later are refused when they are asked for.

use domain::agent::Agent;
use domain::realm::Realm;
use domain::run::{End, RunState};
use domain::session::Session;
use store::{Scope, document, keys};

use super::Errands;
use crate::Error;
use crate::turn::load_run;

/// The code of such a run.
const REFUSED: &str = "policy_refused";

impl Errands<'_> {
    /// Ends the run in flight where the policy refuses it, and nobody has heard of it. Whether it was
    /// ended. Two reads, and one commit where it was.
    pub(super) async fn bar(&self, scope: Scope, session: &Session) -> Result<bool, Error> {
        let Some(run) = session.active else { return Ok(false) };
        if load_run(self.0, scope, run).await?.value.state != RunState::Dispatching {
            return Ok(false);
        }
        let (agent, realm) = document::get_both::<Agent, Realm>(
            self.0.table(),
            &keys::agent(scope, session.agent),
            &keys::realm(scope),
        )
        .await?;
        let (Some(agent), Some(realm)) = (agent, realm) else { return Ok(false) };
        let Some(why) = realm.value.policy.refuses(&agent.value.spec) else { return Ok(false) };
        self.without_plan(scope, session, &End::failure(REFUSED, why)).await?;
        Ok(true)
    }
}
