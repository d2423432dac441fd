//! Agents of other makers, unmodified as npm has them, from the API through sandbox and egress to a
//! provider that speaks their true protocols, and back.

use std::path::Path;

use serde_json::{Value, json};
use tests::http::Client;
use tests::models::Models;
use tests::reeve::{Options, Reeve, tools};

use crate::outside::Outside;

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

fn claude() -> Value {
    json!({
        "name": "claude",
        "driver": "acp",
        "command": ["/repositories/agents/node_modules/.bin/claude-agent-acp"],
        "env": { "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1" },
        "permissions": "ask",
        "repositories": ["agents"],
    })
}

fn gemini() -> Value {
    json!({
        "name": "gemini",
        "driver": "acp",
        // Without a model it first asks one which to take.
        "command": [
            "/repositories/agents/node_modules/.bin/gemini", "--acp", "-m", "gemini-2.5-pro",
        ],
        "permissions": "ask",
        "repositories": ["agents"],
    })
}

/// With what a reeve finds the models.
fn with(models: &Models) -> Options {
    Options::default()
        .env("OPENAI_BASE_URL", format!("{}/v1", models.url))
        .env("OPENAI_API_KEY", "sk-test-never-inside")
        .env("ANTHROPIC_BASE_URL", &models.url)
        .env("ANTHROPIC_API_KEY", "sk-test-never-inside")
        .env("GOOGLE_GEMINI_BASE_URL", &models.url)
        .env("GEMINI_API_KEY", "sk-test-never-inside")
}

/// A reeve that offers what npm has, with a provider behind it.
async fn given() -> (Reeve, Models) {
    let models = Models::start().await;
    let agents = format!("agents={}", tools().join("agents").display());
    (Reeve::start(with(&models).arg("--repository").arg(agents)).await, models)
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

/// Three conversations at once, and each goes on after the container was away, while `meanwhile` was
/// done in the agent's home.
async fn remembers(agent: Value, meanwhile: fn(&Path)) {
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
    meanwhile(&reeve.data().join("agents").join(&agent).join("home"));
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
    remembers(opencode(), nothing).await;
}

/// A conversation and a fork of it go on without each other, also where the first goes on before.
async fn forks(agent: Value) {
    let (reeve, _models) = given().await;
    let client = reeve.client();
    let agent = client.made("/v1/agents", agent).await;
    let source = client.session(&agent).await;
    let says = async |session: &str, words: &str, end: &str| {
        let run = client.prompt(session, words).await;
        let said = completed(&client, session, &run).await;
        assert!(said.ends_with(end), "{said}");
    };
    says(&source, "please say one", "1: please say one").await;
    let path = format!("/v1/sessions/{source}/fork");
    let copy = client.made(&path, json!({})).await;
    says(&copy, "please say two", "2: please say two").await;
    let late = client.made(&path, json!({})).await;
    says(&source, "please say three", "2: please say three").await;
    says(&late, "please say four", "2: please say four").await;
    says(&copy, "please say five", "3: please say five").await;
    let past = client.past(&late).await;
    let told = past.iter().filter(|event| event["type"] == "user_message_chunk").count();
    assert_eq!(told, 1, "what was copied is not told again");
}

#[tokio::test]
async fn opencode_forks() {
    forks(opencode()).await;
}

#[tokio::test]
async fn codex_takes_turns() {
    takes_turns(codex()).await;
}

#[tokio::test]
async fn codex_remembers() {
    remembers(codex(), nothing).await;
}

#[tokio::test]
async fn claude_takes_turns() {
    takes_turns(claude()).await;
}

#[tokio::test]
async fn claude_remembers() {
    remembers(claude(), nothing).await;
}

#[tokio::test]
async fn gemini_takes_turns() {
    takes_turns(gemini()).await;
}

#[tokio::test]
async fn gemini_remembers() {
    remembers(gemini(), years_passed).await;
}

/// As the official registry has it, where it is a package: found, downloaded, verified, planned, run.
#[tokio::test]
async fn opencode_comes_from_the_registry() {
    let (outside, models) = (Outside::start().await, Models::start().await);
    let entry = json!({
        "id": "opencode", "name": "OpenCode", "version": "1.18.33",
        "description": "The open source coding agent", "license": "MIT",
        "repository": "https://github.com/anomalyco/opencode", "authors": ["Anomaly"],
        "distribution": { "npx": { "package": "opencode-ai@1.18.33", "args": ["acp"] } },
    });
    outside.json("/registry.json", &json!({ "version": "1.0.0", "agents": [entry] }));
    let options = with(&models).arg("--registry").arg(outside.at("/registry.json"));
    let npm = "https://registry.npmjs.org";
    let reeve = Reeve::start(options.arg("--npm-registry").arg(npm)).await;
    let client = reeve.client();
    let listed = async || client.get("/v1/registry/agents/opencode").await.status == 200;
    tests::given::at_last("the registry is synced", listed).await;

    let mut agent = opencode();
    agent["registryAgent"] = json!("opencode");
    for other in ["command", "repositories"] {
        agent.as_object_mut().unwrap().remove(other);
    }
    let agent = client.made("/v1/agents", agent).await;
    let session = client.session(&agent).await;
    let run = client.prompt(&session, "please say hello").await;
    let said = completed(&client, &session, &run).await;
    assert!(said.ends_with("1: please say hello"), "{said}");
    let run = client.get(&format!("/v1/runs/{run}")).await.is(200);
    let plan = client.get(&format!("/v1/plans/{}", run["plan"].as_str().unwrap())).await.is(200);
    assert_eq!(plan["plan"]["bundle"]["agent"], "opencode");
    assert_eq!(plan["plan"]["process"]["command"][1], "acp");
    let bundle = plan["plan"]["bundle"]["content"].as_str().unwrap();
    let bundle = client.get(&format!("/v1/bundles/{bundle}")).await.is(200);
    assert_eq!((&bundle["state"], &bundle["version"]), (&json!("ready"), &json!("1.18.33")));
}

const fn nothing(_: &Path) {}

/// Gemini names the file of a conversation after the minute, and forgets what it takes up in the same
/// minute that it began in: here it began long ago.
fn years_passed(home: &Path) {
    let chats = home.join(".gemini/tmp/workspace/chats");
    let mut renamed = 0;
    for entry in std::fs::read_dir(&chats).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let own = name.rsplit('-').next().unwrap();
        let old = format!("session-2020-01-01T00-00-{own}");
        std::fs::rename(chats.join(&name), chats.join(old)).unwrap();
        renamed += 1;
    }
    assert!(renamed >= 3, "each conversation has a file");
}
