//! What every route costs: how often it goes to the table, however much is there; and that it works
//! with nothing but the grants it declares.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::{Access, Verb};
use domain::agent::{Agent, AgentSpec, AgentState, Driver};
use domain::id::Ulid;
use domain::run::{PermissionRequest, Run, RunState};
use domain::text::Name;
use domain::{AgentId, Timestamp};
use futures::future::join_all;
use store::{Commit, Scope, Table, document};
use tests::sample;

use crate::in_process::InProcess;

/// The standing exception, of every route that is not anybody's: two reads, one after the other, before
/// its own. The key says which realm it is of, and only then can the realm be read, which may be suspended.
/// A key that named its realm would save one; keys are secrets that were handed out, and name nothing but
/// themselves.
const AUTHENTICATION: usize = 2;

/// Routes that read more than once beside that, and why. What reads, reads once; what writes, reads once
/// and commits once.
const EXCEPTIONS: &[(&str, usize, &str)] = &[
    ("registry.agents", 2, "the realm's own and the registry's are two lists"),
    ("registry.resolve", 2, "the catalog says which bundle is meant"),
    ("files.rollback", 2, "the snapshot is read before the workspace is held"),
    ("agents.recover", 3, "what is started wakes its agent and tells its sessions"),
    ("containers.install", 2, "the container takes the agent, and the agent has no other"),
    ("containers.recover", 2, "what is started needs room"),
    ("containers.restart", 3, "what is started needs room, and wakes its agent"),
    ("containers.start", 3, "what is started needs room, and wakes its agent"),
    ("containers.wake", 2, "what is started needs room"),
    ("runs.cancel", 2, "the run says which session it is in, and the session decides"),
    ("sessions.cancel", 2, "without a run, the session says which one is in flight"),
    ("sessions.fork", 2, "the session says which agent it is with"),
    ("sessions.events", 2, "whether there is such a session is asked at the same time"),
    (
        "sessions.prompt",
        3,
        "the session says which agent it is with, and that what it needs to start",
    ),
    ("sessions.runs", 2, "whether there is such a session is asked at the same time"),
];

/// What each route costs: reads beyond authentication's, and commits.
async fn costs(reeve: &InProcess) -> BTreeMap<&'static str, (usize, usize)> {
    let mut costs = BTreeMap::new();
    for route in routes::routes() {
        let mut ids = reeve.everything().await;
        if route.id == "sessions.cancel" {
            ids.insert("sessionId", ids["busySessionId"].clone());
        } else if route.id == "containers.recover" {
            reeve.fail_container(&ids["containerId"]).await;
        } else if route.id == "agents.recover" {
            reeve.run_container(&ids["sessionId"]).await;
            reeve.fail_container(&ids["agentId"].replace("agt_", "ctr_")).await;
        } else if route.id == "runs.answer" {
            ids.insert("requestId", ask(reeve, &ids["runId"]).await);
        }
        let answer = reeve.call(&route, &ids).await;
        assert_eq!(answer.status, route.status(), "{}: {:#}", route.id, answer.body);
        let first = if route.access == Access::Public { 0 } else { AUTHENTICATION };
        costs.insert(route.id, (answer.reads - first, answer.commits));
    }
    costs
}

/// Lets a run wait for an answer, as if its agent had asked; the id of the request.
async fn ask(reeve: &InProcess, run: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "stands for the shim")]
    let key = store::keys::run(Scope::grant(reeve.realm), run.parse().unwrap());
    let loaded = document::get::<Run>(&*reeve.table, &key).await.unwrap().unwrap();
    let (expect, mut run) = (loaded.expect(), loaded.value);
    let request = PermissionRequest {
        id: "ask_1".to_owned(),
        title: "may it".to_owned(),
        options: Vec::new(),
        answer: None,
    };
    run.permissions.push(request);
    run.state = RunState::AwaitingApproval;
    let writes = vec![document::put(&run, expect)];
    reeve.table.commit(Commit { name: "test.ask", writes }).await.unwrap();
    "ask_1".to_owned()
}

async fn fill(reeve: &InProcess, agents: u64) {
    let agents: Vec<_> = (0..agents)
        .map(|n| Agent {
            id: AgentId::new(Ulid::from_parts(1, u128::from(n))),
            realm: reeve.realm,
            name: Name::new("filler").unwrap(),
            labels: [("team", "one")]
                .map(|(key, value)| (key.parse_label(), value.parse_value()))
                .into(),
            spec: AgentSpec::of(Driver::Acp),
            template: None,
            state: AgentState::Active,
            container: None,
            plan: None,
            reclaim_at: None,
            reclaimed_at: None,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        })
        .collect();
    join_all(agents.chunks(40).map(|some| {
        let writes = some.iter().flat_map(store::agent::create).collect();
        reeve.table.inner.commit(Commit { name: "test.fill", writes })
    }))
    .await
    .into_iter()
    .for_each(Result::unwrap);
}

/// Checked text from a constant.
trait Text {
    fn parse_label(&self) -> domain::text::LabelKey;
    fn parse_value(&self) -> domain::text::LabelValue;
}

impl Text for &str {
    fn parse_label(&self) -> domain::text::LabelKey {
        domain::text::LabelKey::new(*self).unwrap()
    }

    fn parse_value(&self) -> domain::text::LabelValue {
        domain::text::LabelValue::new(*self).unwrap()
    }
}

#[tokio::test]
async fn every_route_keeps_to_its_round_trips_however_much_is_there() {
    let (small, large) = (InProcess::start().await, InProcess::start().await);
    fill(&small, 10).await;
    fill(&large, 10_000).await;
    let costs_of_few = costs(&small).await;
    assert_eq!(costs(&large).await, costs_of_few, "a route costs more where more is");
    let mut table = format!(
        "Beside these, every route but the public ones reads {AUTHENTICATION} times, one after the other: \
         the caller's key, and its realm.\n\n"
    );
    for route in routes::routes() {
        let (reads, commits) = costs_of_few[route.id];
        let _ = writeln!(table, "{:20} {reads} reads {commits} commits", route.id);
        let exception = EXCEPTIONS.iter().find(|(id, ..)| *id == route.id);
        assert!(reads <= exception.map_or(1, |(_, reads, _)| *reads), "{} {reads}", route.id);
        assert_eq!(commits, usize::from(route.verb != Verb::Get), "{}", route.id);
    }
    for (id, reads, _) in EXCEPTIONS {
        assert_eq!(costs_of_few[id].0, *reads, "{id} is no exception any more");
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn a_filter_costs_a_read_at_most() {
    let reeve = InProcess::start().await;
    fill(&reeve, 10_000).await;
    let ids = reeve.everything().await;
    for (path, reads) in [
        ("/v1/agents?state=active&limit=100", 1),
        ("/v1/agents?label=team%3Done&limit=100", 2),
        ("/v1/agents?label=team%3Done&state=paused&limit=100", 2),
        (&format!("/v1/sessions?agentId={}", ids["agentId"]), 1),
    ] {
        let answer = reeve.send("get", path, None).await;
        assert_eq!((answer.status, answer.reads), (200, AUTHENTICATION + reads), "{path}");
    }
    // A refusal costs less than what it refuses.
    for route in sample::guarded() {
        let (verb, path) = (route.verb.as_str(), sample::path(&route, &ids));
        let refused = reeve.send(verb, &path, Some(&"nonsense".into())).await;
        if sample::needs_body(&route) {
            assert_eq!(
                (refused.status, refused.reads, refused.commits),
                (400, 2, 0),
                "{}",
                route.id
            );
        }
    }
}
