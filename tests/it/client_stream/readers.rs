//! Readers who come at any moment, go at any moment, and come back with their cursors, while much
//! happens and reeve is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::http::{Client, PATIENCE};
use tests::reeve::{Options, Reeve};
use tests::stream::Stream;
use tokio::sync::watch;
use tokio::time::timeout;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Who follows one topic from its beginning until so many runs are over, on as many connections as it
/// takes.
struct Reader {
    topic: String,
    runs: usize,
    dice: Dice,
    cursor: u64,
    over: usize,
    connections: usize,
    told: BTreeMap<String, Vec<Value>>,
}

impl Reader {
    fn new(topic: String, runs: usize, seed: u64) -> Self {
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let told = BTreeMap::new();
        Self { topic, runs, dice, cursor: 0, over: 0, connections: 0, told }
    }

    /// Takes a frame: it must go on where the last one ended.
    fn take(&mut self, frame: &Value) {
        let session = frame["sessionId"].as_str().unwrap();
        let events = frame["events"].as_array().unwrap();
        let told = self.told.entry(session.to_owned()).or_default();
        for event in events {
            assert_eq!(event["seq"], told.len() + 1, "no gap, no double in {}", self.topic);
            told.push(event.clone());
            let state = event["data"]["state"].as_str().unwrap_or_default();
            let over = event["type"] == "run_state"
                && ["completed", "cancelled", "failed"].contains(&state);
            self.over += usize::from(over);
        }
        let cursor = frame["cursor"].as_u64().unwrap();
        assert!(cursor >= self.cursor + events.len() as u64, "cursors grow in {}", self.topic);
        self.cursor = cursor;
    }

    /// Follows until all runs are over. Goes by itself now and then; comes back whenever it was sent
    /// away.
    async fn follow(mut self, mut reeve: watch::Receiver<Client>) -> Self {
        while self.over < self.runs {
            let client = reeve.borrow_and_update().clone();
            let Some(mut stream) = try_stream(&client).await else {
                // It is down: wait for the next one.
                let next = timeout(PATIENCE, reeve.changed()).await;
                next.expect("it comes up again").unwrap();
                continue;
            };
            self.connections += 1;
            stream.subscribe(&self.topic, Some(self.cursor)).await;
            let mut frames = 1 + self.dice.below(8);
            while frames > 0 && self.over < self.runs {
                let Some(frame) = stream.next().await else { break };
                match frame["type"].as_str().unwrap() {
                    "events" => {
                        self.take(&frame);
                        frames -= 1;
                    }
                    "unsubscribed" => break,
                    "subscribed" | "live" => {}
                    _ => panic!("{frame:#}"),
                }
            }
        }
        self
    }
}

/// A stream, unless nobody answers.
async fn try_stream(client: &Client) -> Option<Stream> {
    let request = client.request(reqwest::Method::POST, "/v1/stream/tickets");
    let made = Client::try_send(request).await.ok()?;
    assert_eq!(made.status, 201, "{:#}", made.body);
    Stream::try_open(&made.text("/url"), &made.text("/ticket")).await
}

/// Two agents with two sessions each.
async fn sessions(client: &Client) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for _ in 0..2 {
        let agent = client.agent().await;
        let sessions = vec![client.session(&agent).await, client.session(&agent).await];
        all.push((agent, sessions));
    }
    all
}

/// Readers of every topic, each several times.
fn readers(all: &[(String, Vec<String>)], runs: usize) -> Vec<Reader> {
    let mut topics = vec![("realm".to_owned(), 4 * runs)];
    for (agent, sessions) in all {
        topics.push((format!("agent:{agent}"), 2 * runs));
        topics.extend(sessions.iter().map(|session| (format!("session:{session}"), runs)));
    }
    let each = topics.into_iter().flat_map(|topic| [topic.clone(), topic]);
    each.zip(1..).map(|((topic, runs), seed)| Reader::new(topic, runs, seed)).collect()
}

/// Gives each session so many prompts, one after the other in each, all sessions at once.
async fn prompt_all(client: &Client, all: &[(String, Vec<String>)], runs: usize) {
    let sessions = all.iter().flat_map(|(_, sessions)| sessions);
    join_all(sessions.map(async |session| {
        for n in 0..runs {
            client.prompt(session, &format!("!events 400\n!chunks 100\n!say part {n}")).await;
        }
    }))
    .await;
}

async fn assert_whole(client: &Client, readers: Vec<Reader>) {
    let mut past = BTreeMap::new();
    let mut connections = 0;
    for reader in readers {
        connections += reader.connections;
        for (session, told) in reader.told {
            if !past.contains_key(&session) {
                past.insert(session.clone(), client.past(&session).await);
            }
            let past: &Vec<Value> = &past[&session];
            assert!(told.len() <= past.len() && told == past[..told.len()], "{}", reader.topic);
        }
    }
    assert!(connections > 30, "they came and went: {connections}");
}

#[tokio::test]
async fn nobody_misses_anything_however_they_come_and_go() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm_with(json!({ "maxQueuedRuns": 20 })).await;
    let all = sessions(&client).await;
    let (_keep, up) = watch::channel(client.clone());
    let following = readers(&all, 3).into_iter().map(|reader| reader.follow(up.clone()));
    let ((), readers) =
        futures::future::join(prompt_all(&client, &all, 3), join_all(following)).await;
    assert_whole(&client, readers).await;
    reeve.log();
}

#[tokio::test]
async fn nobody_misses_anything_where_reeve_is_killed() {
    let mut reeve = Reeve::start(Options::default()).await;
    let client = reeve.client();
    let all = sessions(&client).await;
    prompt_all(&client, &all, 3).await;
    let (up, reader) = watch::channel(client);
    let following = readers(&all, 3).into_iter().map(|each| each.follow(reader.clone()));
    let killing = async {
        for deaths in 1..=3_u64 {
            // In the midst of it, wherever that is.
            let mut stream = reeve.client().stream().await;
            stream.subscribe("realm", None).await;
            stream.until("subscribed").await;
            for _ in 0..3 * deaths {
                // It may all be over by now.
                let frame = timeout(Duration::from_secs(1), stream.next()).await;
                if frame.is_err() {
                    break;
                }
            }
            reeve.kill9();
            reeve.restart(Options::default()).await;
            up.send_replace(reeve.client());
        }
    };
    let (readers, ()) = futures::future::join(join_all(following), killing).await;
    assert_whole(&reeve.client(), readers).await;
}

#[tokio::test]
async fn whoever_reads_slowly_holds_nobody_up_and_misses_nothing() {
    let reeve = Reeve::start(Options::default()).await;
    let client = reeve.realm().await;
    let session = client.conversation().await;
    let topic = format!("session:{session}");
    client.ask(&session, "!say first").await;
    let mut slow = client.stream().await;
    slow.subscribe(&topic, Some(0)).await;
    slow.until("events").await;
    let mut quick = client.stream().await;
    quick.subscribe(&topic, Some(0)).await;
    // Far more than any buffer on the way holds.
    let run = client.prompt(&session, &"!chunks 1500 4000\n".repeat(8)).await;
    let mut reader = Reader::new(topic.clone(), 2, 1);
    let reading = async {
        while reader.over < 2 {
            let frame = quick.next().await.expect("who reads is not sent away");
            if frame["type"] == "events" {
                reader.take(&frame);
            }
        }
    };
    futures::future::join(reading, client.ended(&run)).await;
    // The slow one was sent away, and comes back with what it has.
    let mut late = Reader::new(topic, 2, 2);
    let mut before = 0;
    while let Some(frame) = slow.next().await {
        if frame["type"] == "events" {
            before = before.max(frame["cursor"].as_u64().unwrap());
        }
    }
    let (_keep, up) = watch::channel(client.clone());
    late = late.follow(up).await;
    assert_eq!(late.told, reader.told);
    assert!(before < late.cursor, "it was sent away before the end");
}
