//! Agents of other makers, unmodified as npm has them, from the API through sandbox and egress to a
//! provider that speaks their true protocols, and back.

use serde_json::{Value, json};
use tests::http::Client;
use tests::models::Models;
use tests::reeve::{Options, Reeve, tools};

/// Where an agent in a sandbox of this machine finds the models.
const DOOR: &str = "http://127.0.0.1:7301/v1";

fn opencode() -> Value {
    let config = json!({
        "model": "reeve/scripted",
        "small_model": "reeve/scripted",
        "enabled_providers": ["reeve"],
        "autoupdate": false,
        "share": "disabled",
        "permission": { "edit": "ask", "bash": "ask" },
        "provider": { "reeve": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Reeve",
            "options": { "baseURL": "{env:OPENAI_BASE_URL}", "apiKey": "{env:OPENAI_API_KEY}" },
            "models": { "scripted": {
                "name": "scripted", "tool_call": true,
                "limit": { "context": 100_000, "output": 4096 },
            } },
        } },
    });
    json!({
        "name": "opencode",
        "driver": "acp",
        "command": ["/repositories/agents/node_modules/.bin/opencode", "acp"],
        "env": {
            "OPENCODE_CONFIG_CONTENT": config.to_string(),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
        },
        "permissions": "ask",
        "repositories": ["agents"],
    })
}

fn codex() -> Value {
    let config = json!({
        "model": "scripted",
        "model_providers": { "reeve": {
            "name": "Reeve", "base_url": DOOR, "wire_api": "responses", "env_key": "OPENAI_API_KEY",
        } },
    });
    json!({
        "name": "codex",
        "driver": "acp",
        "command": ["/repositories/agents/node_modules/.bin/codex-acp"],
        "env": {
            "CODEX_CONFIG": config.to_string(),
            "MODEL_PROVIDER": "reeve",
            "INITIAL_AGENT_MODE": "workspace-write",
            "NO_BROWSER": "1",
        },
        "permissions": "ask",
        "repositories": ["agents"],
    })
}

/// A reeve that offers what npm has, with a provider behind it.
async fn given() -> (Reeve, Models) {
    let models = Models::start().await;
    let agents = format!("agents={}", tools().join("agents").display());
    let options = Options::default()
        .env("OPENAI_BASE_URL", format!("{}/v1", models.url))
        .env("OPENAI_API_KEY", "sk-test-never-inside")
        .arg("--repository")
        .arg(agents);
    (Reeve::start(options).await, models)
}

async fn completed(client: &Client, session: &str, run: &str) -> String {
    let ended = client.ended(run).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    client.said(session, run).await
}

/// A turn of words, one with a tool that somebody allows, one that is stopped, two that are in line.
async fn takes_turns(agent: Value) {
    let (reeve, models) = given().await;
    let client = reeve.client();
    let agent = client.made("/v1/agents", agent).await;
    let session = client.session(&agent).await;

    let run = client.prompt(&session, "please say hello").await;
    let said = completed(&client, &session, &run).await;
    assert!(said.ends_with("1: please say hello"), "{said}");
    let ended = client.get(&format!("/v1/runs/{run}")).await.is(200);
    assert_eq!(ended["usage"], json!({ "inputTokens": 10, "outputTokens": 5 }), "{ended:#}");

    let run = client.prompt(&session, "please write done.txt").await;
    let waiting = client.reaches(&run, "awaiting_approval").await;
    let asked = &waiting["permissions"][0];
    let file = reeve.data().join("agents").join(&agent).join("workspace/done.txt");
    assert!(!file.exists(), "nobody has allowed it yet");
    let options = asked["options"].as_array().unwrap();
    let allow = options.iter().find(|option| option["kind"] == "allow_once").unwrap();
    let answer = json!({ "requestId": asked["requestId"], "optionId": allow["optionId"] });
    client.post(&format!("/v1/runs/{run}/answer"), answer).await.is(202);
    let said = completed(&client, &session, &run).await;
    assert!(said.ends_with("Done."), "{said}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "it is\n");

    let run = client.prompt(&session, "please go on").await;
    models.goes_on().await;
    let next = client.prompt(&session, "please begin").await;
    let last = client.prompt(&session, "please end").await;
    client.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.is(202);
    assert_eq!(client.ended(&run).await["state"], "cancelled");
    let said = completed(&client, &session, &next).await;
    assert!(said.ends_with(": please begin"), "{said}");
    let said = completed(&client, &session, &last).await;
    assert!(said.ends_with(": please end"), "{said}");
}

/// Three conversations at once, and each goes on after the container was away.
async fn remembers(agent: Value) {
    let (reeve, _models) = given().await;
    let client = reeve.client();
    let agent = client.made("/v1/agents", agent).await;
    let mut sessions = Vec::new();
    for name in ["one", "two", "three"] {
        let session = client.session(&agent).await;
        let run = client.prompt(&session, &format!("please say {name}")).await;
        sessions.push((name, session, run));
    }
    for (name, session, run) in &sessions {
        let said = completed(&client, session, run).await;
        assert!(said.ends_with(&format!("1: please say {name}")), "{said}");
    }
    client.post(&format!("/v1/agents/{agent}/pause"), json!({})).await.is(200);
    for (name, session, _) in &sessions {
        let run = client.prompt(session, &format!("please say {name} again")).await;
        let said = completed(&client, session, &run).await;
        assert!(said.ends_with(&format!("2: please say {name} again")), "{said}");
        let past = client.past(session).await;
        let told = |kind: &str| past.iter().filter(|event| event["type"] == kind).count();
        assert_eq!(told("user_message_chunk"), 2, "each prompt is told once");
        assert_eq!(told("conversation_lost"), 0);
    }
}

#[tokio::test]
async fn opencode_takes_turns() {
    takes_turns(opencode()).await;
}

#[tokio::test]
async fn opencode_remembers() {
    remembers(opencode()).await;
}

#[tokio::test]
async fn codex_takes_turns() {
    takes_turns(codex()).await;
}

#[tokio::test]
async fn codex_remembers() {
    remembers(codex()).await;
}
