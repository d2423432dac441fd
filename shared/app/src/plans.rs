//! Plans: compiled, kept under their hash, read.
//!
//! What holds here: a plan is compiled from what is stored (the agent, its bundle, its realm's policy,
//! its container and its session) and from nothing a caller sends with a prompt. Its name is the SHA-256
//! of its canonical JSON, so the same plan is kept once and none ever changes. What a run is started with
//! is what its plan says, also where the agent was changed after the run was accepted.
//!
//! For use cases that start something: `of_spec` and `of_run` give a plan and its name without reading
//! anything; `write` is what keeps it, for the commit that first needs it. An agent of the
//! catalog (`registryAgent`) has no plan until its bundle is ready: see
//! [`bundles`](crate::bundles).

use domain::agent::{Agent, AgentSpec};
use domain::bundle::Bundle;
use domain::container::Profile;
use domain::plan::{AgentPlan, ExecutionPlan, NoPlan};
use domain::realm::Realm;
use domain::session::Setup;
use domain::{AgentId, AuditId, Digest};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use store::audit::Entry;
use store::plan::Stored;
use store::{Expect, Scope, Write, document, keys};
use wire::plan::PlanView;

use crate::{App, Caller, Error};

/// The use cases about plans.
#[derive(Clone, Copy, Debug)]
pub struct Plans<'a>(&'a App);

impl App {
    /// The use cases about plans.
    pub const fn plans(&self) -> Plans<'_> {
        Plans(self)
    }
}

impl Plans<'_> {
    /// One plan. One read.
    pub async fn get(&self, caller: &Caller, hash: Digest) -> Result<PlanView, Error> {
        let stored = self.load(caller.scope, hash).await?.ok_or(Error::NotFound("plan"))?;
        Ok(PlanView { hash, created_at: stored.created_at, plan: stored.plan })
    }

    /// A plan as it is kept. One read.
    pub(crate) async fn load(&self, scope: Scope, hash: Digest) -> Result<Option<Stored>, Error> {
        let key = keys::plan(scope, hash);
        Ok(document::get::<Stored>(self.0.table(), &key).await?.map(|loaded| loaded.value))
    }

    /// The plan that a spec compiles to; none where that takes a bundle. Reads nothing.
    pub(crate) fn of_spec(self, realm: &Realm, agent: AgentId, spec: &AgentSpec) -> Option<Stored> {
        let plan = ExecutionPlan::compile(realm.id, realm.policy, agent, spec, None);
        plan.ok().map(|plan| self.named(plan))
    }

    /// The plan of a run in a session and a container. `bundle` is that of an agent of the catalog. Reads
    /// nothing.
    pub(crate) fn of_run(
        self,
        realm: &Realm,
        agent: &Agent,
        bundle: Option<&Bundle>,
        (profile, setup): (Option<&Profile>, &Setup),
    ) -> Result<Stored, NoPlan> {
        let plan = ExecutionPlan::compile(realm.id, realm.policy, agent.id, &agent.spec, bundle)?;
        Ok(self.named(plan.within(profile, setup)))
    }

    fn named(self, plan: ExecutionPlan) -> Stored {
        Stored { hash: name(&plan), created_at: self.0.now(), plan }
    }

    /// What keeps a plan, if it is not kept. One read.
    pub(crate) async fn unless_kept(
        &self,
        scope: Scope,
        plan: Option<&Stored>,
    ) -> Result<Option<Write>, Error> {
        let Some(plan) = plan else { return Ok(None) };
        Ok(self.load(scope, plan.hash).await?.is_none().then(|| write(plan)))
    }

    /// What an agent is started with that no run needs; none while its bundle is not ready, or where the
    /// realm's policy has come to refuse it. Reads the bundle of one of the catalog.
    pub(crate) async fn process(
        &self,
        realm: &Realm,
        scope: Scope,
        agent: &Agent,
        profile: &Profile,
    ) -> Result<Option<AgentPlan>, Error> {
        if realm.policy.refuses(&agent.spec).is_some() {
            return Ok(None);
        }
        let bundle = match &agent.spec.registry_agent {
            Some(_) => self.0.bundles().ready(scope, &agent.spec).await?,
            None => None,
        };
        let plan =
            ExecutionPlan::compile(realm.id, realm.policy, agent.id, &agent.spec, bundle.as_ref());
        Ok(plan.ok().map(|plan| {
            let mut process = plan.process;
            process.inherit(Some(profile));
            process
        }))
    }

    /// Keeps a plan, which may be kept already. One commit.
    pub(crate) async fn keep(&self, plan: &Stored) -> Result<(), Error> {
        let app = self.0;
        let now = app.now();
        let entry = Entry {
            id: AuditId::new(app.ulid(now)),
            realm: plan.plan.realm,
            actor: None,
            action: "plan.compile".to_owned(),
            target: plan.hash.to_string(),
            time: now,
        };
        let writes = vec![write(plan), document::put(&entry, Expect::Absent)];
        match app.commit_own("plan.keep", writes).await {
            Err(Error::Conflict) => Ok(()),
            done => done,
        }
    }
}

/// What keeps a plan that is not kept yet.
pub(crate) fn write(plan: &Stored) -> Write {
    document::put(plan, Expect::Absent)
}

/// The name of what `value` is: the SHA-256 of its JSON with the fields in the order of their names.
pub(crate) fn digest_of(value: &impl serde::Serialize) -> Digest {
    let text = serde_json::to_value(value).map(|value| sorted(value).to_string());
    Digest::new(Sha256::digest(text.unwrap_or_default()).into())
}

fn name(plan: &ExecutionPlan) -> Digest {
    digest_of(plan)
}

/// The same JSON, its fields in the order of their names.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_does_not_depend_on_the_order_of_fields() {
        let one = json!({ "a": 1, "b": [{ "c": 2, "d": null }] });
        let other: Value = serde_json::from_str(r#"{"b":[{"d":null,"c":2}],"a":1}"#).unwrap();
        assert_eq!(digest_of(&one), digest_of(&other));
        assert_ne!(digest_of(&one), digest_of(&json!({ "a": 1, "b": [] })));
    }
}
