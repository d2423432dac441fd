//! Run where something is deployed, against that.

mod connections;
mod egress;
mod killed;
mod limits;
mod refused;
mod routes;
mod schedulers;
mod streams;

use serde_json::Value;
use tests::account::Account;
use tests::fault_proxy::FaultProxy;
use tests::http::Client;
use tests::platform::Platform;
use tests::stream::Stream;

/// The deployment, its account, and a proxy before the account's services.
async fn disturbed() -> (Platform, Account, FaultProxy) {
    let account = Account::deployed();
    let proxy = FaultProxy::start(&account.endpoint).await;
    (Platform::deployed().await, account, proxy)
}

/// Whatever became of a run, once: as many states as there are, in their order, and one number after
/// the other.
async fn ran_once(client: &Client, session: &str, run: &str) {
    let past = client.past(session).await;
    let numbers: Vec<_> = past.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=past.len() as u64).collect::<Vec<_>>(), "no gap and no double");
    let of_run = past.iter().filter(|event| event["runId"] == run);
    let (mut states, mut prompts) = (Vec::new(), 0);
    for event in of_run {
        match event["type"].as_str() {
            Some("run_state") => states.extend(event["data"]["state"].as_str()),
            Some("user_message_chunk") => prompts += 1,
            _ => {}
        }
    }
    assert_eq!(states, ["queued", "dispatching", "streaming", "completed"]);
    assert_eq!(prompts, 1, "it was asked once");
}

/// Who follows a session, comes back with the cursor whenever it was sent away, and is told each event
/// once.
struct Follower {
    topic: String,
    stream: Stream,
    seen: Vec<Value>,
}

impl Follower {
    async fn of(client: &Client, session: &str) -> Self {
        let topic = format!("session:{session}");
        let mut stream = client.stream().await;
        stream.subscribe(&topic, Some(0)).await;
        stream.until("subscribed").await;
        Self { topic, stream, seen: Vec::new() }
    }

    /// Comes back on another connection.
    async fn again(&mut self, client: &Client) {
        self.stream = client.stream().await;
        self.stream.subscribe(&self.topic, Some(self.seen.len() as u64)).await;
    }

    /// Reads until the run has ended; how often it was sent away.
    async fn until_over(&mut self, client: &Client, run: &str) -> usize {
        let mut sent_away = 0;
        loop {
            let Some(frame) = self.stream.next().await else {
                sent_away += 1;
                self.again(client).await;
                continue;
            };
            for event in frame["events"].as_array().into_iter().flatten() {
                assert_eq!(event["seq"], self.seen.len() + 1, "no gap and no double");
                self.seen.push(event.clone());
            }
            let over = |event: &Value| {
                event["runId"] == run
                    && event["type"] == "run_state"
                    && ["completed", "cancelled", "failed"]
                        .contains(&event["data"]["state"].as_str().unwrap_or_default())
            };
            if self.seen.iter().any(over) {
                return sent_away;
            }
        }
    }
}
