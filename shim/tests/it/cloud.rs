//! A shim as it is started in the cloud: the way out is a TCP address, the boot document is in the
//! environment, commands come in frames of a managed WebSocket, and agents are of the same uid.

use std::collections::BTreeMap;

use domain::agent::Driver;
use domain::plan::AgentPlan;
use serde_json::json;
use wire::shim::{BOOT_VARIABLE, Down, MAX_FRAME};

use crate::given::{echo, prompt, prompt_to};
use crate::model::{SHAPES, Say, model};
use crate::plane::{Plane, Setup};

fn cloud() -> Setup {
    Setup { cloud: true, ..Setup::default() }
}

/// The longest prompt there can be.
fn long() -> String {
    let text = "ß€𝄞 ".repeat(20_000);
    assert_eq!(text.len(), 200_000);
    text
}

#[tokio::test]
async fn a_turn_over_tcp() {
    let mut plane = Plane::with(cloud()).await;
    plane.command(prompt(1, 1, "one two")).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), "one two");
}

#[tokio::test]
async fn the_tool_loop_finds_its_model_over_tcp() {
    for shape in SHAPES {
        let script = vec![
            Say::Tool("write_file", json!({ "path": "a.txt", "content": "one" })),
            Say::Text("all done"),
        ];
        let (model, _asked) = model(shape, script);
        let mut plane = Plane::with(Setup { model: Some(model), ..cloud() }).await;
        let agent = AgentPlan { driver: Driver::Vanilla, ..echo() };
        plane.command(prompt_to(agent, 1, 1, "do it")).await;
        plane.completed(1, 1).await;
        let file = plane.directory.path().join("workspace/a.txt");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "one");
    }
}

#[tokio::test]
async fn agents_of_other_makers_are_told_where_models_are() {
    const ASK: &str = "!shell echo $OPENAI_BASE_URL $ANTHROPIC_BASE_URL $OPENAI_API_KEY";
    let mut plane = Plane::with(cloud()).await;
    plane.command(prompt(1, 1, ASK)).await;
    plane.completed(1, 1).await;
    let said = plane.said(1, 1);
    let mut words = said.split_whitespace();
    let (openai, anthropic) = (words.next().unwrap(), words.next().unwrap());
    assert!(anthropic.starts_with("http://127.0.0.1:"), "{said}");
    assert_eq!(openai, format!("{anthropic}/v1"));
    assert_eq!(words.next(), Some("reeve"), "some clients do not start without a key");
    let env =
        [("OPENAI_BASE_URL", "http://mine"), ("ANTHROPIC_BASE_URL", ""), ("OPENAI_API_KEY", "k")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let agent = AgentPlan { env: BTreeMap::from(env), ..echo() };
    plane.command(prompt_to(agent, 1, 2, ASK)).await;
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2).trim(), "http://mine k", "the agent's own environment counts");
}

#[tokio::test]
async fn a_prompt_longer_than_a_frame_arrives_whole_and_once() {
    let text = long();
    let mut plane = Plane::with(cloud()).await;
    let frames = Down::Commands(vec![prompt(1, 1, &text)]).frames().unwrap();
    assert!(frames.len() > 2, "{}", frames.len());
    assert!(frames.iter().all(|frame| frame.len() <= MAX_FRAME));
    // A connection that ends before all of it is there.
    plane.say(frames[0].clone()).await;
    plane.socket = None;
    plane.accept().await;
    // Two at once, in whatever order, and once more when it is known.
    for frame in frames.iter().rev().chain(&frames) {
        plane.say(frame.clone()).await;
    }
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1), text);
    // The next run, in parts that mix with those of the last.
    let next = Down::Commands(vec![prompt(1, 1, &text), prompt(1, 2, &text)]).frames().unwrap();
    for frame in next.iter().rev() {
        plane.say(frame.clone()).await;
    }
    plane.completed(1, 2).await;
    assert_eq!(plane.said(1, 2), text);
    let starts = plane.of(1).iter().filter(|event| event["what"]["started"].is_object());
    assert_eq!(starts.count(), 2);
}

#[tokio::test]
async fn an_agent_of_the_same_uid_cannot_look_into_the_shim() {
    let mut plane = Plane::with(Setup { humble: true, ..cloud() }).await;
    let look = |pid: &str| {
        format!(
            "!shell cd /proc/{pid} && for secret in environ maps auxv mem; do \
             head -c 1 $secret >/dev/null 2>&1 && echo $secret; done; \
             ls fd/ >/dev/null 2>&1 && echo fd; readlink exe >/dev/null && echo exe; \
             (exec 3<>mem) 2>/dev/null && echo traced; echo looked"
        )
    };
    plane.command(prompt(1, 1, &look(&plane.pid().to_string()))).await;
    plane.completed(1, 1).await;
    assert_eq!(plane.said(1, 1).split_whitespace().collect::<Vec<_>>(), ["looked"]);
    // The same can be had of the agent's own process: it is not for want of anything else.
    plane.command(prompt(1, 2, &look("$PPID"))).await;
    plane.completed(1, 2).await;
    let own = plane.said(1, 2);
    assert!(own.starts_with("environ\nmaps\nauxv\n"), "{own}");
    assert!(own.contains("fd\nexe\n"), "{own}");
    plane.command(prompt(1, 3, "!shell env; cat /proc/$PPID/environ")).await;
    plane.completed(1, 3).await;
    let inherited = plane.said(1, 3);
    assert!(inherited.contains("REEVE_INSTANCE="), "{inherited}");
    for secret in [BOOT_VARIABLE, "LEAKED", "secret"] {
        assert!(!inherited.contains(secret), "{inherited}");
    }
}

#[tokio::test]
async fn a_boot_document_that_is_missing_or_broken_is_no_panic() {
    for text in [None, Some(""), Some("{"), Some(r#"{"container":"x"}"#)] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_shim"));
        command.arg("--boot-env").env_remove(BOOT_VARIABLE);
        if let Some(text) = text {
            command.env(BOOT_VARIABLE, text);
        }
        let done = command.output().await.unwrap();
        assert_eq!(done.status.code(), Some(1), "{text:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.starts_with("shim: the boot document is unusable"), "{said}");
    }
}
