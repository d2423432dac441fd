//! What a normal run costs on DynamoDB: the write units of all that is committed from its prompt to its
//! end, as the table counts them that the emulator's own figures were held against, and of the realm's
//! log, which follows from the table's changes as `workers.changes` has it.
//!
//! Normal is: a model that says about a thousand pieces in all, live, around six calls of tools. What is
//! live is not stored. What is durable comes in the reports in which a shim of the cloud sends it: a
//! text, the call that ends it and what a quick tool answers within three quarters of a second are one;
//! what moves the run goes at once. Every commit is an invocation of the consumer of its own: no two
//! entries of the log share one. A second passes behind each report, so the errand that brought the
//! prompt looks once more whether it was taken. Nobody follows the run; for each topic that somebody
//! follows, a put for each entry would come on top. Nor does it have the upkeep of its container, which
//! takes the same with no run in it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::ports::Clock;
use app::shim::ShimCaller;
use app::stream::Change;
use app::{App, Ports, Settings};
use domain::SessionId;
use embedded::feed::LocalFeed;
use embedded::push::LocalPush;
use host::OsIds;
use serde_json::{Value, json};
use store::{Commit, Error, Item, Key, Page, Query, Table, Write};
use tests::clock::Hand;
use tests::nowhere::Nowhere;
use tests::write_units::WriteUnits;

use crate::table::model::Model;

/// Units that one such run may take, with its part of the realm's log: fewer than the 60 that are aimed at.
const MOST: u64 = 58;

/// Words as people and programs write them: their length matters, and how alike they are.
const TEXT: &str = include_str!("../../README.md");

/// A table that tells its changes, and appends nothing by itself.
#[derive(Debug)]
struct Told {
    clock: Arc<Hand>,
    kept: Mutex<(Model, VecDeque<Change>)>,
}

#[async_trait::async_trait]
impl Table for Told {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        Ok(self.kept.lock().unwrap().0.find(key, self.clock.now()).map(|row| row.item.clone()))
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        let (now, kept) = (self.clock.now(), self.kept.lock().unwrap());
        Ok(keys.iter().map(|key| kept.0.find(key, now).map(|row| row.item.clone())).collect())
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        Ok(self.kept.lock().unwrap().0.query(&query, self.clock.now()))
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let (now, mut kept) = (self.clock.now(), self.kept.lock().unwrap());
        kept.0.commit(&commit.writes, now)?;
        for write in &commit.writes {
            if let Write::Put { key, body, .. } = write
                && let Some(change) = Change::read(&key.pk, &key.sk, body)
            {
                kept.1.push_back(change.unwrap());
            }
        }
        Ok(())
    }
}

async fn say(app: &App, shim: ShimCaller, up: Value) {
    let answer = sockets::shim::frame(app, shim, "one", &up.to_string()).await;
    assert!(!matches!(answer.unwrap(), sockets::shim::Answer::Close), "{up}");
}

#[tokio::test]
async fn a_normal_run_takes_few_write_units() {
    let clock = Arc::new(Hand::default());
    let told = Told { clock: clock.clone(), kept: Mutex::default() };
    let table = Arc::new(WriteUnits::new(told));
    let compute = Arc::new(Nowhere::default());
    let ports = Ports {
        table: table.clone(),
        compute: compute.clone(),
        push: Arc::new(LocalPush::default()),
        feed: Arc::new(LocalFeed::default()),
        blobs: Arc::<tests::blobs::Memory>::default(),
        workspaces: Arc::new(app::ports::Elsewhere),
        fetch: Arc::new(app::ports::NoFetch),
        bundles: Arc::new(app::ports::NoBundles),
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
        let until = clock.now().after(Duration::from_secs(9));
        workers::scheduler::drain(&app, &*clock, until).await.unwrap();
    };
    let mut next = 0;
    let mut report = async |shim: ShimCaller, events: Vec<Value>| {
        let up = json!({ "report": { "session": session, "first": next, "events": events } });
        next += up["report"]["events"].as_array().unwrap().len();
        say(&app, shim, up).await;
        clock.advance(Duration::from_secs(1));
        drain().await;
    };

    // What the consumer of the table's changes does, one change at a time.
    let log = async || {
        loop {
            let change = table.inner().kept.lock().unwrap().1.pop_front();
            let Some(change) = change else { break };
            app.stream().sequence(&[change]).await.unwrap();
        }
    };
    let words = |from: usize, count: usize| TEXT.chars().skip(from).take(count).collect::<String>();

    // The first run starts the container; the one behind it is the normal one.
    let mut units = 0;
    let mut costs = Vec::new();
    for ask in ["wake up", "look at the repository and say what it is"] {
        let before = table.units();
        let run = app.sessions().prompt(&caller, session, prompt(ask)).await.unwrap().id;
        drain().await;
        let plan = compute.asked().pop().expect("a container was asked for");
        let shim = app.authenticate_shim(Some(&plan.token)).unwrap();
        if units == 0 {
            let hello = json!({ "protocol": 1, "container": plan.container,
                "generation": plan.generation, "version": "1" });
            say(&app, shim, json!({ "hello": hello })).await;
        }
        let update = |kind: &str, data: Value| json!({ "run": run, "what": { "update": { "kind": kind, "data": data } } });
        let text = |part: usize| {
            let content = json!({ "type": "text", "text": words(700 * part, 700) });
            update(
                "agent_message_chunk",
                json!({ "messageId": format!("m{part}"), "content": content }),
            )
        };
        report(shim, vec![json!({ "run": run, "what": { "started": { "acp_session": "a" } } })])
            .await;
        for call in 0..6 {
            let id = format!("call_{call}");
            let begun = json!({ "toolCallId": id, "title": "read README.md", "kind": "read", "status": "pending",
                "rawInput": { "path": "/workspace/README.md" } });
            let read = words(8_000 + 500 * call, 500);
            let done = json!({ "toolCallId": id, "status": "completed",
                "content": [{ "type": "content", "content": { "type": "text", "text": read } }] });
            let gathered =
                [text(call), update("tool_call", begun), update("tool_call_update", done)];
            report(shim, gathered.into()).await;
        }
        let ended = json!({ "ended": { "outcome": "completed", "stopReason": "end_turn" } });
        report(shim, vec![text(6), json!({ "run": run, "what": ended })]).await;
        drain().await;
        log().await;
        costs = table
            .units()
            .into_iter()
            .filter_map(|(name, sum)| {
                let taken = sum - before.get(name).copied().unwrap_or(0);
                (taken > 0).then_some((name, taken))
            })
            .collect();
        units = costs.iter().map(|(_, taken)| taken).sum();
    }
    assert_eq!(
        app.sessions().get(&caller, session).await.unwrap().state,
        domain::session::SessionState::WaitingInput
    );
    println!("{units} write units for a normal run: {costs:?}");
    assert!(units <= MOST, "{units} write units: {costs:?}");
}
