//! What is there before a test begins, made as any client would make it, and what it waits for.

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::asyncapi;
use crate::http::{Client, Event, PATIENCE, connector};
use crate::reeve::Reeve;

impl Reeve {
    /// Whoever holds the first key of a realm of their own. Realms do not see each other, so tests
    /// that use their own may share one reeve.
    pub async fn realm(&self) -> Client {
        self.realm_with(json!({})).await
    }

    /// The same, in a realm with these limits.
    pub async fn realm_with(&self, limits: Value) -> Client {
        let operator = self.client();
        let new = json!({ "name": "theirs", "limits": limits });
        let made = operator.post("/v1/realms", new).await;
        operator.with_key(Some(&made.text("/apiKey")))
    }
}

impl Client {
    /// An echo agent; its id.
    pub async fn agent(&self) -> String {
        self.agent_with(json!({})).await
    }

    /// An echo agent with these fields besides; its id.
    pub async fn agent_with(&self, fields: Value) -> String {
        let mut agent = json!({ "name": "echo", "driver": "acp" });
        let Value::Object(fields) = fields else { panic!("fields are an object") };
        agent.as_object_mut().expect("an object").extend(fields);
        self.made("/v1/agents", agent).await
    }

    /// Puts a file into the workspace of an agent.
    pub async fn put_file(&self, agent: &str, path: &str, content: &[u8]) {
        let path = format!("/v1/agents/{agent}/files/raw?path={path}");
        let request = self.request(reqwest::Method::PUT, &path).body(content.to_vec());
        self.send(request).await.is(204);
    }

    /// Announces these bytes and puts them where they are to go, without a key; the id of the upload.
    pub async fn upload(&self, content: &[u8]) -> String {
        let announced = self.post("/v1/uploads", json!({ "size": content.len() })).await;
        assert_eq!(announced.status, 201, "{:#}", announced.body);
        let put = connector().put(announced.text("/url")).body(content.to_vec());
        let put = put.timeout(PATIENCE).send().await.expect("somebody takes it");
        assert_eq!(put.status(), 200, "{}", put.text().await.unwrap_or_default());
        announced.text("/id")
    }

    /// A session with that agent; its id.
    pub async fn session(&self, agent: &str) -> String {
        self.made("/v1/sessions", json!({ "agentId": agent })).await
    }

    /// A session with an agent of its own; its id.
    pub async fn conversation(&self) -> String {
        let agent = self.agent().await;
        self.session(&agent).await
    }

    /// The id of what such a request makes.
    pub async fn made(&self, path: &str, body: Value) -> String {
        let reply = self.post(path, body).await;
        assert_eq!(reply.status, 201, "{:#}", reply.body);
        reply.text("/id")
    }

    /// Gives the session a prompt; the id of the run.
    pub async fn prompt(&self, session: &str, prompt: &str) -> String {
        let path = format!("/v1/sessions/{session}/prompt");
        let reply = self.post(&path, json!({ "prompt": prompt })).await;
        assert_eq!(reply.status, 202, "{:#}", reply.body);
        reply.text("/id")
    }

    /// The run, once it is in this state.
    pub async fn reaches(&self, run: &str, state: &str) -> Value {
        let found = self.get(&format!("/v1/runs/{run}")).await;
        let session = found.text("/sessionId");
        let mut events = self.events(&format!("/v1/sessions/{session}/events"), None).await;
        loop {
            let event = events.next().await.expect("the stream goes on");
            if event.kind != "run_state" || event.data["runId"] != run {
                continue;
            }
            if event.data["data"]["state"] == state {
                return self.get(&format!("/v1/runs/{run}")).await.is(200);
            }
            assert!(!is_over(&event), "{run} does not become {state}: {:#}", event.data);
        }
    }

    /// The run, once it has ended.
    pub async fn ended(&self, run: &str) -> Value {
        let found = self.get(&format!("/v1/runs/{run}")).await;
        let session = found.text("/sessionId");
        let mut events = self.events(&format!("/v1/sessions/{session}/events"), None).await;
        loop {
            let event = events.next().await.expect("the stream goes on");
            if is_over(&event) && event.data["runId"] == run {
                return self.get(&format!("/v1/runs/{run}")).await.is(200);
            }
        }
    }

    /// Gives the session a prompt, which must succeed; what the agent said.
    pub async fn ask(&self, session: &str, prompt: &str) -> String {
        let run = self.prompt(session, prompt).await;
        let ended = self.ended(&run).await;
        assert_eq!(ended["state"], "completed", "{ended:#}");
        self.said(session, &run).await
    }

    /// What the agent said in a run.
    pub async fn said(&self, session: &str, run: &str) -> String {
        let events = self.past(session).await;
        let of_run = events.iter().filter(|event| event["runId"] == run);
        let said = of_run.filter(|event| event["type"] == "agent_message_chunk");
        said.filter_map(|event| event["data"]["content"]["text"].as_str()).collect()
    }

    /// Every durable event of the session so far.
    pub async fn past(&self, session: &str) -> Vec<Value> {
        let past = self.all(&format!("/v1/sessions/{session}/events?limit=1000")).await;
        for event in &past {
            asyncapi::check_event(event).expect("the document knows what has happened");
        }
        past
    }

    /// Everything on a list, page by page. `path` has a query.
    pub async fn all(&self, path: &str) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = self.get(&format!("{path}{from}")).await.is(200);
            all.extend(page["items"].as_array().expect("items").iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return all,
            }
        }
    }
}

/// Whether a run is over with this event.
pub fn is_over(event: &Event) -> bool {
    event.kind == "run_state"
        && matches!(
            event.data["data"]["state"].as_str(),
            Some("completed" | "cancelled" | "failed")
        )
}

/// Asks again and again until the answer is yes. For what follows later and is told by no event:
/// the end of a process, a row that goes.
pub async fn at_last<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let asked = async {
        let mut beats = interval(Duration::from_millis(10));
        while !ask().await {
            beats.tick().await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("never: {what}"));
}
