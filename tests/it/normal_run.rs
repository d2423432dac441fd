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
//!
//! And the read units: those of the run, with the row of its connection for each frame of its shim and who
//! follows what it writes, and those of what is being said in it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::ports::Clock;
use app::shim::ShimCaller;
use app::stream::{Change, Delivery};
use app::{App, Ports, Settings};
use domain::SessionId;
use embedded::feed::LocalFeed;
use embedded::push::{LocalPush, Peer};
use host::OsIds;
use serde_json::{Value, json};
use store::{Commit, Error, Item, Key, Page, Query, Table, Write};
use tests::clock::Hand;
use tests::nowhere::Nowhere;
use tests::write_units::WriteUnits;
use tokio::sync::mpsc;

use crate::table::model::Model;

/// Units that one such run may take, with its part of the realm's log: fewer than the 60 that are aimed at.
const MOST: u64 = 58;

/// Read units that it may take, with its part of the log and of who follows it, but for what is being said.
const MOST_READ: u64 = 140;

/// How often something is said in two minutes, four times a second.
const PIECES: u64 = 480;

/// As functions have it.
const UNHEARD: Duration = Duration::from_secs(2);

/// Words as people and programs write them: their length matters, and how alike they are.
const TEXT: &str = include_str!("../../README.md");

/// A table that tells its changes, and appends nothing by itself.
#[derive(Debug)]
struct Told {
    clock: Arc<Hand>,
    kept: Mutex<(Model, VecDeque<Change>)>,
    read: AtomicU64,
}

impl Told {
    /// Counts a read of these: a unit for each 4 KB begun, and one where nothing is found. As if each were
    /// consistent, and no body were stored shorter than it is.
    fn count<'a>(&self, items: impl IntoIterator<Item = &'a Item>) {
        let bytes = |item: &Item| item.key.pk.len() + item.key.sk.len() + item.body.len() + 64;
        let units = items.into_iter().map(bytes).sum::<usize>().div_ceil(4096).max(1);
        self.read.fetch_add(units as u64, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl Table for Told {
    async fn get(&self, key: &Key) -> Result<Option<Item>, Error> {
        let found = self.batch_get(std::slice::from_ref(key)).await?;
        Ok(found.into_iter().next().flatten())
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Error> {
        let (now, kept) = (self.clock.now(), self.kept.lock().unwrap());
        let find = |key: &Key| kept.0.find(key, now).map(|row| row.item.clone());
        let found: Vec<_> = keys.iter().map(find).collect();
        for item in &found {
            self.count(item);
        }
        Ok(found)
    }

    async fn query(&self, query: Query) -> Result<Page, Error> {
        let page = self.kept.lock().unwrap().0.query(&query, self.clock.now());
        self.count(&page.items);
        Ok(page)
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

/// Says a frame, as the WebSocket API hands it on: who says it is read from the table.
async fn say(app: &App, shim: ShimCaller, up: Value) {
    let known = app.stream().peer("one").await.unwrap();
    assert!(matches!(known, Some(app::stream::Peer::Shim(_))), "{up}");
    let up = sockets::shim::read(shim, &up.to_string()).unwrap();
    sockets::shim::handle(app, shim, "one", up).await.unwrap();
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, in the order in which it goes")]
async fn a_normal_run_takes_few_units() {
    let clock = Arc::new(Hand::default());
    let told = Told { clock: clock.clone(), kept: Mutex::default(), read: AtomicU64::default() };
    let table = Arc::new(WriteUnits::new(told));
    let compute = Arc::new(Nowhere::default());
    // A client is there, and so has to be looked for, as always where nobody knows.
    let (frames, mut heard) = mpsc::channel(1000);
    let push = Arc::new(LocalPush::default());
    push.register("client", Peer::Client, frames);
    let ports = Ports {
        table: table.clone(),
        compute: compute.clone(),
        push: push.clone(),
        feed: Arc::new(LocalFeed::default()),
        blobs: Arc::<tests::blobs::Memory>::default(),
        workspaces: Arc::new(app::ports::Elsewhere),
        fetch: Arc::new(app::ports::NoFetch),
        bundles: Arc::new(app::ports::NoBundles),
        uploads: Arc::new(app::ports::NoUploads),
        clock: clock.clone(),
        ids: Arc::new(OsIds::default()),
    };
    let settings = Settings { unheard: UNHEARD, ..Settings::new(Some([7; 32])) };
    let app = App::new(ports, settings);
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
            app.stream().sequence(std::slice::from_ref(&change)).await.unwrap();
            app.stream().publish(vec![change], Delivery::Again).await.unwrap();
        }
    };
    let words = |from: usize, count: usize| TEXT.chars().skip(from).take(count).collect::<String>();

    // The first run starts the container; the one behind it is the normal one.
    let (mut units, mut reads, mut last) = (0, 0, None);
    let mut costs = Vec::new();
    for ask in ["wake up", "look at the repository and say what it is"] {
        let (before, read_before) = (table.units(), table.inner().read());
        let run = app.sessions().prompt(&caller, session, prompt(ask)).await.unwrap().id;
        drain().await;
        let plan = compute.asked().pop().expect("a container was asked for");
        let shim = app.authenticate_shim(Some(&plan.token)).unwrap();
        if units == 0 {
            app.stream().connect_shim("one", shim).await.unwrap();
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
        reads = table.inner().read() - read_before;
        last = Some((shim, run));
    }
    assert_eq!(
        app.sessions().get(&caller, session).await.unwrap().state,
        domain::session::SessionState::WaitingInput
    );
    println!("{units} write units for a normal run: {costs:?}");
    assert!(units <= MOST, "{units} write units: {costs:?}");

    // Two minutes of what is being said, which nobody follows.
    let (shim, run) = last.expect("a run");
    let live = async |offset: u64| {
        let data = json!({ "messageId": "m", "text": "piece" });
        let live = json!({ "agent": agent, "session": session, "run": run,
            "kind": "agent_message_delta", "offset": offset, "data": data });
        say(&app, shim, json!({ "live": live })).await;
        clock.advance(Duration::from_millis(250));
    };
    let before = table.inner().read();
    for offset in 0..PIECES {
        live(offset).await;
    }
    let of_pieces = table.inner().read() - before;
    println!("{reads} read units for a normal run, and {of_pieces} for what is being said in it");
    assert!(reads <= MOST_READ, "{reads} read units");
    // Each frame's own connection, and three topics now and then.
    assert!(of_pieces <= PIECES + 3 * (PIECES / 8 + 1), "{of_pieces} read units");

    // Somebody comes: what is durable comes at once, and what is being said in a moment.
    let ticket = app.stream().ticket(&caller).await.unwrap().ticket;
    sockets::client::connect(&app, "client", Some(&ticket)).await.unwrap();
    live(PIECES).await;
    let subscribe = json!({ "type": "subscribe", "topic": format!("session:{session}") });
    sockets::client::frame(&app, "client", &subscribe.to_string()).await.unwrap();
    let mut came = || {
        let mut kinds = Vec::new();
        while let Ok(frame) = heard.try_recv() {
            let frame: Value = serde_json::from_str(&frame).unwrap();
            kinds.push(frame["type"].as_str().unwrap().to_owned());
        }
        kinds
    };
    assert_eq!(came(), ["subscribed"]);
    live(PIECES + 1).await;
    assert!(came().is_empty(), "nobody was there a moment ago");
    app.sessions().prompt(&caller, session, prompt("and now?")).await.unwrap();
    log().await;
    assert_eq!(came(), ["events"]);
    clock.advance(UNHEARD);
    live(PIECES + 2).await;
    live(PIECES + 3).await;
    assert_eq!(came(), ["live", "live"]);
}
