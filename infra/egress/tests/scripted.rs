//! The scripted model at work: its tools are called on a real directory, and it goes on from what
//! they say.

#![expect(clippy::unwrap_used, reason = "all of this runs in tests")]

use std::path::Path;
use std::process::Command;

use axum::body::Body;
use axum::extract::Request;
use egress::scripted::{Call, Conversation, Reply, next};
use egress::{Config, router};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// The vanilla agent's tools, in the form in which they are offered.
fn tools() -> Value {
    let tool = |name: &str, properties: &[&str]| {
        let typed = properties.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" })));
        json!({
            "name": name,
            "description": name,
            "input_schema": {
                "type": "object",
                "properties": typed.collect::<serde_json::Map<_, _>>(),
                "required": properties,
            },
        })
    };
    json!([
        tool("read_file", &["path"]),
        tool("write_file", &["path", "content"]),
        tool("edit_file", &["path", "old", "new"]),
        tool("list_files", &["path"]),
        tool("search", &["pattern", "path"]),
        tool("shell", &["command"]),
    ])
}

/// A turn: the prompt and what has been done since.
struct Turn {
    messages: Vec<Value>,
    tools: Value,
    texts: Vec<String>,
    report: Option<String>,
}

impl Turn {
    fn new(prompt: &str) -> Self {
        let messages = vec![json!({ "role": "user", "content": prompt })];
        Self { messages, tools: tools(), texts: Vec::new(), report: None }
    }

    fn without(mut self, tool: &str) -> Self {
        self.tools.as_array_mut().unwrap().retain(|offered| offered["name"] != tool);
        self
    }

    fn next(&self) -> Reply {
        let conversation = json!({ "messages": self.messages, "tools": self.tools });
        next(&serde_json::from_value::<Conversation>(conversation).unwrap())
    }

    /// Calls tools until the turn ends, as `act` does.
    fn play(&mut self, act: impl Fn(&Call) -> Result<String, String>) -> String {
        for _ in 0..20 {
            let Reply { text, call } = self.next();
            let Some(call) = call else { return text };
            if call.name == "write_file" {
                self.report = call.input["content"].as_str().map(str::to_owned);
            }
            self.texts.push(format!("{text}[{}]", call.name));
            self.messages.push(json!({ "role": "assistant", "content": [
                { "type": "text", "text": text },
                { "type": "tool_use", "id": call.id, "name": call.name, "input": call.input },
            ]}));
            let (content, is_error) = match act(&call) {
                Ok(text) => (text, false),
                Err(text) => (text, true),
            };
            self.messages.push(json!({ "role": "user", "content": [{
                "type": "tool_result",
                "tool_use_id": call.id,
                "content": [{ "type": "text", "text": content }],
                "is_error": is_error,
            }]}));
        }
        panic!("the turn does not end: {:?}", self.texts);
    }
}

/// Does what the agent's tools do, without their niceties.
fn act(call: &Call) -> Result<String, String> {
    let said = |name: &str| call.input[name].as_str().unwrap_or_default();
    let sh = |command: &str| {
        let run = Command::new("sh")
            .args(["-c", command])
            .env("GIT_CEILING_DIRECTORIES", "/")
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&run.stdout).into_owned();
        let said = out + &String::from_utf8_lossy(&run.stderr);
        if run.status.success() { Ok(said) } else { Err(format!("{}\n{said}", run.status)) }
    };
    match call.name.as_str() {
        "read_file" => std::fs::read_to_string(said("path")).map_err(|error| error.to_string()),
        "list_files" => sh(&format!("ls -1Ap {} | grep -v '^.git/'", said("path"))),
        "search" => sh(&format!("grep -rnE '{}' {}", said("pattern"), said("path"))),
        "shell" => sh(said("command")),
        "write_file" => Ok("written".to_owned()),
        other => Err(format!("no tool {other}")),
    }
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// A small repository at a path whose name does not change.
fn repository() -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("abacus");
    write(
        &root,
        &[
            (
                "README.md",
                "# Abacus\n\n[![ci](a)](b)\n\nAbacus adds numbers. It is fast.\n\n## Use\n",
            ),
            ("Cargo.toml", "[package]\nname = \"abacus\"\n\n[dependencies]\n"),
            ("src/main.rs", "//! Adds what it is given.\n\nmod sum;\n\nfn main() {\n}\n"),
            ("src/sum.rs", "//! Sums.\n\npub fn sum() {}\n"),
            ("tests/it.rs", "fn main() {\n}\n"),
        ],
    );
    let root = root.to_str().unwrap().to_owned();
    (place, root)
}

fn git(root: &str, args: &[&str]) {
    let who = ["-c", "user.name=A", "-c", "user.email=a@b"];
    let date = "2026-01-02T03:04:05Z";
    let git = Command::new("git")
        .args(["-C", root])
        .args(who)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_DATE", date)
        .env("GIT_COMMITTER_DATE", date)
        .output()
        .unwrap();
    assert!(git.status.success(), "{git:?}");
}

#[test]
fn a_repository_becomes_a_report() {
    let (_place, root) = repository();
    git(&root, &["init", "-q"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-qm", "Add numbers"]);
    git(&root, &["commit", "-qm", "Be fast", "--allow-empty"]);
    let mut turn = Turn::new(&format!("Explore {root}, read-only, and write report.md."));
    let summary = turn.play(act);
    let said = turn.texts.join("\n").replace(&root, "/abacus");
    insta::assert_snapshot!(said, @r#"
    I start with what is at the top of /abacus. [list_files]
    There is Cargo.toml among others. I count the files. [shell]
    5 files, 3 of them in Rust. README.md may say what this is. [read_file]
    It says: "Abacus adds numbers. It is fast." Now what happened lately. [shell]
    The last change is "Be fast". Where does it start? [search]
    src/main.rs and 1 more look like entry points. I read Cargo.toml. [read_file]
    4 lines. I read src/main.rs. [read_file]
    That is enough to say something. I am writing it down in report.md. [write_file]
    "#);
    insta::assert_snapshot!(turn.report.unwrap());
    insta::assert_snapshot!(summary, @r#"abacus says of itself: "Abacus adds numbers." It has 5 files, 3 of them in Rust; one starts reading at `src/main.rs`. The last change is "Be fast". The report is in `report.md`. I am Reeve's scripted demo model: a program, not a language model."#);
}

#[test]
fn a_directory_without_git_or_entry_points_becomes_a_report_too() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("notes");
    write(&root, &[("one.txt", "A note.\n"), ("more/two.txt", "Another.\n")]);
    let mut turn = Turn::new(&format!("Explore `{}`.", root.display()));
    turn.play(act);
    insta::assert_snapshot!(turn.report.unwrap());
}

#[test]
fn the_list_can_come_from_the_shell() {
    let (_place, root) = repository();
    let mut turn = Turn::new(&format!("Explore {root}")).without("list_files").without("search");
    turn.play(act);
    let report = turn.report.unwrap();
    assert!(report.contains("Directories at the top: `src/`, `tests/`."), "{report}");
    assert!(report.contains("- entry points: There is no tool `search`."), "{report}");
}

#[test]
fn what_cannot_be_seen_is_not_reported_on() {
    let mut turn = Turn::new("Explore /repositories/gone");
    let end = turn.play(|_| Err("ls: cannot access: No such file or directory".to_owned()));
    insta::assert_snapshot!(end, @"I am Reeve's scripted demo model: a program, not a language model. I could not see what is in `/repositories/gone`, so there is no report. ls: cannot access: No such file or directory.");
    assert!(turn.report.is_none());
}

#[test]
fn a_report_that_cannot_be_written_is_said() {
    let (_place, root) = repository();
    let mut turn = Turn::new(&format!("Explore {root}"));
    let end = turn.play(|call| match call.name.as_str() {
        "write_file" => Err("read-only file system".to_owned()),
        _ => act(call),
    });
    assert!(end.starts_with("I could not write `report.md`: read-only file system."), "{end}");
    assert!(end.contains("Abacus adds numbers."), "{end}");
}

#[test]
fn another_prompt_is_answered_honestly_and_a_second_one_starts_anew() {
    let (_place, root) = repository();
    let mut turn = Turn::new(&format!("Explore {root}"));
    let summary = turn.play(act);
    turn.messages.push(json!({ "role": "assistant", "content": summary }));
    turn.messages.push(json!({ "role": "user", "content": "And what is love?" }));
    let Reply { text, call } = turn.next();
    insta::assert_snapshot!(text, @r#"I am Reeve's scripted demo model: a program, not a language model. I cannot answer this. What I can do is explore a repository with the tools I am offered and write a report about it: name its path in a prompt, as in "Explore /repositories/checkout". For answers, set up a provider: start Reeve with `ANTHROPIC_API_KEY` or `OPENAI_API_KEY` set."#);
    assert_eq!(call, None);
    turn.messages.push(json!({ "role": "assistant", "content": text }));
    turn.messages.push(json!({ "role": "user", "content": format!("Explore {root}") }));
    let again = turn.next().call.unwrap();
    assert_eq!(again.name, "list_files");
    let ids: Vec<String> = turn
        .messages
        .iter()
        .map(Value::to_string)
        .filter(|message| message.contains(&again.id))
        .collect();
    assert!(ids.is_empty(), "{ids:?}");
}

async fn ask(body: Value) -> (String, String) {
    let router = router(Config::default().scripted(true)).unwrap();
    let request = Request::post("/v1/messages").body(Body::from(body.to_string())).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (kind, String::from_utf8(body.into()).unwrap())
}

#[tokio::test]
async fn it_is_served_as_a_model_is() {
    let router = router(Config::default().scripted(true)).unwrap();
    let list =
        router.oneshot(Request::get("/v1/models").body(Body::empty()).unwrap()).await.unwrap();
    let list = list.into_body().collect().await.unwrap().to_bytes();
    insta::assert_snapshot!(String::from_utf8_lossy(&list), @r#"{"object":"list","data":[{"id":"scripted","object":"model","owned_by":"anthropic"}]}"#);

    let body = json!({
        "model": "scripted",
        "max_tokens": 100,
        "tools": tools(),
        "messages": [{ "role": "user", "content": [{ "type": "text", "text": "Explore /r/x" }] }],
    });
    let (kind, whole) = ask(body.clone()).await;
    assert_eq!(kind, "application/json");
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["content"][1]["input"], json!({ "path": "/r/x" }));

    let mut streamed = body;
    streamed["stream"] = true.into();
    let (kind, events) = ask(streamed).await;
    assert_eq!(kind, "text/event-stream");
    let said: String = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .filter_map(|data| data["delta"]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(said, whole["content"][0]["text"].as_str().unwrap());
    assert!(events.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
}

#[tokio::test]
async fn another_model_is_not_there() {
    let (kind, body) = ask(json!({ "model": "claude-x", "messages": [] })).await;
    assert_eq!(kind, "application/problem+json");
    assert!(body.contains("model_unavailable"), "{body}");
}
