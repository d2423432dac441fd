//! What a normal run costs on DynamoDB: the write units of all that is committed from its prompt to its
//! end, as the table counts them that the emulator's own figures were held against.
//!
//! Normal is: a model that says about a thousand pieces in all, live, around six calls of tools. What is
//! live is not stored; what is durable comes in the reports in which a shim sends it, one for each time
//! that its agent waits for something.

use std::sync::{Arc, Mutex};

use app::ports::{Compute, ComputeError, Observed};
use app::shim::ShimCaller;
use app::{App, Ports, Settings};
use domain::plan::ContainerPlan;
use domain::{AgentId, ContainerId, SessionId};
use embedded::feed::LocalFeed;
use embedded::push::LocalPush;
use embedded::sqlite::SqliteTable;
use host::{OsIds, SystemClock};
use serde_json::{Value, json};
use tests::write_units::WriteUnits;

/// Units that one such run may take. What is aimed at is 60: each report is a transaction, which pays
/// for session and events twice, and the realm's log and the session's place in its index besides.
const MOST: u64 = 125;

/// Where containers are asked for, and nothing runs.
#[derive(Debug, Default)]
struct Asked(Mutex<Option<ContainerPlan>>);

#[async_trait::async_trait]
impl Compute for Asked {
    async fn provision(&self, plan: &ContainerPlan) -> Result<(), ComputeError> {
        *self.0.lock().unwrap() = Some(plan.clone());
        Ok(())
    }

    async fn stop(&self, _: ContainerId) -> Result<(), ComputeError> {
        Ok(())
    }

    async fn describe(&self, _: ContainerId) -> Result<Option<Observed>, ComputeError> {
        Ok(None)
    }

    async fn list(&self) -> Result<Vec<Observed>, ComputeError> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: AgentId) -> Result<(), ComputeError> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), ComputeError> {
        Ok(())
    }
}

async fn say(app: &App, shim: ShimCaller, up: Value) {
    let answer = sockets::shim::frame(app, shim, "one", &up.to_string()).await;
    assert!(!matches!(answer.unwrap(), sockets::shim::Answer::Close), "{up}");
}

#[tokio::test]
async fn a_normal_run_takes_few_write_units() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::default());
    let sqlite = SqliteTable::open(dir.path().join("reeve.db"), clock.clone()).unwrap();
    let table = Arc::new(WriteUnits::new(sqlite));
    let compute = Arc::new(Asked::default());
    let ports = Ports {
        table: table.clone(),
        compute: compute.clone(),
        push: Arc::new(LocalPush::default()),
        feed: Arc::new(LocalFeed::default()),
        clock: clock.clone(),
        ids: Arc::new(OsIds::default()),
    };
    let app = App::new(ports, Settings::new(Some([7; 32])));
    let key = format!("rk_{}_a-secret-of-a-test", "01JD3Z6V0QK5S8M2W4X7Y9ABCD");
    app.realms().bootstrap(&key.parse().unwrap()).await.unwrap();
    let caller = app.authenticate(Some(&key)).await.unwrap();
    let new = serde_json::from_value(json!({ "name": "a", "driver": "vanilla" })).unwrap();
    let agent = app.agents().create(&caller, new).await.unwrap().id;
    let new = serde_json::from_value(json!({ "agentId": agent })).unwrap();
    let session: SessionId = app.sessions().create(&caller, new).await.unwrap().id;
    let prompt = |text: &str| serde_json::from_value(json!({ "prompt": text })).unwrap();
    let drain = async || {
        let until = app::ports::Clock::now(&*clock).after(std::time::Duration::from_secs(9));
        workers::scheduler::drain(&app, &*clock, until).await.unwrap();
    };
    let mut next = 0;
    let mut report = async |shim: ShimCaller, events: Vec<Value>| {
        let up = json!({ "report": { "session": session, "first": next, "events": events } });
        next += up["report"]["events"].as_array().unwrap().len();
        say(&app, shim, up).await;
    };

    // The first run starts the container; the one behind it is the normal one.
    let mut units = 0;
    for ask in ["wake up", "look at the repository and say what it is"] {
        let before = table.total();
        let run = app.sessions().prompt(&caller, session, prompt(ask)).await.unwrap().id;
        drain().await;
        let plan = compute.0.lock().unwrap().clone().expect("a container was asked for");
        let shim = app.authenticate_shim(Some(&plan.token)).unwrap();
        let hello = json!({ "protocol": 1, "container": plan.container, "generation": plan.generation, "version": "1" });
        say(&app, shim, json!({ "hello": hello })).await;
        let update = |kind: &str, data: Value| json!({ "run": run, "what": { "update": { "kind": kind, "data": data } } });
        report(shim, vec![json!({ "run": run, "what": { "started": { "acp_session": "a" } } })])
            .await;
        for call in 0..6 {
            let said = json!({ "content": { "type": "text", "text": "word ".repeat(150) } });
            let id = format!("call_{call}");
            let begun = json!({ "toolCallId": id, "title": "read README.md", "kind": "read", "status": "pending",
                "rawInput": { "path": "/workspace/README.md" } });
            report(shim, vec![update("agent_message_chunk", said), update("tool_call", begun)])
                .await;
            let done = json!({ "toolCallId": id, "status": "completed",
                "content": [{ "type": "content", "content": { "type": "text", "text": "line\n".repeat(100) } }] });
            report(shim, vec![update("tool_call_update", done)]).await;
        }
        let said = json!({ "content": { "type": "text", "text": "word ".repeat(150) } });
        let ended = json!({ "ended": { "outcome": "completed", "stopReason": "end_turn" } });
        report(
            shim,
            vec![update("agent_message_chunk", said), json!({ "run": run, "what": ended })],
        )
        .await;
        drain().await;
        units = table.total() - before;
    }
    assert_eq!(
        app.sessions().get(&caller, session).await.unwrap().state,
        domain::session::SessionState::WaitingInput
    );
    assert!(units <= MOST, "{units} write units: {:#?}", table.units());
    println!("{units} write units for a normal run");
}
