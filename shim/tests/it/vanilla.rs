//! The tool loop, against a model of our own in both shapes.

use domain::agent::{Driver, RunLimits};
use domain::plan::AgentPlan;
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};
use wire::shim::{Command, Outcome, PromptCommand, failure};

use crate::given::{agent_id, cancel, echo, prompt_to, run, session};
use crate::model::{Asked, SHAPES, Say, Shape, model};
use crate::plane::{Plane, Setup};

fn vanilla() -> AgentPlan {
    AgentPlan { driver: Driver::Vanilla, ..echo() }
}

fn limited(max_turns: u32, max_tokens: u64) -> AgentPlan {
    AgentPlan { limits: RunLimits { max_turns, max_tokens, ..RunLimits::default() }, ..vanilla() }
}

async fn given(shape: Shape, script: Vec<Say>) -> (Plane, Asked) {
    let (model, asked) = model(shape, script);
    (Plane::with(Setup { model: Some(model), ..Setup::default() }).await, asked)
}

#[tokio::test]
async fn the_model_works_with_its_tools_until_it_is_done() {
    for shape in SHAPES {
        let (mut plane, asked) = given(
            shape,
            vec![
                Say::Tool("write_file", json!({ "path": "a/b.txt", "content": "one\ntwo\n" })),
                Say::Tool("edit_file", json!({ "path": "a/b.txt", "old": "two", "new": "zwei" })),
                Say::Tool("read_file", json!({ "path": "a/b.txt" })),
                Say::Tool("read_file", json!({ "path": "a/b.txt", "offset": 2, "limit": 1 })),
                Say::Tool("edit_file", json!({ "path": "a/b.txt", "old": "e", "new": "x" })),
                Say::Tool("list_files", json!({ "glob": "*.txt" })),
                Say::Tool("search", json!({ "pattern": "^zw" })),
                Say::Tool("shell", json!({ "command": "cat a/b.txt; echo oops >&2; exit 3" })),
                Say::Tool("shell", json!({ "command": "sleep 100", "timeout": 1 })),
                Say::Tool("fly", json!({})),
                Say::Tool("read_file", json!({ "file": 1 })),
                Say::Text("all done"),
            ],
        )
        .await;
        let plan = AgentPlan {
            system_prompt: Some("be brief".to_owned()),
            model: Some("m/1".to_owned()),
            ..vanilla()
        };
        plane.command(prompt_to(plan, 1, 1, "do it")).await;
        let ended = plane.completed(1, 1).await;
        assert_eq!(ended.stop_reason.as_deref(), Some("end_turn"));
        let usage = ended.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (15 * 12, 7 * 12));
        assert!(plane.said(1, 1).ends_with("lookingall done"), "{}", plane.said(1, 1));
        let calls = plane.updates(1, 1, "tool_call");
        let workspace = plane.directory.path().join("workspace");
        assert_eq!(calls[0]["kind"], "edit");
        assert_eq!(calls[0]["locations"][0]["path"], json!(workspace.join("a/b.txt")));
        assert_eq!(calls[7]["kind"], "execute");
        let updates = plane.updates(1, 1, "tool_call_update");
        assert_eq!(updates[1]["content"][0]["type"], "diff");
        assert_eq!(updates[1]["content"][0]["newText"], "zwei");
        let text = |place: usize| updates[place]["content"][0]["content"]["text"].as_str().unwrap();
        assert_eq!(text(2), "one\nzwei\n");
        assert_eq!(text(3), "zwei\n");
        assert!(text(4).contains("2 times"), "{}", text(4));
        assert_eq!(text(5), "a/b.txt");
        assert_eq!(text(6), "a/b.txt:2: zwei");
        for word in ["zwei", "oops", "exit status: 3"] {
            assert!(text(7).contains(word), "{}", text(7));
        }
        assert!(text(8).contains("ended after 1 s"), "{}", text(8));
        assert!(text(9).contains("no tool fly"), "{}", text(9));
        assert!(text(10).contains("missing field"), "{}", text(10));
        let failed: Vec<_> = updates.iter().map(|update| update["status"] == "failed").collect();
        let expected = [4, 7, 8, 9, 10];
        assert_eq!(failed, (0..11).map(|n| expected.contains(&n)).collect::<Vec<_>>());
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 12);
        let first = asked[0].to_string();
        assert!(first.contains("be brief") && first.contains("do it"), "{first}");
        assert!(asked[3].to_string().contains("one\\nzwei"), "results go back to the model");
        assert_eq!(asked[0]["tools"].as_array().unwrap().len(), 6);
    }
}

#[tokio::test]
async fn limits_end_the_run() {
    for shape in SHAPES {
        let list = vec![Say::Tool("list_files", json!({}))];
        let (mut plane, asked) = given(shape, list).await;
        plane.command(prompt_to(limited(3, 1_000_000), 1, 1, "go")).await;
        let ended = plane.ended(1, 1).await;
        assert_eq!(ended.outcome, Outcome::Failed);
        assert_eq!(ended.code.as_deref(), Some(failure::TURN_LIMIT));
        assert_eq!(ended.stop_reason.as_deref(), Some("max_turn_requests"));
        assert_eq!(asked.lock().unwrap().len(), 3);
        plane.command(prompt_to(limited(50, 40), 2, 2, "go")).await;
        let ended = plane.ended(2, 2).await;
        assert_eq!(ended.code.as_deref(), Some(failure::TOKEN_LIMIT));
        assert_eq!(ended.usage.unwrap().input_tokens, 30);
        plane.command(prompt_to(vanilla(), 3, 3, "go")).await;
        assert_eq!(plane.failed(3, 3).await, failure::LOOP);
    }
}

#[tokio::test]
async fn failures_in_a_row_end_the_run() {
    let read = |n: u32| Say::Tool("read_file", json!({ "path": format!("none-{n}") }));
    let (mut plane, asked) = given(Shape::OpenAi, (0..20).map(read).collect()).await;
    plane.command(prompt_to(vanilla(), 1, 1, "go")).await;
    assert_eq!(plane.failed(1, 1).await, failure::LOOP);
    assert_eq!(asked.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for shape in SHAPES {
        let (mut plane, asked) = given(
            shape,
            vec![
                Say::Status(429),
                Say::Overloaded,
                Say::Broken,
                Say::CutOff("half "),
                Say::Text("whole"),
                Say::Status(400),
            ],
        )
        .await;
        plane.command(prompt_to(vanilla(), 1, 1, "go")).await;
        plane.completed(1, 1).await;
        assert_eq!(plane.said(1, 1), "half whole");
        assert_eq!(asked.lock().unwrap().len(), 5);
        plane.command(prompt_to(vanilla(), 1, 2, "go")).await;
        let ended = plane.ended(1, 2).await;
        assert_eq!(ended.code.as_deref(), Some(failure::MODEL_ERROR));
        assert_eq!(ended.detail.as_deref(), Some("400: not now"));
        assert_eq!(asked.lock().unwrap().len(), 6);
    }
    let (mut plane, asked) = given(Shape::Anthropic, vec![Say::Status(429)]).await;
    plane.command(prompt_to(vanilla(), 1, 1, "go")).await;
    assert_eq!(plane.failed(1, 1).await, failure::MODEL_ERROR);
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_model_that_is_not_set_up_is_named_so() {
    let (mut plane, _) = given(Shape::Anthropic, vec![Say::Text("x")]).await;
    let plan = AgentPlan { model: Some("other".to_owned()), ..vanilla() };
    plane.command(prompt_to(plan, 1, 1, "go")).await;
    let ended = plane.ended(1, 1).await;
    assert_eq!(ended.code.as_deref(), Some(failure::MODEL_UNAVAILABLE));
    assert_eq!(ended.detail.as_deref(), Some("404: no such model"));
}

#[tokio::test]
async fn a_cancel_ends_the_command_that_runs_and_the_conversation_goes_on() {
    let (mut plane, asked) = given(
        Shape::Anthropic,
        vec![
            Say::Tool("shell", json!({ "command": "sleep 1000 & echo $! > pid; wait" })),
            Say::Text("fine"),
        ],
    )
    .await;
    plane.command(prompt_to(vanilla(), 1, 1, "go")).await;
    plane.until(1, |event| event["what"]["update"]["kind"] == "tool_call").await;
    let file = plane.directory.path().join("workspace/pid");
    let mut beats = tokio::time::interval(std::time::Duration::from_millis(5));
    let sleeper = loop {
        beats.tick().await;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.ends_with('\n') {
            break Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        }
    };
    plane.command(cancel(1, 1)).await;
    assert_eq!(plane.ended(1, 1).await.outcome, Outcome::Cancelled);
    while test_kill_process(sleeper).is_ok() {
        beats.tick().await;
    }
    plane.command(prompt_to(vanilla(), 1, 2, "again")).await;
    plane.completed(1, 2).await;
    let asked = asked.lock().unwrap();
    let results: Vec<&Value> = asked[1]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["content"][0]["type"] == "tool_result")
        .collect();
    assert_eq!(results.len(), 1, "the call that was cut off has its answer");
}

#[tokio::test]
async fn a_conversation_is_taken_up_where_it_was() {
    let (mut plane, _) = given(Shape::OpenAi, vec![Say::Text("I am Ann")]).await;
    plane.command(prompt_to(vanilla(), 1, 1, "who are you")).await;
    plane.completed(1, 1).await;
    let acp = plane.of(1)[0]["what"]["started"]["acp_session"].as_str().unwrap().to_owned();
    plane.command(Command::Stop).await;
    plane.exit().await;
    let (model, asked) = model(Shape::Anthropic, vec![Say::Text("still Ann")]);
    let directory = Some(plane.directory);
    let mut plane = Plane::with(Setup { directory, model: Some(model), ..Setup::default() }).await;
    plane
        .command(Command::Prompt(Box::new(PromptCommand {
            session: session(1),
            run: run(2),
            prompt: "and now".to_owned(),
            schema: None,
            effort: None,
            agent_id: agent_id(),
            agent: vanilla(),
            working_dir: None,
            mcp_servers: Vec::new(),
            settings: domain::conversation::Settings::default(),
            acp_session: Some(acp),
            forked_from: None,
            fork: None,
            forks: Vec::new(),
        })))
        .await;
    plane.completed(1, 2).await;
    let asked = asked.lock().unwrap();
    assert_eq!(asked[0]["messages"].as_array().unwrap().len(), 3);
    assert!(asked[0].to_string().contains("I am Ann"));
}
